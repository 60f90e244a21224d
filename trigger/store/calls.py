"""Counts of the calls that the web processes have answered: how it is added up in Redis, and read.

Each process sends batches, one at a time, under a name of its own. A batch that is sent again after its reply was lost
is known by its number, and adds nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import inf
from typing import cast

from redis import Redis

from trigger.store.keys import CALLS, USED
from trigger.store.lua import load
from trigger.store.refused import KEPT, LIFE

# Calls are counted by how long they took, up to so many seconds each.
EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# How a call was answered: 202, 4xx, 5xx.
CLASSES = ("accepted", "refused", "failed")

# How a wait for the end of an execution has ended: with the end; or the time was over, no place was free, the web
# process was told to stop, the client hung up, the record can't be read.
WAITS = ("succeeded", "failed", "cancelled", "late", "full", "stopped", "left", "unread")

REMEMBERED = 86_400  # seconds for which the number of a process' last batch is known

USED_LIFE = 400 * 86_400  # seconds after which it goes when an API's credentials were last used

_ADD = load("add_calls", REMEMBERED=REMEMBERED, KEPT=KEPT, KEPT_FOR=LIFE, USED_FOR=USED_LIFE)


@dataclass(frozen=True, slots=True)
class Batch:
    """Figures to be added: how often a call of an API ("module/method", empty for none) had an outcome; totals by
    their name, see `took_field`; refused calls, packed, the oldest first; when the credentials of an API's caller
    were last right, in milliseconds since 1970."""

    outcomes: Sequence[tuple[str, str, int]]
    totals: Mapping[str, int]
    refused: Sequence[str]
    used: Sequence[tuple[str, str, int]] = ()


@dataclass(frozen=True, slots=True)
class CallTotals:
    """All calls since ever. `up_to` says, by class, how many took at most so many seconds, for each of EDGES and
    infinity; `seconds` is the sum. `edits` are edits of the config that web processes have "taken" and "refused".
    `waits` are calls that waited for the end of their execution, by how the wait has ended, for each of WAITS."""

    up_to: Mapping[str, tuple[tuple[float, int], ...]]
    seconds: Mapping[str, float]
    edits: Mapping[str, int]
    waits: Mapping[str, int]


def took_fields(answered: str, seconds: float) -> dict[str, int]:
    """Return what a call of that class adds to the totals."""
    return {f"{answered}:{bisect_left(EDGES, seconds)}": 1, f"{answered}:us": round(seconds * 1e6)}


def add(redis: Redis, sender: str, number: int, batch: Batch) -> None:
    """Adds a batch, the sender's number `number`. Raises what redis-py raises; then it may be sent again."""
    _ADD.on(redis)(name=sender, number=number, encoded=json.dumps(asdict(batch)))


def last_used(redis: Redis, module: str, method: str) -> Mapping[str, int]:
    """Return when each token, user or secret of an API was last used, in milliseconds since 1970, by its name."""
    found = cast(dict[bytes, bytes], redis.hgetall(f"{USED}{module}/{method}"))
    return {name.decode(): int(at) for name, at in found.items()}


def totals(redis: Redis) -> CallTotals:
    """Return the sums."""
    raw = cast(dict[bytes, bytes], redis.hgetall(CALLS))
    found = {field.decode(): int(value) for field, value in raw.items()}
    edges = (*EDGES, inf)

    def up_to(answered: str) -> tuple[tuple[float, int], ...]:
        counts = (found.get(f"{answered}:{number}", 0) for number in range(len(edges)))
        return tuple(zip(edges, accumulate(counts), strict=True))

    return CallTotals(
        up_to={answered: up_to(answered) for answered in CLASSES},
        seconds={answered: found.get(f"{answered}:us", 0) / 1e6 for answered in CLASSES},
        edits={how: found.get(f"edits:{how}", 0) for how in ("taken", "refused")},
        waits={how: found.get(f"waits:{how}", 0) for how in WAITS},
    )
