"""One attempt at a step while it runs, as the runner in the child sees it: its process, its pipes, its limits."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import replace

from trigger.config.model import RunAction
from trigger.worker import processes, step_report
from trigger.worker.forked import Forked
from trigger.worker.step_process import Attempt
from trigger.worker.step_report import Failure, Report

# How often one that is being ended is looked at while some of its process group is left, in seconds.
_LOOK = 0.02

# What `retry.on` may call a step that took too long.
TIMEOUT = ("Timeout", "TimeoutError")


class Running:
    """A started attempt, in its process; `grace` is the seconds from SIGTERM to SIGKILL."""

    def __init__(self, attempt: Attempt, forked: Forked, grace: float) -> None:
        self.step = attempt.step
        self.number = attempt.number
        self.began = time.monotonic()
        self.forked = forked
        self.pid = forked.pid
        self.output = forked.output
        self.output.assign(self.step.name, attempt.number, keep=isinstance(self.step.action, RunAction))
        # Without a time of its own it has what is left of the workflow's, which the runner looks after.
        self._late_at = self.began + self.step.timeout if self.step.timeout is not None else math.inf
        self._grace = grace
        self._cause: Failure | None = None  # why it was told to end
        self._kill_at: float | None = None
        self._status: int | None = None

    @property
    def wake_at(self) -> float:
        """When it is to be looked at again, by the monotonic clock, whatever happens."""
        if self._kill_at is None:
            return self._late_at
        return self._kill_at if self._status is None else min(self._kill_at, time.monotonic() + _LOOK)

    def tell(self, cause: Failure) -> None:
        """Tells all of its process group to end, and notes why; after the grace it is killed."""
        if self._status is None:
            self._status = _exit_status(self.pid)
        if self._kill_at is None and self._status is None:  # else it has been told, or has ended by itself
            self._cause = cause
            self._kill_at = time.monotonic() + self._grace
            self.forked.end_orders()  # should it come to its end all the same, it is not to wait for more
            processes.send_group(self.pid, signal.SIGTERM)

    def has_ended(self, known: set[int]) -> bool:
        """Looks after it: tells it to end when its time is up, kills it when its grace is. True once it has ended.

        `known` are the children of this process that are not left behind by a step.
        """
        if self.leaves_nothing:
            return True
        now = time.monotonic()
        if self._status is None:
            self._status = _exit_status(self.pid)
        if self._status is None:
            if self._kill_at is None and now >= self._late_at:
                self.tell(Failure("Timeout", f"took longer than {self.step.timeout:g} s", kinds=TIMEOUT))
            elif self._kill_at is not None and now >= self._kill_at:
                processes.kill_tree(self.pid)
                self._kill_at = now + _LOOK
            return False
        # Its group was told too, and has the same time: what a shell has started may outlive the shell.
        return self._kill_at is None or now >= self._kill_at or not self._has_left(known)

    @property
    def leaves_nothing(self) -> bool:
        """Whether it has said all, and has no children: its process stands by or ends by itself, and need not be
        waited for."""
        return self.output.is_all and self._cause is None

    @property
    def stands_by(self) -> bool:
        """Whether its process can run another step."""
        return self.leaves_nothing and self.output.is_ready

    def _has_left(self, known: set[int]) -> bool:
        strays = processes.children(os.getpid()) - known
        return any(processes.is_running_in(stray, self.pid) for stray in strays)

    def finish(self, known: set[int]) -> Report:
        """Kills what it has left behind, takes what it has written last, and says how it ended. One that
        `leaves_nothing` is still to be waited for, unless it is to stand by."""
        if not self.leaves_nothing:
            processes.kill_strays(known)
            os.waitpid(self.pid, 0)
        self.output.take_rest()
        given, told = step_report.noted(bytes(self.output.report))
        report = Report(failure=self._cause) if self._cause is not None else self._report(told)
        return replace(report, given=given)

    def close(self) -> None:
        """Lets go of its process, which ends if it has not yet."""
        self.output.close()
        self.forked.end_orders()

    def _report(self, told: bytes) -> Report:
        report = step_report.decode(told)
        if report is not None:
            return report
        status = self._status or 0
        if status < 0:
            name = signal.Signals(-status).name if -status in signal.valid_signals() else str(-status)
            return Report(failure=Failure("Killed", f"was killed by {name}", kinds=("Killed", str(128 - status))))
        if not isinstance(self.step.action, RunAction):
            message = f"its process ended with exit status {status} before it returned"
            return Report(failure=Failure("ProcessEnded", message, kinds=("ProcessEnded", str(status))))
        if status:
            message = f"{self.step.action.argv[0]} ended with exit status {status}"
            return Report(failure=Failure("ExitStatus", message, kinds=("ExitStatus", str(status))))
        return Report(output=step_report.parsed(bytes(self.output.kept), self.output.size))


def _exit_status(pid: int) -> int | None:
    """How a child has ended (negative: by which signal); None while it runs. It is not waited for: its id stays its."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
