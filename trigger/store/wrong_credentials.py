"""Counting wrong credentials in Redis, so that all web processes, on all hosts, share one count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

from trigger.store.keys import WRONG
from trigger.store.lua import load

_COUNT = load("wrong_credentials")


def count(redis: Redis, names: Sequence[str], window: float) -> list[tuple[int, float]]:
    """Add one to each of the counters in one round trip.

    A counter is dropped `window` seconds after its first count. Returns for each counter its new value, and the
    seconds until it is dropped. Raises what redis-py raises.
    """
    keys = [WRONG + name for name in names]
    counted = cast(list[tuple[int, int]], _COUNT.on(redis)(more_keys=keys, life=round(window * 1000)))
    return [(number, left / 1000) for number, left in counted]
