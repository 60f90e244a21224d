"""How long records are kept: for a time after their end, and at most so many of each API.

Redis itself removes a record when its time is up; what indexes say of it is removed here, and so are records that are
too many. All in slices, between which Redis serves others. What is not final is never removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis
from redis.commands.core import Script

from trigger.store.keys import (
    API_INDEX,
    APIS,
    FAILED_INDEX,
    INDEX,
    JOB,
    LEASED,
    LOG,
    QUEUE,
    QUEUES,
    RESULTS,
    STEPS,
    WAITING,
)
from trigger.store.lua import FINAL_WORDS

SLICE = 1_000  # index entries looked at in one call
REMOVED = 200  # records removed in one call
SLICES = 8  # calls for one index in one pass
APIS_PER_PASS = 20

# Answers {entries looked at, entries removed}.
_FORGET = f"""
-- KEYS: index.  ARGV: retention in ms, entries to leave alone at the old end, entries to look at, name of an API or ''.
local now = redis.call('TIME')
local horizon = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
local old = redis.call('ZCOUNT', KEYS[1], '-inf', horizon)
local from, to = tonumber(ARGV[2]), math.min(old, ARGV[2] + ARGV[3])
local gone, looked = {{}}, 0
if from < to then
  for _, uid in ipairs(redis.call('ZRANGE', KEYS[1], from, to - 1)) do
    looked = looked + 1
    if redis.call('EXISTS', '{JOB}' .. uid) == 0 then
      gone[#gone + 1] = uid
      redis.call('UNLINK', '{RESULTS}' .. uid, '{STEPS}' .. uid, '{LOG}' .. uid)
    end
  end
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
end
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', '{APIS}', ARGV[4])
end
return {{looked, #gone}}
"""

# Answers {entries looked at, entries removed}; looks at none when the records are not too many.
_CUT = f"""
-- KEYS: index of an API.  ARGV: records to keep, entries to leave alone at the old end, entries to look at.
local WAITING, LEASED = '{WAITING}', '{LEASED}'
{FINAL_WORDS}
"""
_CUT += f"""
-- What is not final stands in the ledger: at least all the other entries have ended.
local spare = redis.call('ZCARD', KEYS[1]) - ARGV[1]
if spare > 0 then
  for _, queue in ipairs(redis.call('SMEMBERS', '{QUEUES}')) do
    queue = string.sub(queue, {len(QUEUE) + 1})
    spare = spare - redis.call('ZCARD', WAITING .. queue) - redis.call('ZCARD', LEASED .. queue)
  end
end
if spare <= 0 then
  return {{0, 0}}
end
local looked, removed = 0, 0
for _, uid in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1)) do
  if removed >= spare then
    break
  end
  looked = looked + 1
  local status, queue = unpack(redis.call('HMGET', '{JOB}' .. uid, 'status', 'origin'))
  if not status or FINAL[status] then
    removed = removed + 1
    redis.call('UNLINK', '{JOB}' .. uid, '{RESULTS}' .. uid, '{STEPS}' .. uid, '{LOG}' .. uid)
    for _, registry in ipairs({{'rq:finished:', 'rq:failed:', 'rq:canceled:'}}) do
      redis.call('ZREM', registry .. (queue or ''), uid)
    end
    redis.call('ZREM', '{INDEX}', uid)
    redis.call('ZREM', '{FAILED_INDEX}', uid)
    redis.call('ZREM', KEYS[1], uid)
  end
end
return {{looked, removed}}
"""


class Retention:
    """Keeps indexes and records within bounds, a part of the work at each pass; one for each process that does it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._forget = redis.register_script(_FORGET)
        self._cut = redis.register_script(_CUT)
        self._api = ""  # the last API that was looked at
        self._survivors: dict[tuple[str, str], int] = {}  # what need not be looked at again at once, by index and kind

    def enforce(self, retention: float, keep: int | None) -> int:
        """One pass: takes what is gone for longer than `retention` seconds out of the indexes, and removes the oldest
        records of APIs that have more than `keep` of ended executions (None for no such limit).

        Looks at the indexes of all executions and at those of APIS_PER_PASS APIs; returns how many records it removed.
        As many more as executions wait or run may be kept for a while.
        """
        age = int(retention * 1000)
        for index in (INDEX, FAILED_INDEX):
            self._all(self._forget, index, "age", SLICE, [age], [""])
        removed = 0
        for api in self._next_apis():
            index = API_INDEX + api
            self._all(self._forget, index, "age", SLICE, [age], [api])
            if keep is not None:
                removed += self._all(self._cut, index, "count", REMOVED, [keep], [])
        return removed

    def _all(self, script: Script, index: str, kind: str, size: int, first: list[int], last: list[str]) -> int:
        """Calls `script` for one slice of an index after the other, from where the last pass ended."""
        removed = 0
        skip = self._survivors.pop((index, kind), 0)
        for _ in range(SLICES):
            looked, gone = cast(tuple[int, int], script(keys=[index], args=[*first, skip, size, *last]))
            removed += gone
            skip += looked - gone
            if looked < size:
                return removed
        if skip:
            self._survivors[index, kind] = skip
        return removed

    def _next_apis(self) -> Sequence[str]:
        """The names of APIs whose turn it is."""
        names = self._names(f"({self._api}" if self._api else "-")
        if len(names) < APIS_PER_PASS:
            names += self._names("-")
        names = list(dict.fromkeys(names))[:APIS_PER_PASS]
        self._api = names[-1] if names else ""
        return names

    def _names(self, low: str) -> list[str]:
        found = cast(list[bytes], self._redis.zrangebylex(APIS, low, "+", 0, APIS_PER_PASS))
        return [name.decode() for name in found]
