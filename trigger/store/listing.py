"""The list of executions: newest first, filtered, a page at a time.

All indexes are in the order of the uids, which is that of time. A page begins where the cursor stands, which takes a
search in the index and no walk, and looks at WALK entries at most: it costs the same however many records there are. A
page of rare finds may therefore be short, or empty, and have a cursor all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from redis import Redis

from trigger.store.keys import (
    API_INDEX,
    APIS,
    FAILED_INDEX,
    INDEX,
    JOB,
    LEASED,
    QUEUE,
    QUEUES,
    WAITING,
    accepted_ms,
    api_index_key,
    is_uid,
)
from trigger.store.query import MAX_LIMIT, Query, cursor_of
from trigger.store.status import FINAL, Status, words_of_rq
from trigger.store.summary import FIELDS, Summary, of_rows

WALK = 2_000  # entries that one page looks at
SLICE = 500  # of them in one call, during which Redis serves nobody else
MERGED = 20  # indexes of a module's APIs that are walked side by side; with more, the index of all is
LEDGER = 5_000  # entries of the ledger that are sorted; with more, the index of all is walked

# Answers {uid of the last entry looked at or '', 1 if that was the last there is, entries looked at, {{uid, field, …}}}
_PAGE = f"""
-- KEYS: indexes, or none.  ARGV: entries to look at; rows wanted; uid to go on after or '', and its ms; ms from which
-- on, ms before which, or ''; RQ's words for the status; module, method, caller, workflow, or ''; uids to look at
-- without KEYS.
local JOB, FIELDS = '{JOB}', {{{", ".join(f"'{name}'" for name in FIELDS)}}}
local slice, wanted, after, since, before = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[5], ARGV[6]
local words, module, method, caller, workflow = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
"""
_PAGE += """
-- How many entries of an index are newer than where the page begins.
local function skipped(key)
  local skip = before == '' and 0 or redis.call('ZCOUNT', key, before, '+inf')
  if after == '' then
    return skip
  end
  local rank = redis.call('ZREVRANK', key, after)
  if rank then
    return math.max(skip, rank + 1)
  end
  local newer = redis.call('ZCOUNT', key, '(' .. ARGV[4], '+inf')
  for _, uid in ipairs(redis.call('ZREVRANGEBYSCORE', key, ARGV[4], ARGV[4], 'LIMIT', 0, 5000)) do
    if uid <= after then
      break
    end
    newer = newer + 1
  end
  return math.max(skip, newer)
end

local uids, exhausted = {}, true
for _, key in ipairs(KEYS) do
  local from = skipped(key)
  local to = since == '' and redis.call('ZCARD', key) or redis.call('ZCOUNT', key, since, '+inf')
  if from + slice < to then
    exhausted, to = false, from + slice
  end
  for _, uid in ipairs(from < to and redis.call('ZREVRANGE', key, from, to - 1) or {}) do
    if #uid == 25 and string.find(uid, '^%d+$') then -- anything else was not put there by us
      uids[#uids + 1] = uid
    end
  end
end
if #KEYS > 1 then
  table.sort(uids, function(a, b) return a > b end)
  exhausted = exhausted and #uids <= slice
end
for i = 12, #ARGV do
  uids[#uids + 1] = ARGV[i]
end

local function fits(status, description, meta)
  if not status or words ~= '' and not string.find(words, ' ' .. status .. ' ', 1, true) then
    return false
  end
  if module ~= '' or method ~= '' then
    local its_module, its_method = string.match(description or '', '^([^/]*)/(.*)$')
    if module ~= '' and module ~= its_module or method ~= '' and method ~= its_method then
      return false
    end
  end
  if caller ~= '' or workflow ~= '' then
    local ok, about = pcall(cjson.decode, meta or '')
    return ok and type(about) == 'table'
      and (caller == '' or about.caller == caller) and (workflow == '' or about.workflow == workflow)
  end
  return true
end

local rows, looked = {}, 0
for i = 1, math.min(#uids, slice) do
  looked = i
  local job = JOB .. uids[i]
  local found = redis.pcall('HMGET', job, 'status', 'description', 'meta') -- a key of another type is no job
  if not found.err and fits(unpack(found)) then
    rows[#rows + 1] = {uids[i], unpack(redis.call('HMGET', job, unpack(FIELDS)))}
    if #rows == wanted then
      break
    end
  end
end
return {uids[looked] or '', exhausted and looked == #uids and 1 or 0, looked, rows}
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Some executions, newest first, and the cursor with which the list goes on; None where it ends."""

    executions: tuple[Summary, ...]
    next: str | None

    def as_json(self) -> dict[str, Any]:
        return {"executions": [summary.as_json() for summary in self.executions], "next": self.next}


def page(redis: Redis, query: Query) -> Page:
    """The page that the query asks for. It has fewer than `limit` executions when WALK entries held no more."""
    found, last = _walk(redis, query)
    return Page(tuple(found), cursor_of(last) if last else None)


def collect(redis: Redis, query: Query, wanted: int) -> Page:
    """The newest `wanted` executions that fit the query, walking as many pages as that takes."""
    found: list[Summary] = []
    last = query.before
    while len(found) < wanted:
        more, last = _walk(redis, replace(query, limit=min(MAX_LIMIT, wanted - len(found)), before=last))
        found += more
        if last is None:
            break
    return Page(tuple(found), cursor_of(last) if last else None)


def every(redis: Redis, query: Query) -> Iterator[Summary]:
    """All executions that fit the query, the newest first; read a page at a time, as they are when it is read."""
    last = query.before
    while True:
        found, last = _walk(redis, replace(query, limit=MAX_LIMIT, before=last))
        yield from found
        if last is None:
            return


def recent(redis: Redis, workflow: str, apis: Collection[tuple[str, str]], limit: int) -> list[Summary]:
    """The newest executions of a workflow, at most `limit`, in one call.

    They are looked for among those of the APIs (module, method) that start it, or among the newest SLICE of all where
    these are more than MERGED, or none any more.
    """
    indexes = [api_index_key(*api) for api in apis] if 0 < len(apis) <= MERGED else [INDEX]
    source = _Source(indexes)
    rows = _look(redis, source, Query(limit=limit), source.slice, "", workflow)[3]
    return of_rows(rows)


def accepted_since(redis: Redis, module: str, method: str, since: int) -> int:
    """How many executions of an API that are kept were accepted since a moment, in milliseconds since 1970."""
    found: int = redis.zcount(api_index_key(module, method), since, "+inf")
    return found


def _walk(redis: Redis, query: Query) -> tuple[list[Summary], str | None]:
    """What a page holds, and the uid after which the list goes on; None where it ends."""
    source = _source(redis, query)
    rows: list[list[Any]] = []
    looked, last = 0, query.before or ""
    while looked < WALK and len(rows) < query.limit:
        part = replace(query, limit=query.limit - len(rows))
        uids = source.uids[looked : looked + source.slice]
        reached, done, walked, found = _look(redis, replace(source, uids=uids), part, WALK - looked, last)
        looked += walked
        last = reached.decode() or last
        rows += found
        if walked == 0 or (done and looked >= len(source.uids)):
            return of_rows(rows), None
    return of_rows(rows), last


def _look(
    redis: Redis, source: _Source, query: Query, entries: int, last: str, workflow: str = ""
) -> tuple[bytes, int, int, list[list[Any]]]:
    """One call of _PAGE, at most so many entries after the uid `last`, and what it answers."""
    answer = redis.register_script(_PAGE)(
        keys=source.indexes,
        args=[
            min(source.slice, entries),
            query.limit,
            last,
            accepted_ms(last) if last else "",
            _or_empty(query.since),
            _or_empty(query.until),
            f" {' '.join(words_of_rq(query.status))} " if query.status else "",
            query.module or "",
            query.method or "",
            query.caller or "",
            workflow,
            *source.uids,
        ],
    )
    return cast(tuple[bytes, int, int, list[list[Any]]], answer)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a page is read from: indexes that are walked side by side, or uids, newest first."""

    indexes: Sequence[str] = ()
    uids: Sequence[str] = ()

    @property
    def slice(self) -> int:
        """How many entries are looked at in one call: of several indexes as many have to be read of each."""
        return max(50, SLICE // max(1, len(self.indexes)))


def _source(redis: Redis, query: Query) -> _Source:
    """The smallest that holds all that fits the query."""
    if query.status and query.status not in FINAL:
        uids = _not_final(redis, query)
        if uids is not None:
            return _Source(uids=uids)
    candidates = [[INDEX]]
    if query.status in (Status.FAILED, Status.CANCELLED):
        candidates.append([FAILED_INDEX])
    if query.module:
        apis = _apis(redis, query.module, query.method)
        if len(apis) <= MERGED:
            candidates.append(apis)
    if len(candidates) == 1:
        return _Source(candidates[0])
    pipeline = redis.pipeline(transaction=False)
    low, high = "-inf" if query.since is None else query.since, "+inf" if query.until is None else f"({query.until}"
    for index in (index for candidate in candidates for index in candidate):
        pipeline.zcount(index, low, high)
    counts = iter(cast(list[int], pipeline.execute()))
    sizes = [sum(islice(counts, len(candidate))) for candidate in candidates]
    return _Source(candidates[sizes.index(min(sizes))])


def _apis(redis: Redis, module: str, method: str | None) -> list[str]:
    """The indexes of a module's APIs, or of that one; more than MERGED of them are not all there."""
    if method:
        return [api_index_key(module, method)]
    found = redis.zrangebylex(APIS, f"[{module}/", f"({module}0", 0, MERGED + 1)  # "0" comes after "/"
    return [API_INDEX + name.decode() for name in cast(list[bytes], found)]


def _not_final(redis: Redis, query: Query) -> list[str] | None:
    """The uids in the half of the ledger where executions of that status stand, newest first; None if they are many."""
    half = WAITING if query.status is Status.QUEUED else LEASED
    queues = [key.decode().removeprefix(QUEUE) for key in cast(set[bytes], redis.smembers(QUEUES))]
    left, uids = LEDGER, set[str]()
    for queue in queues:
        members = cast(list[bytes], redis.zrange(half + queue, 0, left))
        left -= len(members)
        if left < 0:
            return None
        uids.update(member.decode("utf-8", "replace") for member in members)
    low, high = query.since or 0, query.until
    return sorted(
        (
            uid
            for uid in uids
            if is_uid(uid)
            and low <= accepted_ms(uid)
            and (high is None or accepted_ms(uid) < high)
            and (query.before is None or uid < query.before)
        ),
        reverse=True,
    )


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value
