"""The worker's event loop: what can be read, and signals, end a wait."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Callable


class Loop:
    """Calls who waits for a descriptor when that can be read. A signal that has a handler ends a wait, too."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.add(self._wake, self._woken)

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        """Has `call` called whenever the descriptor can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def remove(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def wait(self, seconds: float) -> None:
        """Waits until something can be read, at most so many seconds, and makes the calls."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            # A call before may have let go of this one.
            if self._selector.get_map().get(key.fd) is not None:
                key.data()

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._selector.close()
        os.close(self._wake)
        os.close(self._waker)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
