"""The views of executions and of what an operator can do about one; trigger/api.py has their routes.

    GET  /v1/executions                 the list, filtered, a page at a time
    GET  /v1/executions/<uid>           the record
    POST /v1/executions/<uid>/cancel    it never starts, or its run is told to end
    POST /v1/executions/<uid>/rerun     a new one, with the same input or another
    POST /v1/executions/<uid>/resume    a new one, which goes on after the steps that are done

A record is for whoever could have made the call, and for operators; the others are for operators only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from flask import Response, g, request
from redis.exceptions import RedisError

from trigger import acts, executions, sender
from trigger.answers import answer
from trigger.auth import BASIC, Credentials
from trigger.config.model import MISSING, Config
from trigger.errors import (
    BadRequest,
    CredentialMissing,
    ExecutionNotFound,
    InvalidParams,
    MethodNotAllowed,
    QueueUnavailable,
    Unauthorized,
)
from trigger.inputs import Form, parse_query
from trigger.queueing import Accepted
from trigger.service import Service


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
        _only_get()
        self._operator()
        parameters = parse_query(request.query_string)
        query = executions.Query.parse(parameters, now=time.time())
        with _reading():
            return answer(executions.page(self.service.redis, query).as_json())

    def record(self, uid: str) -> Response:
        """GET /v1/executions/<uid>"""
        reader = self.check_reader(uid)
        config: Config = g.config
        with _reading():
            record = executions.read(self.service.redis, uid, config.masked)
        if record is None:
            raise _hidden()
        return answer(record.as_json(operator=reader == "operator"))

    def check_reader(self, uid: str) -> Literal["caller", "operator"]:
        """As whom the record, and the log, of an execution may be read; only by GET.

        Raises ExecutionNotFound when it is not there or not theirs, which look the same.
        """
        _only_get()
        if not executions.is_uid(uid):
            raise _hidden()
        with _reading():
            name = executions.api_of(self.service.redis, uid)
        if name is None:
            raise _hidden()
        config: Config = g.config
        credentials = Credentials.of(request.environ)
        reader = self.service.guard.reads_as(config.apis.get(name), config.operators, credentials, self.client())
        if reader is None:
            raise _hidden()
        return reader

    def cancel(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/cancel"""
        operator = self._act(uid)
        with _reading():
            status = acts.cancel(self.service.redis, uid, operator)
        return answer({"uid": uid, "status": status}, 202)

    def rerun(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/rerun"""
        self._act(uid)
        edited = self._edited()
        with _reading():
            return self._accepted(acts.rerun(self._parts(), uid, edited=edited, key=self.key()))

    def resume(self, uid: str) -> Response:
        """POST /v1/executions/<uid>/resume"""
        self._act(uid)
        with _reading():
            return self._accepted(acts.resume(self._parts(), uid, key=self.key()))

    def _act(self, uid: str) -> str:
        """The checks that come before every act, in their order; returns the operator's name."""
        if request.method != "POST":
            raise MethodNotAllowed("Only POST is answered here", headers={"Allow": "POST"})
        _check_origin()
        operator = self._operator()
        if not executions.is_uid(uid):
            raise ExecutionNotFound("There is no such execution")
        g.uid = uid
        return operator

    def _operator(self) -> str:
        """The name of the operator who calls."""
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

    def _parts(self) -> acts.Parts:
        self.service.watermark.check()
        return acts.Parts(self.service.redis, self.service.submitter, g.config, self.service.shapes.of)

    @staticmethod
    def _accepted(accepted: Accepted) -> Response:
        headers = {"Location": f"/v1/executions/{accepted.uid}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        g.uid = accepted.uid
        return answer({"uid": accepted.uid}, 202, headers)


@contextmanager
def _reading() -> Iterator[None]:
    """What Redis can't answer now is a 503."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable("Records can't be read now; try again", headers={"Retry-After": "1"}) from error


def _only_get() -> None:
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("Only GET is answered here", headers={"Allow": "GET, HEAD"})


def _hidden() -> ExecutionNotFound:
    return ExecutionNotFound("There is no such execution, or it is not yours to read")


def _check_origin() -> None:
    """Refuses what a page of another site has made an operator's browser send, with the password it remembers."""
    if sender.is_foreign(request.environ):
        raise BadRequest("Another site's page may not do this", status=403)
