"""Where the time of an execution went, without a gap and without an overlap: the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from trigger.executions.steps import StepRecord
from trigger.executions.times import shown

What = Literal["queued", "running", "waiting"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the workflow by a worker, RFC 3339 in UTC; `ended_at` is None while it goes on."""

    started_at: str
    ended_at: str | None


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
    created_at: str | None, ended_at: str | None, runs: Sequence[Run], steps: Iterable[StepRecord]
) -> tuple[Span, ...]:
    """The spans from when an execution was accepted to its end (None: it has not ended), in order.

    `runs` are in order. Moments outside of the whole, which a clock that was set can have left, count as its ends; the
    milliseconds of all spans are exactly those from `created_at` to `ended_at`. Spans of no length are left out.
    """
    if created_at is None:
        return ()
    begin, end = _moment(created_at), _moment(ended_at) if ended_at else None
    inside = _Inside(begin, end)
    ran = [_Interval(inside(run.started_at), inside(run.ended_at)) for run in runs]
    done = [
        (step.name, _Interval(inside(step.started_at), inside(step.ended_at)))
        for step in steps
        if step.started_at and not (step.ended_at and _moment(step.ended_at) < begin)  # of the one that is resumed
    ]
    intervals = [*ran, *(interval for _, interval in done)]
    edges = {begin, *(moment for i in intervals for moment in (i.begin, i.end) if moment is not None)}
    if end is not None:
        edges.add(end)
    spans = list(_spans(sorted(edges), ran, done))
    if end is None:
        last = max(edges)
        spans.append(_span(last, None, ran, done))
    return tuple(_joined(spans))


@dataclass(frozen=True, slots=True)
class _Interval:
    begin: datetime
    end: datetime | None

    def holds(self, moment: datetime) -> bool:
        return self.begin <= moment and (self.end is None or moment < self.end)


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
    edges: Sequence[datetime], ran: Sequence[_Interval], done: Sequence[tuple[str, _Interval]]
) -> Iterator[Span]:
    for begin, end in pairwise(edges):
        yield _span(begin, end, ran, done)


def _span(
    begin: datetime, end: datetime | None, ran: Sequence[_Interval], done: Sequence[tuple[str, _Interval]]
) -> Span:
    what: What = "waiting"
    if any(run.holds(begin) for run in ran):
        what = "running"
    elif all(run.begin > begin for run in ran):
        what = "queued"
    steps = tuple(name for name, step in done if what == "running" and step.holds(begin))
    ms = None if end is None else (end - begin) // timedelta(milliseconds=1)
    return Span(what, shown(begin), None if end is None else shown(end), ms, steps)


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
