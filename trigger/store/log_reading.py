"""Reading an execution's log, page by page, while it grows and after."""

from __future__ import annotations

import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from trigger.store.keys import JOB, LOG
from trigger.store.log import LETTERS
from trigger.store.status import FINAL
from trigger.store.stored import LOGGED, Stored
from trigger.store.telling import Watch
from trigger.store.times import shown_ms

START = "0-0"  # the id before every line's
MAX_LINES = 1000  # of one page

# How long one waits that has no place to wait, in seconds.
PAUSE = 1.0

_STREAMS = {letter: stream for stream, letter in LETTERS.items()}
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `time` is RFC 3339 in UTC; `stream` is stdout, stderr or log; `level` is that of Python's logging."""

    id: str
    time: str
    stream: str
    level: str
    step: str
    attempt: int
    text: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("id", "time", "stream", "level", "step", "attempt", "text")}

    def __str__(self) -> str:
        where = f"{self.stream}/{self.level}" if self.level else self.stream
        step = f"{self.step or '-'}#{self.attempt}" if self.attempt > 1 else self.step or "-"
        return f"{self.time} {where} {step} {self.text}"


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines, in order.

    `cut` is how many lines of the log in all are not kept any more, given where some of them stood before these lines,
    else 0. `next` is where to go on. `ended`: the execution is final, and nothing comes after these lines.
    """

    lines: tuple[Line, ...]
    cut: int
    next: str
    ended: bool

    @property
    def is_empty(self) -> bool:
        """Whether it tells nothing new, and something may come."""
        return not (self.lines or self.cut or self.ended)

    def as_json(self) -> list[dict[str, Any]]:
        """The lines as JSON, the marker {"cut": n} first where it belongs."""
        marker: list[dict[str, Any]] = [{"cut": self.cut}] if self.cut else []
        return marker + [line.as_json() for line in self.lines]

    def as_text(self) -> list[str]:
        """The lines as text for people."""
        marker = [f"... {self.cut} lines were cut; only the newest are kept"] if self.cut else []
        return marker + [str(line) for line in self.lines]


def is_position(text: str) -> bool:
    """Whether the text can stand for a place in a log, as Lines.next does."""
    match = _ID.fullmatch(text)
    return match is not None and all(int(part) < 2**63 for part in match.groups())


def read(redis: Redis, uid: str, after: str | None = None, limit: int = MAX_LINES) -> Lines:
    """The lines after the one with the id `after` (from the first if None), at most `limit`, in one round trip."""
    after = after or START
    pipeline = redis.pipeline(transaction=True)  # status and lines of one moment: an end with lines missing can't be
    pipeline.hmget(JOB + uid, LOGGED)
    pipeline.xrange(LOG + uid, f"({after}", "+", count=limit + 1)
    values, entries = pipeline.execute()
    execution = Stored.from_hash(uid, LOGGED, values)
    cut, upto = execution.cut
    upto = upto if is_position(upto) else START
    missed = cut if _parsed(after) < _parsed(upto) else 0
    lines = tuple(_line(key.decode(), fields) for key, fields in entries[:limit])
    position = lines[-1].id if lines else upto if missed else after
    is_over = execution.status is None or execution.status in FINAL  # None: the record is gone
    return Lines(lines, missed, position, is_over and len(entries) <= limit)


def follow(redis: Redis, uid: str, after: str | None, limit: int, wait: float, watch: Watch | None) -> Lines:
    """As `read`, but where nothing is there yet it waits up to `wait` seconds for a line or the end.

    It waits at `watch`, until that is left. Without one it looks once more, a second later.
    """
    deadline = time.monotonic() + wait
    while True:
        with nullcontext() if watch is None else watch.turns:
            page = read(redis, uid, after, limit)
        left = deadline - time.monotonic()
        if not page.is_empty or left <= 0:
            return page
        if watch is None:
            time.sleep(min(left, PAUSE))
            return read(redis, uid, after, limit)
        if watch.left:
            return page
        watch.wait(left)


def last(redis: Redis, uid: str, count: int, step: str = "") -> tuple[Line, ...]:
    """The last `count` lines of a step, or of the whole log, in order; looks at the last MAX_LINES lines."""
    entries = cast(list[Any], redis.xrevrange(LOG + uid, count=MAX_LINES if step else count))
    lines = (_line(key.decode(), fields) for key, fields in entries)
    found = [line for line in lines if not step or line.step == step]
    return tuple(reversed(found[:count]))


def _parsed(position: str) -> tuple[int, int]:
    milliseconds, _, serial = position.partition("-")
    return int(milliseconds), int(serial)


def _line(key: str, fields: dict[bytes, bytes]) -> Line:
    text = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
    return Line(
        id=key,
        time=shown_ms(min(_parsed(key)[0], 253_402_300_799_999)),
        stream=_STREAMS.get(text.get("s", ""), "log"),
        level=text.get("l", ""),
        step=text.get("p", ""),
        attempt=int(attempt) if (attempt := text.get("a", "1")).isdecimal() else 1,
        text=text.get("m", ""),
    )
