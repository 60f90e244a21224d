"""What an operator does about an execution from its page; what is refused is said there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, g

from trigger import store
from trigger.config.model import Config
from trigger.console.execution import ExecutionPage
from trigger.console.page import see_other
from trigger.errors import BodyTooLarge, ExecutionNotFound, RequestError
from trigger.fields.model import MISSING
from trigger.inputs import parse_json
from trigger.store import Record, Status, acts
from trigger.store.queueing import Accepted
from trigger.web.answers import note_started
from trigger.web.service import Service

PATH = "/console/executions"

_ONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class ExecutionActs:
    """POST /console/executions/<uid>/cancel, /rerun and /resume; each leads to the page of what came of it."""

    service: Service
    page: ExecutionPage

    def cancel(self, uid: str) -> Response:
        def act() -> str:
            status = acts.cancel(self.service.redis, uid, g.operator)
            return f"{PATH}/{uid}?said={'cancelled' if status is Status.CANCELLED else 'told'}"

        return self._done(uid, act)

    def rerun(self, uid: str) -> Response:
        """With the input of the form; one that was not changed is the execution's own."""
        text = g.form.get("input")

        def act() -> str:
            edited = MISSING if text is None else self._edited(text, self.page.read(uid))
            key = _key(text or "")
            return _new(
                acts.rerun(self._parts(), uid, edited=edited, operator=g.operator, key=key, request=g.request_id),
                "rerun",
            )

        return self._done(uid, act, text)

    def resume(self, uid: str) -> Response:
        def act() -> str:
            return _new(
                acts.resume(self._parts(), uid, operator=g.operator, key=_key(), request=g.request_id), "resumed"
            )

        return self._done(uid, act)

    def _done(self, uid: str, act: Callable[[], str], edited: str | None = None) -> Response:
        if not store.is_uid(uid):
            raise acts.unknown()
        g.uid = uid
        try:
            with self.service.breaker.reading():
                return see_other(act())
        except ExecutionNotFound:
            raise
        except RequestError as error:
            g.refused = error
            return self.page.show(uid, error, edited)

    def _parts(self) -> acts.Parts:
        return self.service.parts(g.config)

    def _edited(self, text: str, record: Record) -> Any:
        config: Config = g.config
        content = text.encode("utf-8", "replace")
        if len(content) > config.server.max_body:
            raise BodyTooLarge(f"The input may have at most {config.server.max_body:,} bytes")
        value = parse_json(content, "The input")
        return MISSING if json.dumps(value) == json.dumps(record.input) else value


def _new(accepted: Accepted, said: str) -> str:
    note_started(g, accepted.uid, replayed=accepted.replayed)
    return f"{PATH}/{accepted.uid}?said={'repeated' if accepted.replayed else said}"


def _key(text: str = "") -> str | None:
    """What makes a form that is sent twice start one execution: what each page has of its own, and what was edited."""
    once = g.form.get("once", "")
    return f"{once}\n{text}" if _ONCE.fullmatch(once) else None
