"""Counting wrong credentials in Redis, so that all web processes, on all hosts, share one count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

from trigger.store.keys import WRONG

_COUNT = """
-- KEYS: the counters. ARGV: how many milliseconds a counter lives from its first count on.
-- Returns {count, milliseconds left} for each.
local counted = {}
for place, key in ipairs(KEYS) do
  local count = redis.call('INCR', key)
  if count == 1 then
    redis.call('PEXPIRE', key, ARGV[1])
  end
  counted[place] = {count, redis.call('PTTL', key)}
end
return counted
"""


def count(redis: Redis, names: Sequence[str], window: float) -> list[tuple[int, float]]:
    """Add one to each of the counters in one round trip.

    A counter is dropped `window` seconds after its first count. Returns for each counter its new value, and the
    seconds until it is dropped. Raises what redis-py raises.
    """
    keys = [WRONG + name for name in names]
    counted = cast(list[tuple[int, int]], redis.register_script(_COUNT)(keys=keys, args=[round(window * 1000)]))
    return [(number, left / 1000) for number, left in counted]
