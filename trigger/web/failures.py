"""How many wrong credentials came from where, and who has to wait because of too many.

Redis counts for all web processes together. A process remembers what Redis said last: while a caller is over the
limit, more wrong credentials from there cost no round trip. While Redis is away each process counts alone.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import BoundedSemaphore, Lock
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from trigger.store import wrong_credentials

# A count begins with the first wrong credential and is dropped after this many seconds.
WINDOW = 60.0
# How many counts a process remembers; the one that was used longest ago is forgotten first.
REMEMBERED = 10_000
# Seconds without asking Redis after it failed to answer.
PAUSE = 1.0
# Seconds to wait for Redis: whoever sends wrong credentials is answered soon, also while Redis hangs.
REPLY_TIMEOUT = 0.25
# How many callers ask Redis at once, each over a connection; the others wait for their turn.
CONNECTIONS = 8


class _Count(NamedTuple):
    number: int
    until: float  # by time.monotonic


class Failures:
    """The counts of wrong credentials, as one web process knows them.

    A key names what the credentials were tried on and the network they came from. `limit` returns how many may come
    in one window. May be used by several threads at once.
    """

    def __init__(self, limit: Callable[[], int], redis: Redis) -> None:
        self._limit = limit
        self._redis = redis
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = Lock()
        self._turns = BoundedSemaphore(CONNECTIONS)
        self._ask_again = 0.0  # when to ask a Redis that did not answer; 0 while it answers

    def wait(self, key: str) -> float:
        """Return for how many seconds `key` is over its limit, as far as this process knows; 0 if it is not."""
        known = self._counts.get(key)
        if known is None or known.number < self._limit():
            return 0.0
        return max(0.0, known.until - time.monotonic())

    def count(self, *keys: str) -> float:
        """Count one more wrong credential for each key, in one round trip at most.

        Returns 0 while the limit allows it, else the seconds for which it does not. A key over its limit is not
        counted further.
        """
        waits = {key: self.wait(key) for key in keys}
        within = [key for key, wait in waits.items() if wait == 0]
        if within:
            with self._turns:
                counted = self._ask(within)
            counted = counted or [self._next(key) for key in within]
            for key, (number, left) in zip(within, counted, strict=True):
                self._remember(key, number, left)
                waits[key] = left if number > self._limit() else 0.0
        return max(waits.values(), default=0.0)

    def _ask(self, keys: Sequence[str]) -> list[tuple[int, float]] | None:
        """Count in Redis; None while it is away. Then one caller at a time asks whether it is back."""
        with self._lock:
            if self._ask_again:
                now = time.monotonic()
                if now < self._ask_again:
                    return None
                self._ask_again = now + PAUSE
        try:
            counted = wrong_credentials.count(self._redis, keys, WINDOW)
        except RedisError:
            self._ask_again = time.monotonic() + PAUSE
            return None
        self._ask_again = 0.0
        return counted

    def _next(self, key: str) -> tuple[int, float]:
        """Return the answer that Redis would give if this process were the only one."""
        known, now = self._counts.get(key), time.monotonic()
        if known is None or known.until <= now:
            return 1, WINDOW
        return known.number + 1, known.until - now

    def _remember(self, key: str, number: int, left: float) -> None:
        with self._lock:
            self._counts[key] = _Count(number, time.monotonic() + left)
            self._counts.move_to_end(key)
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
