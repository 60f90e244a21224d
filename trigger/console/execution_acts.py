"""The acts of operators on an execution, from its page; a refusal is shown there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response

from trigger import store
from trigger.console.execution import ExecutionPage
from trigger.console.page import see_other
from trigger.errors import BodyTooLarge, ExecutionNotFound, RequestError
from trigger.fields.model import MISSING
from trigger.inputs import parse_json
from trigger.store import Record, Status, acts, callbacks
from trigger.store.queueing import Accepted
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

PATH = "/console/executions"

_ONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class ExecutionActs:
    """POST /console/executions/<uid>/cancel, /rerun and /resume; each leads to the page of what came of it."""

    service: Service
    page: ExecutionPage

    def cancel(self, call: ReceivedCall, uid: str) -> Response:
        def act() -> str:
            status = acts.cancel(self.service.redis, uid, call.operator)
            return f"{PATH}/{uid}?said={'cancelled' if status is Status.CANCELLED else 'told'}"

        return self._done(call, uid, act)

    def rerun(self, call: ReceivedCall, uid: str) -> Response:
        """With the input of the form; one that was not changed is the execution's own."""
        text = call.posted.get("input")

        def act() -> str:
            edited = MISSING if text is None else _edited(call, text, self.page.read(call, uid))
            parts, key = self._parts(call), _key(call, text or "")
            new = acts.rerun(parts, uid, edited=edited, operator=call.operator, key=key, request=call.request_id)
            return _new(call, new, "rerun")

        return self._done(call, uid, act, text)

    def resume(self, call: ReceivedCall, uid: str) -> Response:
        def act() -> str:
            parts, key = self._parts(call), _key(call)
            new = acts.resume(parts, uid, operator=call.operator, key=key, request=call.request_id)
            return _new(call, new, "resumed")

        return self._done(call, uid, act)

    def call_back_again(self, call: ReceivedCall, uid: str, name: str) -> Response:
        """POST /console/executions/<uid>/callbacks/<name>/again"""

        def act() -> str:
            callbacks.again(self.service.redis, uid, name)
            return f"{PATH}/{uid}?said=again#callbacks"

        return self._done(call, uid, act)

    def _done(self, call: ReceivedCall, uid: str, act: Callable[[], str], edited: str | None = None) -> Response:
        if not store.is_uid(uid):
            raise acts.unknown()
        call.uid = uid
        try:
            with self.service.breaker.reading():
                return see_other(act())
        except ExecutionNotFound:
            raise
        except RequestError as error:
            call.refused = error
            return self.page.show(call, uid, error, edited)

    def _parts(self, call: ReceivedCall) -> acts.Parts:
        return self.service.parts(call.config)


def _edited(call: ReceivedCall, text: str, record: Record) -> Any:
    content = text.encode("utf-8", "replace")
    if len(content) > call.config.server.max_body:
        raise BodyTooLarge(f"The input may have at most {call.config.server.max_body:,} bytes")
    value = parse_json(content, "The input")
    return MISSING if json.dumps(value) == json.dumps(record.input) else value


def _new(call: ReceivedCall, accepted: Accepted, said: str) -> str:
    call.note_started(accepted)
    return f"{PATH}/{accepted.uid}?said={'repeated' if accepted.replayed else said}"


def _key(call: ReceivedCall, text: str = "") -> str | None:
    """Return a key that makes a form that is sent twice start one execution: it is made of what each page has of its
    own, and of what was edited."""
    once = call.posted.get("once", "")
    return f"{once}\n{text}" if _ONCE.fullmatch(once) else None
