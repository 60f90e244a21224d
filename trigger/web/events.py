"""GET /v1/executions/<uid>/events: an execution as it goes on, as Server-Sent Events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

An event's id says all that was told up to it: the place in the log, the status, and how far each step is. Who comes
again with it as Last-Event-ID is told what has changed since, and nothing twice.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from flask import Response
from redis import Redis
from redis.exceptions import RedisError

from trigger import store
from trigger.errors import TooManyRequests
from trigger.store import FINAL, Record
from trigger.store.log_reading import START, is_position, read
from trigger.store.steps import StepRecord
from trigger.store.telling import Watch
from trigger.web import waiting
from trigger.web.answers import bare, stream, whole
from trigger.web.call import ReceivedCall
from trigger.web.executions import check_reader

# Seconds after which a connection on which nothing has come gets a comment, so that no proxy takes it for dead.
HEARTBEAT = 15.0
# Seconds after which a stream ends, and the client comes again: who may read is checked anew then.
LONGEST = 300.0
# After so many milliseconds a client comes again.
RETRY = 1000
LINES = 200  # of the log, read at once

_TYPE = "text/event-stream; charset=utf-8"
_HEADERS = {"X-Accel-Buffering": "no"}  # nginx passes each event on as it comes
# The letters of the words for a status, of an execution or of a step, in ids.
_LETTERS = {
    "queued": "q",
    "waiting": "w",
    "running": "r",
    "retrying": "t",
    "succeeded": "s",
    "failed": "f",
    "cancelled": "c",
    "skipped": "k",
}
_OTHER = "x"
_ID = re.compile(r"([0-9]{1,20}-[0-9]{1,20})/([a-z][0-9]{0,9})?/((?:[a-z][0-9]{0,9})*)(/end)?")
_STATE = re.compile(r"[a-z][0-9]*")
STATUS = ("uid", "status", "attempt", "created_at", "started_at", "ended_at")


class _Told:
    """What a client was told of an execution."""

    def __init__(self, last: str) -> None:
        """`last` is the id of the last event that it has got; anything else counts as none."""
        found = _ID.fullmatch(last)
        position = found[1] if found else START
        self.position = position if is_position(position) else START
        self.status = (found[2] or "") if found else ""
        self.steps = _STATE.findall(found[3]) if found else []
        self.ended = bool(found and found[4])

    def event(self, kind: str, data: Mapping[str, Any]) -> bytes:
        """An event, once what it tells is noted."""
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        end = "/end" if self.ended else ""
        number = f"{self.position}/{self.status}/{''.join(self.steps)}{end}"
        return f"id: {number}\nevent: {kind}\ndata: {text}\n\n".encode("utf-8", "replace")

    def changes(self, record: Record, *, operator: bool) -> Iterator[bytes]:
        """The events that tell what has changed in the record."""
        status = _state(record.status, record.attempt)
        if status != self.status:
            self.status = status
            whole = record.as_json(operator=operator)
            yield self.event("status", {name: whole[name] for name in STATUS})
        for place, step in enumerate(record.steps):
            if place == len(self.steps):
                self.steps.append(_LETTERS["waiting"])
            state = _step(step)
            if state != self.steps[place]:
                self.steps[place] = state
                yield self.event("step", step.as_json(operator=operator))


def events(call: ReceivedCall, uid: str) -> Response:
    """GET /v1/executions/<uid>/events"""
    reader = check_reader(call, uid)
    told = _Told(call.environ.get("HTTP_LAST_EVENT_ID", ""))
    if told.ended:  # which has a browser's EventSource come no more
        return bare(204)
    if call.method == "HEAD":
        return whole(b"", _TYPE, 200, _HEADERS)
    stack = ExitStack()
    watch = stack.enter_context(waiting.watching(call, uid))
    if watch is None:
        stack.close()
        raise TooManyRequests("Too many wait for news here; try again later", headers={"Retry-After": "1"})
    is_operator = reader == "operator"
    pieces = _events(call.service.redis, uid, told, watch, call.config.masked, operator=is_operator)
    response = stream(pieces, _TYPE, _HEADERS)
    response.call_on_close(stack.close)
    return response


def _events(
    redis: Redis, uid: str, told: _Told, watch: Watch, masked: Collection[str], *, operator: bool
) -> Iterator[bytes]:
    """The events, until the execution has ended, the time is over, or there is nobody who hears them any more. Where
    Redis is away they end, too: the client comes again."""
    deadline = time.monotonic() + LONGEST
    record: Record | None = None
    yield b"retry: %d\n\n" % RETRY
    while not watch.left:
        try:
            with watch.turns:
                if record is None or not watch.only_log:
                    record = store.read(redis, uid, masked)
                page = read(redis, uid, told.position, LINES)
                if page.ended and record is not None and record.status not in FINAL:
                    record = store.read(redis, uid, masked)
        except RedisError:
            return
        if record is None:
            return  # it is kept no more
        yield from told.changes(record, operator=operator)
        for line in page.as_json():
            told.position = line.get("id", told.position)
            yield told.event("log", line)
        told.position = page.next
        if page.ended:
            told.ended = True
            yield told.event("end", record.as_json(operator=operator))
            return
        left = deadline - time.monotonic()
        if left <= 0:
            return
        if len(page.lines) < LINES and not watch.wait(min(left, HEARTBEAT)) and not watch.left:
            yield b":\n\n"


def _state(status: str, attempts: int) -> str:
    return f"{_LETTERS.get(status, _OTHER)}{attempts or ''}"


def _step(step: StepRecord) -> str:
    return _state(step.status, step.attempts)
