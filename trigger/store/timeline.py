"""Where the time of an execution went, without a gap and without an overlap: the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from trigger.store.steps import StepRecord
from trigger.store.times import shown

What = Literal["queued", "running", "waiting"]


# When a run of the workflow by a worker began and ended, RFC 3339 in UTC; None while it goes on.
Times = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an execution's time.

    `what`: "queued" until its first run, "running", "waiting" for its next run. `steps` are those that ran; none in a
    running span is the time of a workflow without steps, or our own. `to` and `ms` are None for what goes on.
    """

    what: What
    since: str
    to: str | None
    ms: int | None
    steps: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "from": self.since, "to": self.to, "ms": self.ms, "steps": list(self.steps)}


def timeline(
    created_at: str | None, ended_at: str | None, runs: Iterable[Times], steps: Iterable[StepRecord]
) -> tuple[Span, ...]:
    """The spans from when an execution was accepted to its end (None: it has not ended), in order.

    `runs` are in order. Moments outside of the whole, which a clock that was set can have left, count as its ends; the
    milliseconds of all spans are exactly those from `created_at` to `ended_at`. Spans of no length are left out.
    """
    if created_at is None:
        return ()
    begin, end = _moment(created_at), _moment(ended_at) if ended_at else None
    inside = _Inside(begin, end)
    ran = [_Interval(inside(begun), inside(ended)) for begun, ended in runs]
    done = [
        _Interval(inside(step.started_at), inside(step.ended_at), step.name)
        for step in steps
        if step.started_at and not (step.ended_at and _moment(step.ended_at) < begin)  # of the one that is resumed
    ]
    whole = _Interval(begin, end)
    edges = sorted({edge for part in (whole, *ran, *done) for edge in (part.begin, part.end) if edge is not None})
    parts: list[tuple[datetime, datetime | None]] = [*pairwise(edges)]
    if end is None:
        parts.append((edges[-1], None))
    return tuple(_joined(_spans(parts, ran, done)))


@dataclass(frozen=True, slots=True)
class _Interval:
    begin: datetime
    end: datetime | None
    name: str = ""


class _Open:
    """Which of some intervals hold a moment, for moments that come in their order."""

    def __init__(self, intervals: Sequence[_Interval]) -> None:
        self._intervals = intervals
        self._to_begin = sorted(range(len(intervals)), key=lambda number: intervals[number].begin, reverse=True)
        self._open: set[int] = set()

    def at(self, moment: datetime) -> tuple[_Interval, ...]:
        """Those that hold the moment, in the order in which they were given."""
        while self._to_begin and self._intervals[self._to_begin[-1]].begin <= moment:
            self._open.add(self._to_begin.pop())
        if self._open:
            over = {n for n in self._open if (end := self._intervals[n].end) is not None and end <= moment}
            self._open -= over
        return tuple(self._intervals[number] for number in sorted(self._open))


class _Inside:
    """Puts a moment into the whole."""

    def __init__(self, begin: datetime, end: datetime | None) -> None:
        self._begin, self._end = begin, end

    def __call__(self, text: str | None) -> Any:
        if text is None:
            return self._end
        moment = max(self._begin, _moment(text))
        return moment if self._end is None else min(moment, self._end)


def _spans(
    parts: Sequence[tuple[datetime, datetime | None]], ran: Sequence[_Interval], done: Sequence[_Interval]
) -> Iterator[Span]:
    first = min((run.begin for run in ran), default=None)
    runs, steps = _Open(ran), _Open(done)
    for begin, end in parts:
        what: What = "queued" if first is None or begin < first else "waiting"
        names = tuple(step.name for step in steps.at(begin))
        if runs.at(begin):
            what = "running"
        ms = None if end is None else (end - begin) // timedelta(milliseconds=1)
        yield Span(what, shown(begin), None if end is None else shown(end), ms, names if what == "running" else ())


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Neighbours that say the same are one."""
    kept: Span | None = None
    for span in spans:
        if kept is not None and (kept.what, kept.steps) == (span.what, span.steps):
            ms = None if span.ms is None else (kept.ms or 0) + span.ms
            kept = Span(kept.what, kept.since, span.to, ms, kept.steps)
            continue
        if kept is not None:
            yield kept
        kept = span
    if kept is not None:
        yield kept


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
