"""How long templates may compute: what a caller sends must not keep them busy."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

MAX_SECONDS = 2.0  # of processor time, of one rendering
_AGAIN = 0.1  # seconds; an exception that is raised in a destructor, say, is lost


class TooSlowError(Exception):
    """A template has computed longer than it may."""


class _Limit:
    """The signal's handler. It raises in whatever runs when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._seconds = seconds

    def __call__(self, signum: int, frame: object) -> None:
        if not self.is_over:
            raise TooSlowError(f"it takes more than {self._seconds:g} s to compute")


@contextlib.contextmanager
def limited(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Bounds the processor time of the block, which raises TooSlowError when it is over.

    Only the main thread can be stopped so: steps run there, and so do the greenlets of a web process.
    """
    if isinstance(signal.getsignal(signal.SIGVTALRM), _Limit):
        yield  # a template in a variable that another template uses is part of that one
        return
    limit = _Limit(seconds)
    try:
        before = signal.signal(signal.SIGVTALRM, limit)
    except ValueError:  # this is another thread
        yield
        return
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN)
    try:
        try:
            yield
        finally:
            limit.is_over = True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
