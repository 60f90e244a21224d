"""The views of executions and of what an operator can do about one; trigger/web/routes.py has their routes.

A record, and a log, is for whoever could have made the call, and for operators; the others are for operators only.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from flask import Response

from trigger import store
from trigger.config.model import TokenAuth
from trigger.errors import ExecutionNotFound, InvalidParams
from trigger.fields.model import MISSING
from trigger.inputs import Form, parse_query
from trigger.store import acts, callbacks, log_reading
from trigger.web import sender, waiting
from trigger.web.admission import operator
from trigger.web.answers import accepted, answer
from trigger.web.auth import Credentials
from trigger.web.call import ReceivedCall


def listed(call: ReceivedCall) -> Response:
    """GET /v1/executions"""
    operator(call)
    query = store.Query.parse(parse_query(call.query_string), now=time.time())
    with call.service.breaker.reading():
        return answer(store.page(call.service.redis, query).as_json())


def record(call: ReceivedCall, uid: str) -> Response:
    """GET /v1/executions/<uid>"""
    reader = check_reader(call, uid)
    wait = waiting.asked(call)
    record = _read(call, uid)
    if wait and record.status not in store.FINAL:
        if waiting.wait_for_end(call, uid, wait) == "full":
            time.sleep(min(wait, log_reading.PAUSE))
        with call.service.news.turns:
            record = _read(call, uid)
    return answer(record.as_json(operator=reader == "operator"))


def _read(call: ReceivedCall, uid: str) -> store.Record:
    with call.service.breaker.reading():
        record = store.read(call.service.redis, uid, call.config.masked)
    if record is None:
        raise _hidden()
    return record


def check_reader(call: ReceivedCall, uid: str) -> Literal["caller", "operator"]:
    """Return as whom the caller may read the record, and the log, of an execution.

    Raises ExecutionNotFound when it is not there or not theirs, which look the same.
    """
    credentials = Credentials.of(call.environ)  # refused, if need be, before anything is looked up
    if not store.is_uid(uid):
        raise _hidden()
    service, config = call.service, call.config
    with service.breaker.reading():
        name = store.api_of(service.redis, uid)
    if name is None:
        raise _hidden()
    api = config.apis.get(name)
    if api is not None and isinstance(api.auth, TokenAuth) and not api.auth.in_path:
        header = api.auth.header
        credentials = Credentials.of(call.environ, token=(header, call.header(header)))
    reader = service.guard.reads_as(api, config.operators, credentials, call.client)
    allowed = config.server.networks if api is None else config.server.networks_of(api)
    if reader is None or (reader == "caller" and not sender.is_among(call.client, allowed)):
        raise _hidden()
    return reader


def cancel(call: ReceivedCall, uid: str) -> Response:
    """POST /v1/executions/<uid>/cancel: it never starts, or its run is told to end"""
    name = _operator_of(call, uid)
    with call.service.breaker.reading():
        status = acts.cancel(call.service.redis, uid, name)
    return answer({"uid": uid, "status": status}, 202)


def rerun(call: ReceivedCall, uid: str) -> Response:
    """POST /v1/executions/<uid>/rerun: a new one, with the same input or another"""
    name = _operator_of(call, uid)
    edited = _edited(call)
    with call.service.breaker.reading():
        parts, key = call.service.parts(call.config), call.idempotency_key()
        new = acts.rerun(parts, uid, edited=edited, operator=name, key=key, request=call.request_id)
    return accepted(call, new)


def resume(call: ReceivedCall, uid: str) -> Response:
    """POST /v1/executions/<uid>/resume: a new one, which goes on after the steps that are done"""
    name = _operator_of(call, uid)
    with call.service.breaker.reading():
        parts, key = call.service.parts(call.config), call.idempotency_key()
        new = acts.resume(parts, uid, operator=name, key=key, request=call.request_id)
    return accepted(call, new)


def call_back_again(call: ReceivedCall, uid: str, name: str) -> Response:
    """POST /v1/executions/<uid>/callbacks/<name>/again: it is sent once more, or now if it is retrying"""
    _operator_of(call, uid)
    with call.service.breaker.reading():
        sender_uid = callbacks.again(call.service.redis, uid, name)
    return answer({"uid": sender_uid}, 202)


def _operator_of(call: ReceivedCall, uid: str) -> str:
    """Make the checks that come before every act, in their order; return the operator's name."""
    sender.refuse_foreign(call.environ)
    name = operator(call)
    if not store.is_uid(uid):
        raise ExecutionNotFound("There is no such execution")
    call.uid = uid
    return name


def _edited(call: ReceivedCall) -> Any:
    """Return the input that a rerun is to have, MISSING for the same: the body is {"input": …}, {} or empty."""
    body = call.value()
    if not isinstance(body, dict) or (isinstance(body, Form) and body) or body.keys() - {"input"}:
        raise InvalidParams('The body is to be empty, or as JSON {"input": …} with the input to run with')
    return body.get("input", MISSING)


def _hidden() -> ExecutionNotFound:
    return ExecutionNotFound("There is no such execution, or it is not yours to read")
