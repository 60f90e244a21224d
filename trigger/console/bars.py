"""The calls of 24 hours as bars: an API's chart, small in the list of APIs and large on its own page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from trigger.console.shown import plural
from trigger.store.counters import Hours, hours

# Of the drawing: from one bar to the next, and of the highest one.
PITCH, HEIGHT = 4, 24


@dataclass(frozen=True, slots=True)
class HourBar:
    """An hour: where it stands, how high its calls and its failures do, and what it says in words."""

    x: int
    calls: int
    failures: int
    words: str


@dataclass(frozen=True, slots=True)
class Day:
    """The last 24 hours of an API, or of all; `end` is the number of the present hour since 1970, and `noun` says what
    `hours.calls` counts."""

    hours: Hours
    end: int
    noun: str = "call"

    @property
    def calls(self) -> int:
        return sum(self.hours.calls)

    @property
    def failures(self) -> int:
        return sum(self.hours.failures)

    @property
    def most(self) -> int:
        """The value of the highest bar."""
        return max(*self.hours.calls, *self.hours.failures)

    @property
    def words(self) -> str:
        """The totals."""
        return f"{plural(self.calls, self.noun)}, {self.failures:,} failed"

    @property
    def path(self) -> str:
        """The bars of the calls, each a line upwards (SVG 2, path data): a page of 50 charts has to be short."""
        return self._path(self.hours.calls)

    @property
    def path_of_failures(self) -> str:
        """Likewise those of the failures."""
        return self._path(self.hours.failures)

    @property
    def begins(self) -> list[str]:
        """When each hour has begun (UTC)."""
        first = self.end - len(self.hours.calls) + 1
        return [f"{datetime.fromtimestamp(hour * 3600, UTC):%H:%M}" for hour in range(first, self.end + 1)]

    @property
    def bars(self) -> list[HourBar]:
        """The bars one by one, with their words."""
        most = self.most
        return [
            HourBar(
                x=_middle(number),
                calls=_height(calls, most),
                failures=_height(failures, most),
                words=f"from {begin} UTC: {plural(calls, self.noun)}, {failures:,} failed",
            )
            for number, (begin, calls, failures) in enumerate(
                zip(self.begins, self.hours.calls, self.hours.failures, strict=True)
            )
        ]

    def _path(self, counts: Sequence[int]) -> str:
        most = self.most
        bars = [(_middle(number), _height(count, most)) for number, count in enumerate(counts) if count]
        return "".join([f"M{x} {HEIGHT}v-{height}" for x, height in bars])


def days(redis: Redis, apis: Sequence[tuple[str, str]], now: float) -> list[Day]:
    """The last 24 hours of each API (module, method), in that order. `now` is the time in seconds since 1970."""
    return [Day(figures, int(now // 3600)) for figures in hours(redis, apis, now)]


def _middle(number: int) -> int:
    return number * PITCH + PITCH // 2


def _height(count: int, most: int) -> int:
    """How high a bar stands; one that stands for anything can be seen."""
    return max(1, round(HEIGHT * count / most)) if count else 0
