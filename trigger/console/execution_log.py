"""The log of an execution: its last lines in the page, those that follow for our script, and all of it as text."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response
from redis import Redis

from trigger import store
from trigger.console.page import data, plain
from trigger.console.room import Room
from trigger.console.shown import cut
from trigger.errors import BadRequest
from trigger.store import log_reading
from trigger.store.acts import unknown
from trigger.store.log_reading import Line
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

# How many lines a page shows at first, how many our script gets at once, and how many characters of one both show.
FIRST, AT_ONCE, MAX_LINE = 100, 500, 2_000
# What all of its lines may take in a page, and what there is around the text of each, in bytes.
ROOM, AROUND = 20_000, 130
# How much of a log is sent as one text, in characters.
MAX_TEXT = 2 * 1024 * 1024

_BAD = frozenset({"ERROR", "CRITICAL"})


@dataclass(frozen=True, slots=True)
class Tail:
    """The last lines of a log, as a page shows them, and how many bytes they take there.

    `after` is the position behind them; `is_all`: there are no others.
    """

    lines: tuple[dict[str, str], ...]
    size: int
    after: str
    is_all: bool


def tail(redis: Redis, uid: str) -> Tail:
    """The last lines of an execution's log, as many as a page has room for. Raises RedisError."""
    found = log_reading.last(redis, uid, FIRST + 1)
    room = Room(ROOM, AROUND)
    shown: list[dict[str, str]] = []
    for line in reversed(found[-FIRST:]):
        piece = room.beginning(cut(line.text, MAX_LINE), ROOM)
        if not piece.text and line.text:
            break
        shown.append({**_shown(line), "text": piece.text})
    after = found[-1].id if found else log_reading.START
    return Tail(tuple(reversed(shown)), ROOM - room.left, after, len(shown) == len(found))


@dataclass(frozen=True, slots=True)
class LogViews:
    """GET /console/executions/<uid>/log and /log.txt"""

    service: Service

    def lines(self, call: ReceivedCall, uid: str) -> Response:
        """The lines after the position `after`, for our script."""
        with self.service.breaker.reading("Logs"):
            page = log_reading.read(self.service.redis, _known(self.service.redis, uid), _after(call), AT_ONCE)
        marker = [_marker(page.cut)] if page.cut else []
        lines = marker + [_shown(line) for line in page.lines]
        return data({"lines": lines, "next": page.next, "ended": page.ended, "limit": AT_ONCE})

    def text(self, call: ReceivedCall, uid: str) -> Response:
        """The log as text from the position `after` on, or from its beginning."""
        after = _after(call)
        pieces: list[str] = []
        length = 0
        with self.service.breaker.reading("Logs"):
            _known(self.service.redis, uid)
            while length < MAX_TEXT:
                page = log_reading.read(self.service.redis, uid, after, AT_ONCE)
                text = "".join(f"{line}\n" for line in page.as_text())
                pieces.append(text)
                length += len(text)
                after = page.next
                if len(page.lines) < AT_ONCE:
                    break
            else:
                pieces.append(f"... it goes on at /console/executions/{uid}/log.txt?after={after}\n")
        return plain("".join(pieces))


def _known(redis: Redis, uid: str) -> str:
    if not store.is_uid(uid) or store.api_of(redis, uid) is None:
        raise unknown()
    return uid


def _after(call: ReceivedCall) -> str:
    after = call.args.get("after", log_reading.START)
    if not log_reading.is_position(after):
        raise BadRequest("`after` must be the position of a line")
    return after


def _shown(line: Line) -> dict[str, str]:
    """Return a line as pages show it; `kind` is its class."""
    step = f"{line.step}#{line.attempt}" if line.step and line.attempt > 1 else line.step
    kind = "error" if line.level in _BAD else line.stream
    return {"time": line.time[11:23], "step": step, "kind": kind, "text": cut(line.text, MAX_LINE)}


def _marker(cut: int) -> dict[str, str]:
    return {"time": "", "step": "", "kind": "cut", "text": f"… {cut} lines were cut; only the newest are kept"}
