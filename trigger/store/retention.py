"""How long records are kept: for a time after their end, and at most so many of each API.

Redis itself removes a record when its time is up; what indexes say of it is removed here, and so are records that are
too many. All in slices, between which Redis serves others. What is not final is never removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from redis import Redis

from trigger.config.callbacks import MAX_NAMES
from trigger.store.keys import API_INDEX, APIS, CALLBACKS, FAILED_INDEX, INDEX
from trigger.store.lua import load

SLICE = 1_000  # index entries looked at in one call
REMOVED = 200  # records removed in one call
SLICES = 8  # calls for one index in one pass
APIS_PER_PASS = 20

_FORGET = load("forget")
_TRIM = load("trim", MAX_NAMES=MAX_NAMES)


class Retention:
    """Keeps indexes and records within bounds, a part of the work at each pass; one for each process that does it.

    `callbacks`: whether the index of callbacks is its work, too.
    """

    def __init__(self, redis: Redis, *, callbacks: bool = False) -> None:
        self._redis = redis
        self._indexes = (INDEX, FAILED_INDEX, CALLBACKS) if callbacks else (INDEX, FAILED_INDEX)
        self._forget = _FORGET.on(redis)
        self._trim = _TRIM.on(redis)
        self._api = ""  # the last API that was looked at
        self._survivors: dict[tuple[str, str], int] = {}  # what need not be looked at again at once, by index and kind

    def enforce(self, retention: float, keep: int | None) -> int:
        """One pass: takes what is gone for longer than `retention` seconds out of the indexes, and removes the oldest
        records of APIs that have more than `keep` of ended executions (None for no such limit), with those of their
        callbacks that have ended.

        Looks at the indexes of all executions and at those of APIS_PER_PASS APIs; returns how many records it removed.
        As many more as executions wait or run may be kept for a while.
        """
        age = int(retention * 1000)
        for index in self._indexes:
            self._all(self._forget, index, "age", SLICE, retention=age, api="")
        removed = 0
        for api in self._next_apis():
            index = API_INDEX + api
            self._all(self._forget, index, "age", SLICE, retention=age, api=api)
            if keep is not None:
                removed += self._all(self._trim, index, "count", REMOVED, keep=keep)
        return removed

    def _all(self, script: Callable[..., Any], index: str, kind: str, size: int, **named: Any) -> int:
        """Calls `script` for one slice of an index after the other, from where the last pass ended."""
        removed = 0
        skip = self._survivors.pop((index, kind), 0)
        for _ in range(SLICES):
            looked, gone = cast(tuple[int, int], script(index=index, skip=skip, slice=size, **named))
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
