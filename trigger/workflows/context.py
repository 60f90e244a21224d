"""The execution that the running workflow belongs to, for the workflow's own code."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CurrentExecution:
    """Which execution this is: its uid, its API, and which attempt at it, counted from 1.

    `logger` writes to the worker's log with the uid and the API in front.
    """

    uid: str
    module: str
    method: str
    attempt: int
    logger: logging.LoggerAdapter[logging.Logger] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        adapter = _Prefixed(logging.getLogger("trigger.workflow"), {"uid": self.uid})
        adapter.prefix = f"{self.uid} {self.module}/{self.method}"
        object.__setattr__(self, "logger", adapter)


class _Prefixed(logging.LoggerAdapter[logging.Logger]):
    prefix = ""

    def process(self, msg: object, kwargs: object) -> tuple[object, object]:  # type: ignore[override]
        return f"{self.prefix}: {msg}", kwargs


_current: ContextVar[CurrentExecution] = ContextVar("trigger_execution")


def current() -> CurrentExecution:
    """The execution that the calling workflow runs in.

    Raises LookupError outside of one, as in a test that calls the workflow directly.
    """
    return _current.get()


@contextlib.contextmanager
def entered(execution: CurrentExecution) -> Iterator[None]:
    """Makes `execution` the current one for the block."""
    token = _current.set(execution)
    try:
        yield
    finally:
        _current.reset(token)
