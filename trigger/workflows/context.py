"""The execution that the running workflow belongs to, for the workflow's own code."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CurrentExecution:
    """Which execution this is: its uid, its API, and which attempt at it, counted from 1.

    In a workflow with steps `step` is the name of the one that runs, and `attempt` counts the attempts at it.
    `request_id` is the id of the request that started the execution, which finds it in all logs: the proxy's, else the
    uid. `headers` are those of that request that the API declares, None for one that it lacked; `caller` is the name of
    the token, user or secret. `logger` writes to the execution's log.
    """

    uid: str
    module: str
    method: str
    attempt: int
    step: str = ""
    request_id: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    caller: str | None = None

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("trigger.workflow")


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
