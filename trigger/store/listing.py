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
    CALLBACK_QUEUE,
    FAILED_INDEX,
    INDEX,
    LEASED,
    QUEUES,
    WAITING,
    accepted_ms,
    api_index_key,
    is_uid,
)
from trigger.store.lua import load
from trigger.store.query import MAX_LIMIT, Query, cursor_of
from trigger.store.queues import names_of
from trigger.store.status import FINAL, Status, words_of_rq
from trigger.store.stored import LISTED
from trigger.store.summary import Summary, of_rows

WALK = 2_000  # entries that one page looks at
SLICE = 500  # of them in one call, during which Redis serves nobody else
MERGED = 20  # indexes of a module's APIs that are walked side by side; with more, the index of all is
LEDGER = 5_000  # entries of the ledger that are sorted; with more, the index of all is walked

_PAGE = load("page", FIELDS=LISTED)


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
    """Return the rows of a page, and the uid after which the list goes on; None where it ends."""
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
    answer = _PAGE.on(redis)(
        more_keys=source.indexes,
        slice=min(source.slice, entries),
        wanted=query.limit,
        after=last,
        after_ms=accepted_ms(last) if last else "",
        since=_or_empty(query.since),
        before=_or_empty(query.until),
        words=f" {' '.join(words_of_rq(query.status))} " if query.status else "",
        module=query.module or "",
        method=query.method or "",
        caller=query.caller or "",
        workflow=workflow,
        more=source.uids,
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
    left, uids = LEDGER, set[str]()
    for queue in names_of(cast(set[bytes], redis.smembers(QUEUES))) - {CALLBACK_QUEUE}:
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
