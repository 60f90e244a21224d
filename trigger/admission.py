"""Who may read what the config opens to an audience, and how many may wait for what takes a while to make."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trigger.answers import only
from trigger.config.model import Audience
from trigger.errors import PathNotFound, QueueUnavailable

# How many callers of one process may wait for one thing, each of them holding a thread.
WAITERS = 3


def admit(audience: Audience, operator: Callable[[], str]) -> None:
    """Lets the present request read by GET what is for this audience.

    `operator` tells the name of the operator whose request it is; it raises the refusal where it is nobody's. What is
    "off" is as if it were not there: PathNotFound.
    """
    if audience == "off":
        raise PathNotFound("There is nothing at this path")
    only("GET")
    if audience == "operators":
        operator()


class Turns:
    """Has one thread at a time make something. WAITERS may be at it or wait for it; `busy` is what one more is told."""

    def __init__(self, busy: str) -> None:
        self._busy = busy
        self._making = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITERS)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for its turn. Raises QueueUnavailable where too many do."""
        if not self._places.acquire(blocking=False):
            raise QueueUnavailable(self._busy, headers={"Retry-After": "1"})
        try:
            with self._making:
                yield
        finally:
            self._places.release()
