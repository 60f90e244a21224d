"""How a workflow has fared in the last seven days, as a bar and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis

from trigger.console.shown import percent
from trigger.store.counters import Outcomes, outcomes

WIDTH = 100  # of the bar
_LEAST = 2  # width of what is there at all


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the bar: the status that it stands for, where it begins and how wide it is."""

    status: str
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Week:
    """The executions of a workflow that ended in seven days. `p50` and `p95` are seconds, of those that succeeded."""

    counts: Sequence[tuple[str, int]]
    ended: int
    rate: str  # of those that succeeded or failed; cancelling one is nobody's failure
    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, figures: Outcomes) -> Week:
        counts = (("succeeded", figures.succeeded), ("failed", figures.failed), ("cancelled", figures.cancelled))
        rate = percent(figures.succeeded, figures.succeeded + figures.failed)
        return cls(counts, sum(count for _, count in counts), rate, figures.p50, figures.p95)

    @property
    def words(self) -> str:
        """How many have ended, by status: "1,204 succeeded, 3 failed"."""
        return ", ".join(f"{count:,} {status}" for status, count in self.counts if count) or "none has ended"

    @property
    def pieces(self) -> list[Segment]:
        """The pieces of the bar, from left to right; what is rare can still be seen."""
        present = [(status, count) for status, count in self.counts if count]
        spare = WIDTH - _LEAST * len(present)
        pieces: list[Segment] = []
        before = 0
        for number, (status, count) in enumerate(present):
            begin = _LEAST * number + round(spare * before / self.ended)
            before += count
            end = _LEAST * (number + 1) + round(spare * before / self.ended)
            pieces.append(Segment(status, begin, end - begin))
        return pieces


def weeks(redis: Redis, workflows: Sequence[str], now: float) -> list[Week]:
    """The last seven days of each workflow, in that order. `now` is the time in seconds since 1970."""
    return [Week.of(figures) for figures in outcomes(redis, workflows, now)]
