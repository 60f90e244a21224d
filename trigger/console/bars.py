"""The calls of 24 hours as bars: an API's chart, small in the list of APIs and large on its own page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from trigger.console.shown import plural
from trigger.executions.counters import Hours, hours

# Of the drawing: from one bar to the next, and of the highest one.
PITCH, HEIGHT = 4, 24


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour: how high its calls and its failures stand, and what it says in words."""

    x: int
    calls: int
    failures: int
    words: str


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours of an API. `most` is what the highest bar stands for; `begins` are the hours' beginnings."""

    calls: int
    failures: int
    most: int
    bars: tuple[Bar, ...]
    begins: tuple[str, ...]

    @property
    def words(self) -> str:
        """The totals."""
        return f"{plural(self.calls, 'call')}, {self.failures:,} failed"

    @property
    def path(self) -> str:
        """The bars of the calls, each a line upwards (SVG 2, path data)."""
        return "".join(f"M{bar.x} {HEIGHT}v-{bar.calls}" for bar in self.bars if bar.calls)

    @property
    def path_of_failures(self) -> str:
        """Likewise those of the failures."""
        return "".join(f"M{bar.x} {HEIGHT}v-{bar.failures}" for bar in self.bars if bar.failures)


def days(redis: Redis, apis: Sequence[tuple[str, str]], now: float) -> list[Day]:
    """The last 24 hours of each API (module, method), in that order. `now` is the time in seconds since 1970."""
    return [_day(figures, now) for figures in hours(redis, apis, now)]


def _day(figures: Hours, now: float) -> Day:
    most = max(*figures.calls, *figures.failures)
    first = int(now // 3600) - len(figures.calls) + 1
    begins = tuple(
        datetime.fromtimestamp((first + number) * 3600, UTC).strftime("%H:%M") for number in range(len(figures.calls))
    )
    pairs = zip(begins, figures.calls, figures.failures, strict=True)
    bars = tuple(
        Bar(
            x=number * PITCH + PITCH // 2,
            calls=_height(calls, most),
            failures=_height(failures, most),
            words=f"from {begin} UTC: {plural(calls, 'call')}, {failures:,} failed",
        )
        for number, (begin, calls, failures) in enumerate(pairs)
    )
    return Day(sum(figures.calls), sum(figures.failures), most, bars, begins)


def _height(count: int, most: int) -> int:
    """How high a bar stands; one that stands for anything can be seen."""
    return max(1, round(HEIGHT * count / most)) if count else 0
