"""Where the time of an execution went, as bars to one scale, each with words that say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from trigger.console.shown import coarse, seconds_of, span
from trigger.store import Record, StepRecord
from trigger.store.timeline import Span

# How many spans a page shows in words, of more those in the middle are left out; how many steps it names in one of
# them; and how many bars it draws in a row.
MAX_SPANS, MAX_NAMES, MAX_BARS = 40, 5, 60

# Lengths between two ticks, in seconds, and how many ticks there are at most, beside that at the beginning.
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800)
_LONG_TICKS = (3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)
_MOST_TICKS = 5

_DOING = {"queued": "queued", "running": "running", "waiting": "waiting for its next run"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the whole: what it is, where it begins and how wide it is in percent, and the same in words."""

    kind: str
    left: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Tick:
    left: float  # percent
    words: str


@dataclass(frozen=True, slots=True)
class Timing:
    """The time of an execution from when it was accepted to its end, or to `now`, in seconds since 1970."""

    begin: float
    end: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]

    @classmethod
    def of(cls, record: Record, now: float) -> Timing | None:
        """None for a record that does not say when it was accepted."""
        if record.created_at is None:
            return None
        begin = seconds_of(record.created_at)
        end = max(begin, seconds_of(record.ended_at) if record.ended_at else now)
        whole = cls(begin, end, (), ())
        bars = [
            whole.bar(what, parts[0].since, parts[-1].to, _DOING[what])
            for what, group in groupby(record.timeline, key=lambda part: part.what)
            if (parts := list(group))
        ]
        return cls(begin, end, tuple(_widest(bars)), tuple(_ticks(end - begin)))

    def bar(self, kind: str, since: str, to: str | None, words: str) -> Bar:
        """The bar of what was from `since` to `to`, RFC 3339 in UTC, or is still going on."""
        left = self._percent(seconds_of(since))
        width = max(0.0, round(self._percent(seconds_of(to) if to else self.end) - left, 3))
        lasted = (seconds_of(to) if to else self.end) - seconds_of(since)
        return Bar(kind, left, width, f"{words} for {span(max(0.0, lasted))}{'' if to else ' so far'}")

    def of_step(self, step: StepRecord) -> Bar | None:
        """The bar of a step; None for one that has not begun, or was done before this execution was accepted."""
        if step.started_at is None or (step.ended_at and seconds_of(step.ended_at) < self.begin):
            return None
        after = span(max(0.0, seconds_of(step.started_at) - self.begin))
        words = f"{step.status}: began {after} after the execution was accepted and ran"
        return self.bar(step.status, step.started_at, step.ended_at, words)

    def _percent(self, moment: float) -> float:
        whole = self.end - self.begin
        share = (moment - self.begin) / whole if whole else 0.0
        return round(100 * min(1.0, max(0.0, share)), 3)


def spans(record: Record, now: float) -> Sequence[str]:
    """Each part of an execution's time in words; of very many those in the middle are left out."""
    parts = record.timeline
    words = [f"{part.since[11:23]} {_doing(part)} {_for(part, now)}" for part in parts]
    if len(words) <= MAX_SPANS:
        return words
    half = MAX_SPANS // 2
    return [*words[:half], f"… and {len(words) - MAX_SPANS} more …", *words[-half:]]


def _widest(bars: Sequence[Bar]) -> Sequence[Bar]:
    """As many of the bars as are drawn, in their order."""
    if len(bars) <= MAX_BARS:
        return bars
    least = sorted((bar.width for bar in bars), reverse=True)[MAX_BARS - 1]
    return [bar for bar in bars if bar.width >= least][:MAX_BARS]


def _doing(part: Span) -> str:
    if part.what == "running" and part.steps:
        more = f" and {len(part.steps) - MAX_NAMES} more" if len(part.steps) > MAX_NAMES else ""
        return f"running {', '.join(part.steps[:MAX_NAMES])}{more}"
    return _DOING[part.what]


def _for(part: Span, now: float) -> str:
    if part.ms is None:
        return f"for {span(max(0.0, now - seconds_of(part.since)))} so far"
    return f"for {span(part.ms / 1000)}"


def _ticks(seconds: float) -> Iterator[Tick]:
    if seconds <= 0:
        return
    step = next((step for step in (*_TICKS, *_LONG_TICKS) if seconds / step <= _MOST_TICKS), _LONG_TICKS[-1])
    count = 0
    while count * step <= seconds and count <= _MOST_TICKS:
        yield Tick(round(100 * count * step / seconds, 3), _tick(count, step))
        count += 1


def _tick(count: int, step: float) -> str:
    if not count:
        return "0"
    return f"{round(count * step * 1000)} ms" if step < 1 else _whole(count, step)


def _whole(count: int, step: float) -> str:
    """Write a number of steps in the unit of one: "90 min"."""
    number, unit = coarse(step).split(" ")
    return f"{count * int(number)} {unit}"
