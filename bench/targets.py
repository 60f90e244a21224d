"""What the service is to reach beside its peers, and whether it does, computed from the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.figures import Figures, Spread
from bench.tables import OURS, number, spread, table

AllFigures = Mapping[str, Figures]
Kind = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, its bound, and how it comes from the figures of the benches; its median is what counts."""

    text: str
    bound: float
    kind: Kind
    value: Callable[[AllFigures], Spread]

    def met(self, figures: AllFigures) -> bool:
        median = self.value(figures).median
        return median >= self.bound if self.kind == "at least" else median <= self.bound


def _over(benchmark: str, metric: str, stack: str, case: str) -> Callable[[AllFigures], Spread]:
    """Ours divided by a peer, in one case."""
    return lambda figures: figures[benchmark].ratio(metric, (OURS, case), (stack, case))


def _grown(metric: str, case: str) -> Callable[[AllFigures], Spread]:
    """One case divided by the empty service."""
    return lambda figures: figures["growth"].ratio(metric, (OURS, case), (OURS, "base"))


def _own(benchmark: str, case: str, metric: str) -> Callable[[AllFigures], Spread]:
    return lambda figures: figures[benchmark].spread(OURS, case, metric)


_WITHIN: tuple[tuple[str, str, float, Kind], ...] = (
    ("call's p50", "p50", 1.1, "at most"),
    ("calls/s", "rps", 0.9, "at least"),
    ("jobs/s", "rate", 0.9, "at least"),
)
_GROWN = ("10,000 APIs", "1,000,000 queued", "1,000,000 records")

TARGETS = (
    *(
        Target(
            f"calls/s ÷ {peer}, {n} connections", bound, "at least", _over("trigger_path", "rps", stack, f"none c{n}")
        )
        for peer, stack, bound in (
            ("Flask + one pipeline", "flask-pipe", 1.15),
            ("Flask + one pipeline, gevent", "flask-pipe-gevent", 0.95),
            ("Flask + RQ", "rq", 1.45),
        )
        for n in (16, 64)
    ),
    Target("p99 ÷ Flask + RQ, 64 connections", 1.0, "at most", _over("trigger_path", "p99", "rq", "none c64")),
    *(
        Target(f"jobs/s of one worker ÷ {peer}{setting}", bound, "at least", _over("worker_rate", "rate", stack, case))
        for peer, stack, setting, case, bound in (
            ("RQ `Worker`", "rq", "", "none noop", 30),
            ("RQ `Worker`", "rq", ", `appendfsync always`", "always noop", 20),
            ("Celery prefork", "celery", "", "none noop", 1.5),
            ("Celery prefork", "celery", ", `appendfsync always`", "always noop", 1.5),
        )
    ),
    Target("call to first line, idle, p50 ÷ RQ `Worker`", 0.25, "at most", _over("latency", "p50", "rq", "none idle")),
    Target("40 times fibo(10) ÷ Celery", 0.35, "at most", _over("worker_rate", "took", "celery", "none burst")),
    *(
        Target(f"{text} with {case} ÷ without", bound, kind, _grown(metric, case))
        for case in _GROWN
        for text, metric, bound, kind in _WITHIN
    ),
    Target("KiB of Redis memory for a finished execution", 1.2, "at most", _own("growth", "record", "kib")),
    Target("MiB of memory of all of it, idle", 150, "at most", _own("memory", "idle", "pss")),
    Target("seconds until it is ready", 2.5, "at most", _own("memory", "idle", "ready")),
)


def targets(figures: AllFigures) -> str:
    """The targets as a table."""
    rows = []
    for target in TARGETS:
        bound = f"{'≥' if target.kind == 'at least' else '≤'} {number(target.bound)}"
        met = "yes" if target.met(figures) else "**no**"
        rows.append([target.text, spread(target.value(figures)), bound, met])
    return table(["", "measured", "target", "met"], rows)
