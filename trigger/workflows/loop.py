"""The worker's event loop: what can be read, and signals, end a wait."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable


class Loop:
    """Calls who waits for a descriptor when that can be read. A signal that has a handler ends a wait, too."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._calls: dict[int, Callable[[], object]] = {}
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.add(self._wake, self._woken)

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        """Has `call` called whenever the descriptor can be read."""
        self._poll.register(descriptor, select.EPOLLIN)
        self._calls[descriptor] = call

    def remove(self, descriptor: int) -> None:
        """Waits for the descriptor no longer, which may be closed already."""
        if self._calls.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> None:
        """Waits until something can be read, at most so many seconds, and makes the calls."""
        for descriptor, _ in self._poll.poll(max(0.0, seconds)):
            call = self._calls.get(descriptor)  # a call before may have let go of it
            if call is not None:
                call()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
