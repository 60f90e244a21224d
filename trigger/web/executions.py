"""The views of executions and of what an operator can do about one; trigger/web/routes.py has their routes.

    GET  /v1/executions                 the list, filtered, a page at a time
    GET  /v1/executions/<uid>           the record
    POST /v1/executions/<uid>/cancel    it never starts, or its run is told to end
    POST /v1/executions/<uid>/rerun     a new one, with the same input or another
    POST /v1/executions/<uid>/resume    a new one, which goes on after the steps that are done

A record is for whoever could have made the call, and for operators; the others are for operators only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flask import Response, g, request

from trigger import store
from trigger.config.model import Config
from trigger.errors import (
    CredentialMissing,
    ExecutionNotFound,
    InvalidParams,
    Unauthorized,
)
from trigger.fields.model import MISSING
from trigger.inputs import Form, parse_query
from trigger.store import acts
from trigger.web import sender
from trigger.web.answers import accepted, answer, only
from trigger.web.auth import BASIC, Credentials
from trigger.web.service import Service


@dataclass(frozen=True, slots=True)
class Views:
    """The views, working with `service`; the other parts read the request that is being answered.

    `client` gives the caller's address, `body` the value of the body of at most so many bytes, and `key` the
    Idempotency-Key.
    """

    service: Service
    client: Callable[[], str]
    body: Callable[[int], Any]
    key: Callable[[], str | None]

    def list(self) -> Response:
        """GET /v1/executions"""
        only("GET")
        self.operator()
        parameters = parse_query(request.query_string)
        query = store.Query.parse(parameters, now=time.time())
        with self.service.breaker.reading():
            return answer(store.page(self.service.redis, query).as_json())

    def record(self, uid: str) -> Response:
        """GET /v1/executions/<uid>"""
        reader = self.check_reader(uid)
        config: Config = g.config
        with self.service.breaker.reading():
            record = store.read(self.service.redis, uid, config.masked)
        if record is None:
            raise _hidden()
        return answer(record.as_json(operator=reader == "operator"))

    def check_reader(self, uid: str) -> Literal["caller", "operator"]:
        """As whom the record, and the log, of an execution may be read; only by GET.

        Raises ExecutionNotFound when it is not there or not theirs, which look the same.
        """
        only("GET")
        credentials = Credentials.of(request.environ)  # refused, if need be, before anything is looked up
        if not store.is_uid(uid):
            raise _hidden()
        with self.service.breaker.reading():
            name = store.api_of(self.service.redis, uid)
        if name is None:
            raise _hidden()
        config: Config = g.config
        reader = self.service.guard.reads_as(config.apis.get(name), config.operators, credentials, self.client())
        if reader is None:
            raise _hidden()
        return reader

    def cancel(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/cancel"""
        operator = self._act(uid)
        with self.service.breaker.reading():
            status = acts.cancel(self.service.redis, uid, operator)
        return answer({"uid": uid, "status": status}, 202)

    def rerun(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/rerun"""
        operator = self._act(uid)
        edited = self._edited()
        with self.service.breaker.reading():
            parts = self.service.parts(g.config)
            new = acts.rerun(parts, uid, edited=edited, operator=operator, key=self.key(), request=g.request_id)
        return accepted(g, new.uid, replayed=new.replayed)

    def resume(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/resume"""
        operator = self._act(uid)
        with self.service.breaker.reading():
            new = acts.resume(
                self.service.parts(g.config), uid, operator=operator, key=self.key(), request=g.request_id
            )
        return accepted(g, new.uid, replayed=new.replayed)

    def _act(self, uid: str) -> str:
        """The checks that come before every act, in their order; returns the operator's name."""
        only("POST")
        sender.refuse_foreign(request.environ)
        operator = self.operator()
        if not store.is_uid(uid):
            raise ExecutionNotFound("There is no such execution")
        g.uid = uid
        return operator

    def operator(self) -> str:
        """The name of the operator who calls; raises CredentialMissing, Unauthorized or TooManyRequests."""
        credentials = Credentials.of(request.environ)
        if credentials.user is None or credentials.password is None:
            raise CredentialMissing("User/Password is required", headers=BASIC)
        config: Config = g.config
        operator = self.service.guard.operator(config.operators, credentials, self.client())
        if operator is None:
            raise Unauthorized("User/Password is invalid", headers=BASIC)
        g.caller = operator
        return operator

    def _edited(self) -> Any:
        """The input that a rerun is to have, MISSING for the same: the body is {"input": …}, {} or empty."""
        config: Config = g.config
        body = self.body(config.server.max_body)
        if not isinstance(body, dict) or (isinstance(body, Form) and body) or body.keys() - {"input"}:
            raise InvalidParams('The body is to be empty, or as JSON {"input": …} with the input to run with')
        return body.get("input", MISSING)


def _hidden() -> ExecutionNotFound:
    return ExecutionNotFound("There is no such execution, or it is not yours to read")
