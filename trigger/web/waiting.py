"""Waiting, before an answer, for what becomes of an execution; how long a caller wants to, RFC 7240 has in Prefer.

What waits holds no thread of its own and asks Redis nothing (trigger/store/telling.py). It lets go when its client
hangs up, and when the process is told to stop.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flask import Response
from redis.exceptions import RedisError
from werkzeug.http import parse_list_header

from trigger import store
from trigger.errors import ExecutionCancelled, ExecutionFailed, InvalidParams, RequestError
from trigger.inputs import parse_query
from trigger.store import FINAL, Record, Status
from trigger.store.telling import Watch
from trigger.web.answers import answer, refusal
from trigger.web.call import ReceivedCall
from trigger.web.connection import Connection
from trigger.web.listening import connections

# The longest wait for a record or a log, in seconds.
MAX_WAIT = 60

NO_WAIT = f"must be a number of seconds from 0 to {MAX_WAIT}"

# What the answer has of the one that is given where nobody waits.
_KEPT = ("Location", "Idempotency-Replayed", "Execution-Merged", "RateLimit", "RateLimit-Policy")

_SECONDS = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
_DELTA = re.compile(r"[0-9]+")  # RFC 9110, 10.2.3
# A wait that nobody allows: longer numbers are the same.
_FOREVER = 999_999


def places() -> int:
    """Return how many may wait in a process at once: a quarter of its connections is for those who do not."""
    return connections() * 3 // 4


def asked(call: ReceivedCall) -> float:
    """Return how many seconds a record is waited for: the `wait` of the query. Raises InvalidParams."""
    text = parse_query(call.query_string).get("wait", "0")
    if not isinstance(text, str) or not is_wait(text):
        raise InvalidParams("The parameters are invalid", details={"fields": {"wait": [NO_WAIT]}})
    return float(text) if call.method == "GET" else 0.0


def is_wait(text: str) -> bool:
    """Whether the text says how many seconds a record or a log is waited for."""
    return _SECONDS.fullmatch(text) is not None and float(text) <= MAX_WAIT


@contextmanager
def watching(call: ReceivedCall, uid: str, *, only_end: bool = False) -> Iterator[Watch | None]:
    """Give a place to wait for news of an execution, None where none is free. It is left when the client hangs up."""
    watch = call.service.news.watch(uid, only_end=only_end)
    if watch is None:
        yield None
        return
    with watch:
        connection = call.environ.get("gunicorn.socket")
        if isinstance(connection, Connection):
            with connection.watched(watch.leave):
                yield watch
        else:
            yield watch


def wait_for_end(call: ReceivedCall, uid: str, seconds: float) -> str | None:
    """Wait until an execution has ended, at most so long; return None if it has, else one of WAITS: why not."""
    begin = time.perf_counter()
    with watching(call, uid, only_end=True) as watch:
        came = watch is not None and watch.wait(seconds)
    call.waited += time.perf_counter() - begin
    if watch is None:
        return "stopped" if call.service.news.stopped else "full"
    if came:
        return None
    if not watch.left:
        return "late"
    return "stopped" if call.service.news.stopped else "left"


@dataclass(frozen=True, slots=True)
class Preferred:
    """What a caller prefers: to wait so many seconds at most, None where that was not said; to be answered at once, or
    when those are over (`respond_async`)."""

    wait: int | None = None
    respond_async: bool = False

    @classmethod
    def of(cls, header: str) -> Preferred:
        """Read a Prefer header; what it does not know, or can't read, counts as not there."""
        found: dict[str, str] = {}
        for preference in parse_list_header(header):
            name, _, value = preference.partition(";")[0].partition("=")
            found.setdefault(name.strip().lower(), value.strip().strip('"'))  # the first one counts
        wait = found.get("wait", "")
        return cls(
            (int(wait) if len(wait) < 7 else _FOREVER) if _DELTA.fullmatch(wait) and wait.isascii() else None,
            found.get("respond-async") == "",
        )

    def seconds(self, longest: float) -> float:
        """Return how long the caller is to wait: a longer wait than is allowed counts as not there."""
        if self.wait is not None and self.wait <= longest:
            return self.wait
        return 0.0 if self.respond_async else longest

    def applied(self, longest: float, *, is_late: bool) -> str:
        """Return the Preference-Applied header; empty where none was."""
        applied = [f"wait={self.wait}"] if self.wait is not None and self.wait <= longest else []
        if self.respond_async and is_late:
            applied.insert(0, "respond-async")
        return ", ".join(applied)


def outcome(call: ReceivedCall, uid: str, accepted: Response, longest: float) -> Response:
    """Answer with what became of the execution that the call has started, if it ends within `longest` seconds; else
    with `accepted`."""
    preferred = Preferred.of(call.headers.get("Prefer", ""))
    seconds = preferred.seconds(longest)
    how = wait_for_end(call, uid, seconds) if seconds else "late"
    record = None
    if how is None:
        how, record = _record(call, uid)
    if seconds:
        call.wait_ended = how
    applied = preferred.applied(longest, is_late=record is None)
    headers = {"Preference-Applied": applied} if applied else {}
    if record is None:
        accepted.headers.update(headers)
        return accepted
    headers |= {name: value for name, value in accepted.headers.items() if name in _KEPT}
    if record.status is Status.SUCCEEDED:
        return answer({"code": 0, "data": record.output, "msg": "", "uid": uid}, headers=headers)
    return refusal(_failure(record, headers), uid=uid)


def _record(call: ReceivedCall, uid: str) -> tuple[str, Record | None]:
    try:
        with call.service.news.turns:
            record = store.read(call.service.redis, uid, call.config.masked)
    except RedisError:
        return "unread", None
    if record is None or record.status not in FINAL:
        return "unread", None
    return record.status.value, record


def _failure(record: Record, headers: dict[str, str]) -> RequestError:
    told = record.error or {}
    failed = record.failed_step
    details = {"class": told.get("class", ""), **({"step": failed.name} if failed else {})}
    kind = ExecutionCancelled if record.status is Status.CANCELLED else ExecutionFailed
    return kind(str(told.get("message", "")), details=details, headers=headers)
