"""The processes of steps as the runner in the child has them: forked for an attempt, or to stand by for one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trigger.config.model import Step
from trigger.executions.log import Log
from trigger.worker import processes
from trigger.worker.capture import Capture
from trigger.worker.step_output import Output
from trigger.worker.step_process import Attempt, Ends, Order, StepProcess

# The longest order, in bytes: a pipe takes it whole. Who would have to be told more is not told; the process that is
# forked instead knows it already.
MAX_ORDER = 16 * 1024

_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Means:
    """What attempts are started with: see StepProcess; and the log of the execution."""

    find: Callable[[str], Callable[..., Any]]
    capture: Capture
    steps: Mapping[str, Step]
    log: Log


class Forked:
    """A process for steps. `foreign` are the child's descriptors that it is to close.

    It begins with the attempt, or `waits` to be told of one: then the attempt is what all have in common. Raises
    OSError when there can't be one more.
    """

    def __init__(self, attempt: Attempt, means: Means, foreign: set[int], *, waits: bool = False) -> None:
        self.output = Output(means.log)
        self._told = set(attempt.subject.done)  # the steps whose ends it knows
        read, self._orders = os.pipe()
        try:
            process = StepProcess(attempt, means.find, means.capture, means.steps, waits=waits)
            self.pid = _forked(process, self.output.in_process(foreign | {self._orders}), read)
        except OSError:
            self.output.abandon()
            self.end_orders()
            raise
        finally:
            os.close(read)
        self.output.in_child()

    @property
    def open(self) -> set[int]:
        """The child's descriptors for it."""
        return self.output.open | ({self._orders} if self._orders >= 0 else set())

    def give(self, attempt: Attempt) -> bool:
        """Tells it what to do next; False when it is no longer there, or when it would have to be told too much."""
        subject = attempt.subject
        new = {name: ended for name, ended in subject.done.items() if name not in self._told}
        order = Order(attempt.step.name, attempt.number, attempt.seconds, new, subject.error).encode()
        if len(order) > MAX_ORDER:
            return False
        try:
            os.write(self._orders, order)
        except OSError:
            return False
        self._told |= new.keys()
        return True

    def end_orders(self) -> None:
        """Lets it end, once it has done what it was told."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    def discard(self) -> None:
        """Ends a process that stands by."""
        processes.send(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.output.abandon()
        self.end_orders()


def _forked(process: StepProcess, ends: Ends, orders: int) -> int:
    parent = os.getpid()
    # A signal before the process has its own handlers would run the child's.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        pid = os.fork()
        if pid == 0:
            process.main(parent, ends, orders)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return pid
