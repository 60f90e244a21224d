"""The attempts of one run that are under way, of a function or of steps: the one way to start, time and end them."""

from __future__ import annotations

import base64
import errno
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from redis import Redis

from trigger.config.model import Config, RunAction, Step, Workflow
from trigger.store.stored import Stored
from trigger.workflows import events, report
from trigger.workflows.collected import Collected
from trigger.workflows.journal import Journal
from trigger.workflows.pool import Pool
from trigger.workflows.process import Process
from trigger.workflows.report import Failure, Report

# How often one that is being ended is looked at while some of its process group is left, in seconds.
_LOOK = 0.02

# How many processes are tried for an attempt: one that stands ready may have been killed.
_TRIES = 3

# What `retry.on` may call a step that took too long.
TIMEOUT = ("Timeout", "TimeoutError")

CANCELLED = Failure("Cancelled", "the execution was cancelled", again=False)
LOST = Failure("Killed", "its process and the one above it were killed", kinds=("Killed",), crashed=True)


@dataclass(slots=True)
class Run:
    """One run of an execution.

    `secrets` are those of the input and of the config; `now` gives Redis' time in ms; `about` is what log lines carry.
    """

    id: str
    job: Stored
    secrets: frozenset[str] = field(repr=False)
    now: Callable[[], int]
    about: events.About


@dataclass(slots=True)
class Wanted:
    """The wishes about the run that a worker has in hand.

    `cancel`: it is to end. `is_lost`: it is another worker's. `put_back`: the worker stops and can't wait any longer.
    `is_said`: the service's log has how it ended.
    """

    uid: str
    run: str
    cancel: bool = False
    is_lost: bool = False
    put_back: bool = False
    is_said: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """The things that all runs of a worker share.

    `wait(seconds)` lets the worker do what else it has to, for so long or until something happens; `stops()` says
    whether no further steps are to begin here.
    """

    redis: Redis
    config: Config
    pool: Pool
    wanted: Wanted
    wait: Callable[[float], None]
    stops: Callable[[], bool]


class Attempt:
    """One that has been started, in its process; `grace` is the seconds from SIGTERM to SIGKILL."""

    def __init__(
        self, step: Step, number: int, process: Process, pool: Pool, collected: Collected, grace: float
    ) -> None:
        self.step, self.number = step, number
        self.began = time.monotonic()
        self.was_killed = False
        self._process, self._pool = process, pool
        self._collected = process.collected = collected
        # Without a time of its own it has what is left of the workflow's, which its run looks after.
        self._late_at = self.began + step.timeout if step.timeout is not None else math.inf
        self._grace = grace
        self.cause: Failure | None = None  # why it was told to end
        self._kill_at: float | None = None

    @property
    def wake_at(self) -> float:
        """When it is to be looked at again, by the monotonic clock, whatever happens."""
        if self._kill_at is None:
            return self._late_at
        return min(self._kill_at, time.monotonic() + _LOOK) if self._process.has_ended else self._kill_at

    def tell(self, cause: Failure) -> None:
        """Tells all of its process group to end, and notes why; after the grace it is killed."""
        self._process.hear_all()  # it may have ended in time, and nobody has heard yet
        if self._kill_at is None and not self._has_said_all and not self._process.has_ended:
            self.cause = cause
            self._kill_at = time.monotonic() + self._grace
            self._process.tell_to_end()

    def abandon(self) -> None:
        """Kills it, with all it has started; how it ends is of no interest to anybody, but what it wrote is."""
        self._process.kill()
        self._take_last()
        self._pool.discard(self._process)

    def has_ended(self) -> bool:
        """Looks after it: tells it to end when its time is up, kills it when its grace is. True once it has ended."""
        if self._has_said_all:
            return True
        now = time.monotonic()
        if self._process.has_ended:
            # Its group was told too, and has the same time: what a shell has started may outlive the shell.
            return self._kill_at is None or now >= self._kill_at or not self._process.has_left()
        if self._kill_at is None and now >= self._late_at:
            self.tell(Failure("Timeout", f"took longer than {self.step.timeout:g} s", kinds=TIMEOUT))
        elif self._kill_at is not None and now >= self._kill_at:
            self.was_killed = True
            self._process.kill()
            return True
        return False

    @property
    def _has_said_all(self) -> bool:
        return self._collected.is_all and self.cause is None

    def finish(self, *, keeps_children: bool = False) -> Report:
        """Takes what it has written last, and says how it ended. Its process stands ready for others, or ends, with
        all it has started; `keeps_children`: but for what was started by an attempt that has ended by itself."""
        process, collected = self._process, self._collected
        if self._has_said_all and (collected.is_alone or keeps_children):
            self._take_last()
            if collected.is_alone:
                self._pool.put(process)
            else:
                self._pool.let_go(process)
        else:
            process.end()
            self._take_last()
            self._pool.discard(process)
        told = report.decode(bytes(collected.report)) if collected.is_all else None
        ended = self._report(told)
        return ended if collected.given is None else replace(ended, given=collected.given)

    def _take_last(self) -> None:
        self._process.read_rest()
        self._collected.close()

    def _report(self, told: Report | None) -> Report:
        if self.cause is not None:
            trace = told.failure.traceback if told is not None and told.failure is not None else None
            return Report(failure=replace(self.cause, traceback=trace))
        if told is not None:
            return told
        process = self._process
        if process.problem is not None:
            return Report(failure=Failure("StartError", f"no process could be started: {process.problem}"))
        status, is_program = process.status, isinstance(self.step.action, RunAction)
        if status is None:
            return Report(failure=LOST)
        if status < 0:
            name = signal.Signals(-status).name if -status in signal.valid_signals() else str(-status)
            kinds = ("Killed", str(128 - status))
            # A program may have its reasons to end by a signal, but for the one that nobody sends to himself.
            crashed = not is_program or status == -signal.SIGKILL
            return Report(failure=Failure("Killed", f"was killed by {name}", kinds=kinds, crashed=crashed))
        if not is_program:
            message = f"its process ended with exit status {status} before it returned"
            return Report(failure=Failure("ProcessEnded", message, kinds=("ProcessEnded", str(status))))
        if status:
            message = f"{self.step.action.argv[0]} ended with exit status {status}"  # type: ignore[union-attr]
            return Report(failure=Failure("ExitStatus", message, kinds=("ExitStatus", str(status))))
        return report.parsed(bytes(self._collected.kept), self._collected.size)


class Attempts:
    """Starts the attempts of a run, waits for them, and ends them as the worker and the clock want it."""

    def __init__(self, tools: Tools, workflow: Workflow, run: Run) -> None:
        self.tools, self.workflow, self.run = tools, workflow, run
        self.journal = Journal(
            tools.redis, run.job.uid, run.id, limit=tools.config.logs, secrets=run.secrets, about=run.about
        )
        self.under_way: list[Attempt] = []
        self._subject = {
            "uid": run.job.uid,
            "request_id": run.job.request_id,
            "module": run.job.module,
            "method": run.job.method,
            "attempt": run.job.attempt,
            "input": run.job.input,
            "headers": run.job.headers,
            "caller": run.job.caller,
        }

    def start(
        self,
        step: Step,
        number: int,
        seconds: float,
        done: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        letter: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts an attempt, which may take so many seconds; `letter` is what one that calls back is to send. Raises
        OSError when no process can be had for it."""
        pool = self.tools.pool
        order = {
            "workflow": self.workflow.name,
            "step": step.name,
            "number": number,
            "seconds": seconds,
            "error": error,
        }
        if isinstance(step.action, RunAction) and step.action.stdin == "body" and self.run.job.body is not None:
            order["body"] = base64.b64encode(self.run.job.body).decode()
        if letter is not None:
            order["letter"] = letter
        collected = Collected(lambda: self.journal.log, step.name, number, keep=isinstance(step.action, RunAction))
        for _ in range(_TRIES):
            process = pool.take(step.action, self.tools.config)
            if process.give(self.run.id, order, self._subject, done or {}):
                break
            pool.discard(process)  # it has ended meanwhile
        else:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        attempt = Attempt(step, number, process, pool, collected, self.tools.config.cancel_grace)
        self.under_way.append(attempt)

    def wait(self, due: Iterable[float] = ()) -> None:
        """Waits until something happens, or until one of the moments by the monotonic clock."""
        moments = [attempt.wake_at for attempt in self.under_way]
        moments += due
        if self.journal.log_at is not None:
            moments.append(self.journal.log_at)
        self.tools.wait(min(moments, default=math.inf) - time.monotonic())
        self.journal.write_log()

    def tell_all(self, cause: Failure) -> None:
        for attempt in self.under_way:
            attempt.tell(cause)

    def kill_all(self) -> None:
        """Kills all at once; their ends are of no interest to anybody."""
        for attempt in self.under_way:
            attempt.abandon()
        self.under_way.clear()

    def ended(self) -> list[Attempt]:
        """Those that have ended since this was last asked; each is to be finished."""
        found = [attempt for attempt in self.under_way if attempt.has_ended()]
        for attempt in found:
            self.under_way.remove(attempt)
        return found
