"""Figures of APIs and workflows: calls and failures by hour, outcomes and durations of a week, and totals.

They are written by the scripts that accept and end executions (see `counting`), so reading them costs the same with a
million records. All executions count, those of `debug`, `rerun` and `resume` too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

from trigger.store.counting import CLASSES, DAYS, EDGES, GROWTH, HOURS, SHORTEST
from trigger.store.keys import FAILING, FIGURES
from trigger.store.lua import load

SLICE = 100  # hashes read in one call, during which Redis serves nobody else

_READ = load("figures")

ENDS = ("succeeded", "failed", "cancelled")

_SERVICE = f"{FIGURES}service:all"


@dataclass(frozen=True, slots=True)
class Hours:
    """The results of an API's calls in the last 24 hours, the oldest first, the present hour last.

    `calls` are accepted ones, by when they were accepted; `failures` executions that failed, by when they did.
    """

    calls: tuple[int, ...]
    failures: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How a workflow's executions have ended today and on the six days before (UTC).

    `p50` and `p95` are how many seconds half, and 95 of 100, of those that succeeded took at most, from the start of
    their last run to their end; a tenth more or less. None where none has succeeded. Those that failed are left out:
    they would make a workflow that breaks at once look quick.
    """

    succeeded: int
    failed: int
    cancelled: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Lately:
    """All executions that ended in the last 24 hours: how many by final status, for each hour, the oldest first.

    `failing` are the APIs (module, method) of which an execution failed then, the last ones first, and `more` is how
    many of these were left out.
    """

    by_status: Mapping[str, tuple[int, ...]]
    failing: tuple[tuple[str, str], ...]
    more: int

    def count(self, status: str) -> int:
        """How many ended so."""
        return sum(self.by_status[status])


@dataclass(frozen=True, slots=True)
class ApiTotals:
    """The counts of an API for as long as it was in use; figures that are 0 may be left out.

    `calls` are answers to callers by outcome: "accepted", "replayed", or the code of the refusal. `ended` are
    executions by final status. `attempts` are attempts at executions by how they ended: a final status, "retried", or
    "interrupted" when the worker died or was stopped. Calls that were for no API have empty names.
    """

    module: str
    method: str
    calls: Mapping[str, int]
    ended: Mapping[str, int]
    attempts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WorkflowTotals:
    """How long a workflow's executions took that succeeded, for as long as it was in use.

    `up_to` says how many took at most that many seconds, for each of EDGES and infinity; `seconds` is the sum.
    """

    workflow: str
    up_to: tuple[tuple[float, int], ...]
    seconds: float


def hours(redis: Redis, apis: Sequence[tuple[str, str]], now: float) -> list[Hours]:
    """The last 24 hours of each API (module, method), in that order. `now` is the time in seconds since 1970."""
    names = [(f"calls@{hour}", f"failed@{hour}") for hour in _hours_until(now)]
    return [
        Hours(tuple(int(of.get(calls, 0)) for calls, _ in names), tuple(int(of.get(failed, 0)) for _, failed in names))
        for of in _read(redis, "api", [f"{module}/{method}" for module, method in apis])
    ]


def lately(redis: Redis, now: float, most: int) -> Lately:
    """How executions ended lately, with at most so many failing APIs, in one round trip. `now` is the time in seconds
    since 1970."""
    wanted = _hours_until(now)
    pipeline = redis.pipeline(transaction=False)
    for status in ENDS:
        pipeline.hmget(_SERVICE, [f"{status}@{hour}" for hour in wanted])
    pipeline.zrevrangebyscore(FAILING, "+inf", wanted[0], 0, most)
    pipeline.zcount(FAILING, wanted[0], "+inf")
    answers = pipeline.execute(raise_on_error=False)
    # A key of another type holds no figures.
    *counts, names, failing = (() if isinstance(answer, ResponseError) else answer for answer in answers)
    apis = [name.decode().partition("/") for name in names]
    nothing = (None,) * len(wanted)
    return Lately(
        by_status={status: tuple(map(_number, found or nothing)) for status, found in zip(ENDS, counts, strict=True)},
        failing=tuple((module, method) for module, _, method in apis),
        more=(failing or 0) - len(apis),
    )


def failed(redis: Redis, now: float) -> int:
    """How many executions failed in the last 24 hours. `now` is the time in seconds since 1970."""
    found = redis.hmget(_SERVICE, [f"failed@{hour}" for hour in _hours_until(now)])
    return sum(map(_number, cast(list[bytes | None], found)))


def outcomes(redis: Redis, workflows: Sequence[str], now: float) -> list[Outcomes]:
    """The last 7 days of each workflow, in that order. `now` is the time in seconds since 1970."""
    today = int(now // 86_400) * 24
    days = {str(today - 24 * back) for back in range(DAYS)}
    return [_outcomes(of, days) for of in _read(redis, "workflow", workflows)]


def api_totals(redis: Redis) -> Iterator[ApiTotals]:
    """The totals of every API that was in use lately, by name."""
    for name, figures in _all(redis, "api"):
        module, _, method = name.partition("/")
        numbers = {field: int(value) for field, value in figures.items() if "@" not in field}
        early = {status: numbers.get(f"{status}-early", 0) for status in ENDS}
        run = {status: numbers.get(status, 0) for status in ENDS}
        yield ApiTotals(
            module=module,
            method=method,
            calls={field[5:]: number for field, number in numbers.items() if field.startswith("call:")},
            ended={status: run[status] + early[status] for status in ENDS if run[status] + early[status]},
            attempts={how: numbers[how] for how in (*ENDS, "retried", "interrupted") if how in numbers},
        )


def callback_totals(redis: Redis) -> Iterator[tuple[str, Mapping[str, int]]]:
    """The totals of each callback that was sent lately, by name: how many have ended by final status, and attempts that
    were "retried" or "interrupted"."""
    outcomes = (*ENDS, "retried", "interrupted")
    for name, figures in _all(redis, "callback"):
        yield name, {outcome: int(figures.get(outcome, 0)) for outcome in outcomes}


def calls_of(redis: Redis, module: str, method: str) -> Mapping[str, int]:
    """Return how often calls of an API had each outcome, see ApiTotals."""
    (figures,) = _read(redis, "api", [f"{module}/{method}"])
    return {field[5:]: int(number) for field, number in figures.items() if field.startswith("call:")}


def workflow_totals(redis: Redis) -> Iterator[WorkflowTotals]:
    """The totals of every workflow of which an execution has succeeded lately, by name."""
    for name, figures in _all(redis, "workflow"):
        if "us" in figures:
            counts = (int(figures.get(f"upto{number}", 0)) for number in range(1, len(EDGES) + 2))
            up_to = zip((*EDGES, math.inf), accumulate(counts), strict=True)
            yield WorkflowTotals(name, tuple(up_to), int(figures["us"]) / 1e6)


def _hours_until(now: float) -> range:
    """The numbers of the last 24 hours since 1970, the present one last."""
    present = int(now // 3600)
    return range(present - HOURS + 1, present + 1)


def _number(stored: bytes | None) -> int:
    return int(stored or 0)


def _outcomes(figures: Mapping[str, str], days: set[str]) -> Outcomes:
    ends = {"failed": 0, "cancelled": 0}
    took = [0] * CLASSES
    for field, value in figures.items():
        what, _, when = field.partition("@")
        day, _, number = when.partition(":")
        if day not in days:
            continue
        if what == "took":
            took[int(number)] += int(value)
        else:
            ends[what] += int(value)
    return Outcomes(sum(took), ends["failed"], ends["cancelled"], _percentile(took, 0.5), _percentile(took, 0.95))


def _percentile(took: Sequence[int], share: float) -> float | None:
    """Seconds that so large a share took at most: the middle of its class."""
    rank = math.ceil(sum(took) * share)
    if rank == 0:
        return None
    number = next(number for number, until in enumerate(accumulate(took)) if until >= rank)
    return float(SHORTEST * GROWTH ** (number + 0.5))


def _all(redis: Redis, kind: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The figures of all of a kind, by name."""
    names = sorted(name.decode() for name in cast(list[bytes], redis.zrange(f"{FIGURES}{kind}s", 0, -1)))
    return zip(names, _read(redis, kind, names), strict=True)


def _read(redis: Redis, kind: str, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """The figures of each of a kind, empty where there are none. Between two slices others get their turn."""
    script = _READ.on(redis)
    for begin in range(0, len(names), SLICE):
        keys = [f"{FIGURES}{kind}:{name}" for name in names[begin : begin + SLICE]]
        for text in cast(list[bytes], script(more_keys=keys)):
            words = text.decode().split(" ") if text else ()
            yield dict(zip(words[::2], words[1::2], strict=True))
