"""Reading, also while Redis can't answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from trigger.errors import QueueUnavailable

T = TypeVar("T")

# Seconds for which nobody else waits for Redis once it has not answered in time.
BREAK = 0.5


class Breaker:
    """Spares callers the wait for a Redis that has just kept another one waiting in vain."""

    def __init__(self) -> None:
        self._broken_until = 0.0

    @property
    def is_broken(self) -> bool:
        return time.monotonic() < self._broken_until

    def trip(self) -> None:
        self._broken_until = time.monotonic() + BREAK

    @contextmanager
    def reading(self, what: str = "Records") -> Iterator[None]:
        """Answer 503 to what Redis can't answer now, or could not a moment ago; `what` is read, for the message."""
        problem = QueueUnavailable(f"{what} can't be read now; try again", headers={"Retry-After": "1"})
        if self.is_broken:
            raise problem
        try:
            yield
        except RedisTimeoutError as error:
            self.trip()
            raise problem from error
        except RedisError as error:
            raise problem from error


def unless_away(look: Callable[[], T]) -> T | None:
    """Return what `look` finds in Redis; None while that can't answer, for a page that has other things to show."""
    try:
        return look()
    except RedisError:
        return None
