"""Runs the steps of one execution, in the worker's child: begins them, looks after them, and writes down how far it is.

What a step has put out is in Redis before the next begins, in the same call that says that it begins. So whatever kills
the child, what is done is not done again; what was under way is. A pause between two attempts is not waited for here,
unless other steps run meanwhile: the execution is put back until it is due.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redis import Redis

from trigger import executions
from trigger.config.model import Config, RunAction, Step, Workflow
from trigger.inputs.masking import Hide
from trigger.worker import events, outcome, processes
from trigger.worker.capture import Capture
from trigger.worker.forked import Means
from trigger.worker.outcome import RELEASED, Outcome
from trigger.worker.progress import Progress
from trigger.worker.running import TIMEOUT, Running
from trigger.worker.standby import Standby
from trigger.worker.step_context import Subject
from trigger.worker.step_journal import Journal
from trigger.worker.step_process import Attempt
from trigger.worker.step_report import Failure, Report

_CANCELLED = Failure("Cancelled", "the execution was cancelled", again=False)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an execution: what the worker's child knows of it.

    `execution` is the id of the run; `attempt` counts from 1; `failures` is how often the whole has failed before;
    `timeout`, in seconds, is that of one attempt at the whole; `secrets` are those of the input and of the config;
    `now` gives Redis' time in ms; `about` is what log lines carry.
    """

    uid: str
    request_id: str
    execution: str
    module: str
    method: str
    attempt: int
    failures: int
    timeout: float
    input: Any = field(repr=False)
    secrets: frozenset[str] = field(repr=False)
    now: Callable[[], int]
    about: events.About


@dataclass(frozen=True, slots=True)
class Tools:
    """What all runs of a child share. `cancels(execution)` and `stops()` say what its worker wants."""

    redis: Redis
    config: Config
    capture: Capture
    find: Callable[[str], Callable[..., Any]]
    environ: Mapping[str, str] = field(repr=False)
    cancels: Callable[[str], bool]
    stops: Callable[[], bool]


class Runner:
    """Runs one execution's steps until it has ended, or has to wait, or is another's."""

    def __init__(self, tools: Tools, workflow: Workflow, run: Run) -> None:
        self._tools = tools
        self._workflow = workflow
        self._run = run
        self._journal = Journal(
            tools.redis, run.uid, run.execution, limit=tools.config.logs, secrets=run.secrets, about=run.about
        )
        self._events = events.Steps(run.about, run.secrets)
        steps = {step.name: step for step in (*workflow.steps, *workflow.on_failure)}
        self._standby = Standby(Means(tools.find, tools.capture, steps, self._journal.log))
        self._folder = Path(tools.config.path).resolve().parent
        self._selector = selectors.PollSelector()  # of few pipes for a short time: epoll would cost calls for each
        self._running: list[Running] = []
        self._starting: list[tuple[Step, int]] = []  # with the number of the attempt
        self._leaving: set[int] = set()  # processes that have said all and are ending
        self._common = self._attempt_of_all()
        self._others: set[int] = set()  # children of this process that are no steps
        self._wake = self._waker = -1
        self._spent = 0.0  # seconds that this attempt at the whole took before this run
        self._progress = Progress(workflow, {}, run.failures)
        self._began = time.monotonic()
        self._deadline = math.inf
        self._cancelled = self._late = False
        self._error: Mapping[str, Any] | None = None  # what the workflow failed with, once that is known

    def _attempt_of_all(self) -> Attempt:
        """What all attempts have in common."""
        run = self._run
        subject = Subject(run.uid, run.request_id, run.module, run.method, run.attempt, run.input, {})
        return Attempt(self._workflow.steps[0], 1, run.timeout, subject, self._folder, self._tools.environ)

    def run(self) -> Outcome:
        """Runs what is left to do. The log is written when this returns.

        Raises redis.exceptions.RedisError when Redis can't be asked what there is to do.
        """
        stored, self._spent = self._stored()
        self._progress = Progress(self._workflow, stored, self._run.failures)
        self._deadline = self._began + self._run.timeout - self._spent
        self._progress.note_plan(self._spent)
        with self._waking():
            try:
                self._until_nothing_runs(self._begin_ready)
                result = self._end_of_steps()
                if self._error is not None:
                    self._deadline = time.monotonic() + self._run.timeout
                    self._late = False
                    self._until_nothing_runs(self._begin_late)
                    result = self._end_of_last_steps(result)
            finally:
                self._standby.discard()
                for running in self._running:  # something has gone wrong here: nothing may go on without us
                    processes.kill_tree(running.pid)
                    running.finish(self._known())
                    self._end_of(running)
                processes.await_all(self._leaving)
        self._journal.end_log()
        return result

    def _stored(self) -> tuple[Mapping[str, Mapping[str, Any]], float]:
        """The states that Redis has, and the seconds that this attempt at the whole has taken before."""
        plan, states = executions.stored_in(self._tools.redis, self._run.uid)
        spent = plan.get("spent")
        same = plan.get("round") == self._run.failures
        return states, float(spent) if same and isinstance(spent, int | float) else 0.0

    # --- the loop ---

    def _until_nothing_runs(self, begin: Callable[[], None]) -> None:
        """Begins what may begin and looks after it, until there is nothing (more) to wait for here."""
        while True:
            self._obey()
            if self._goes_on():
                begin()
            if self._write_down():
                self._start_all()
            if not self._running and (self._journal.is_lost or not self._progress.unsaved):
                return
            self._prepare()
            self._wait()
            self._look_after()

    def _goes_on(self) -> bool:
        """Whether further steps may begin here."""
        return not (self._cancelled or self._late or self._journal.is_lost or self._tools.stops())

    def _obey(self) -> None:
        """Does what the worker and the clock want."""
        if not self._cancelled and self._tools.cancels(self._run.execution):
            self._cancelled = True
            self._tell_all(_CANCELLED)
        if not self._late and time.monotonic() >= self._deadline:
            self._late = True
            message = f"the workflow took longer than {self._run.timeout:g} s"
            self._progress.note_plan(self._run.timeout)
            self._tell_all(Failure("Timeout", message, kinds=TIMEOUT, again=False))

    def _tell_all(self, cause: Failure) -> None:
        for running in self._running:
            running.tell(cause)

    def _begin_ready(self) -> None:
        self._begin(self._progress.ready(self._run.now()))

    def _begin_late(self) -> None:
        step = self._progress.next_late()
        if step is not None and not self._running and not self._starting:
            self._begin([step])

    def _begin(self, steps: list[Step]) -> None:
        """Has steps begin, once it is written down that they do, and what others have put out before."""
        self._starting += [(step, self._progress.begin(step, self._run.now())) for step in steps]

    def _start_all(self) -> None:
        starting, self._starting = self._starting, []
        for step, number in starting:
            if not (self._cancelled or self._late):
                self._start(step, number)

    def _start(self, step: Step, number: int) -> None:
        left = max(0.001, self._deadline - time.monotonic())
        late = self._error is not None
        attempt = replace(self._as_known(late=late), step=step, number=number, seconds=min(left, step.timeout or left))
        try:
            forked = self._standby.start(attempt, self._foreign())
        except OSError as error:  # no more processes, memory or descriptors
            report = Report(failure=Failure("StartError", f"no process could be started: {error.strerror}"))
            self._note_end(step, number, 0.0, report)
            return
        running = Running(attempt, forked, self._tools.config.cancel_grace)
        self._events.begins(step.name, number)  # while it does
        self._running.append(running)
        for pipe in running.output.open:
            self._selector.register(pipe, selectors.EVENT_READ, running)

    def _as_known(self, *, late: bool) -> Attempt:
        """What all attempts have in common, with what is known by now."""
        subject = replace(self._common.subject, done=self._progress.done(late=late), error=self._error)
        return replace(self._common, subject=subject)

    def _prepare(self) -> None:
        """Has a process stand by while a step runs, if one that has run nothing yet may be needed."""
        if self._standby.has_fresh or not self._running or self._error is not None or not self._goes_on():
            return
        left = self._progress.left()
        programs = any(isinstance(step.action, RunAction) for step in left)
        returning = any(not isinstance(running.step.action, RunAction) for running in self._running)
        if programs or (left and not returning and not self._standby.used):
            self._standby.prepare(self._as_known(late=False), self._foreign())

    def _foreign(self) -> set[int]:
        return {pipe for running in self._running for pipe in running.forked.open} | {self._wake, self._waker}

    def _wait(self) -> None:
        """Waits for output, for the end of a process, for a signal, or until something is due."""
        now = time.monotonic()
        due = [running.wake_at for running in self._running]
        due.append(self._deadline if not self._late else math.inf)
        if self._journal.log_at is not None:
            due.append(self._journal.log_at)
        if self._progress.unsaved:
            due.append(self._journal.save_at)
        next_due = self._progress.next_due() if self._error is None else None
        if next_due is not None and not (self._cancelled or self._late) and self._has_room():
            due.append(now + max(0.001, (next_due - self._run.now()) / 1000))
        timeout = max(0.0, min(due) - now)
        for key, _ in self._selector.select(None if timeout == math.inf else min(timeout, 3600.0)):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            else:
                self._read(key.fd, key.data)

    def _has_room(self) -> bool:
        return len(self._running) < self._workflow.parallel

    def _read(self, pipe: int, running: Running) -> None:
        running.output.read(pipe)
        if pipe not in running.output.open:
            self._selector.unregister(pipe)

    def _look_after(self) -> None:
        """Takes note of steps that have ended, and writes the log."""
        self._leaving = {pid for pid in self._leaving if not processes.is_gone(pid)}
        known = self._known()
        for running in list(self._running):
            if not running.has_ended(known):
                continue
            for pipe in running.output.open:
                self._selector.unregister(pipe)
            report = running.finish(known)
            self._running.remove(running)
            if report.failure is not _CANCELLED:
                self._note_end(running.step, running.number, time.monotonic() - running.began, report)
            else:
                self._events.broken_off(running.step.name, running.number, cancelled=True)
            self._let_go(running)
        self._journal.write_log()

    def _note_end(self, step: Step, number: int, seconds: float, report: Report) -> None:
        """Takes note of how an attempt has ended, after so many seconds."""
        now = self._run.now()
        if report.given is not None:  # it is kept only to be shown, also when the config has other secrets
            report = replace(report, given=json.dumps(Hide(self._run.secrets)(json.loads(report.given))))
        due = self._progress.end(step, report, now, again=not (self._late or self._cancelled))
        if self._journal.is_lost:
            self._events.broken_off(step.name, number, cancelled=False)
        else:
            self._events.ended(step.name, number, seconds, report, None if due is None else (due - now) / 1000)

    def _let_go(self, ended: Running) -> None:
        """Has the process of a step stand by, if that can be and there are steps left for it, or end."""
        if ended.stands_by and self._standby.used < len(self._progress.left(late=self._error is not None)):
            self._standby.keep(ended.forked)
        else:
            self._end_of(ended)

    def _end_of(self, ended: Running) -> None:
        ended.close()
        if ended.leaves_nothing:
            self._leaving.add(ended.pid)

    def _known(self) -> set[int]:
        return self._others | self._leaving | self._standby.pids | {running.pid for running in self._running}

    @contextlib.contextmanager
    def _waking(self) -> Iterator[None]:
        """For the block, signals and the ends of processes end a wait, and what steps leave behind comes to us."""
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        before = signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        processes.adopt_orphans()
        if processes.has_children():
            self._others = processes.children(os.getpid())
        try:
            yield
        finally:
            processes.adopt_orphans(False)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, before)
            self._selector.close()
            os.close(self._wake)
            os.close(self._waker)

    def _write_down(self) -> bool:
        """Writes what is new into Redis; False when that can't be done now, or when the execution is another run's."""
        unsaved = self._progress.unsaved
        if not unsaved:
            return True
        if self._journal.save(unsaved):
            self._progress.saved()
            return True
        if self._journal.is_lost:
            self._progress.saved()
            for running in self._running:
                processes.kill_tree(running.pid)
        return False

    # --- the end ---

    def _broken_off(self) -> Outcome | None:
        """The outcome where something other than the steps has ended this run."""
        if self._cancelled:
            return outcome.cancelled()
        if self._journal.is_lost:
            return Outcome(RELEASED)
        return None

    def _end_of_steps(self) -> Outcome:
        """What has become of the whole. When steps are to run after a failure, `_error` is what it failed with."""
        broken = self._broken_off()
        if broken is not None:
            return broken
        failed = self._progress.failure()
        if not self._late:
            due = self._progress.next_due()
            if due is not None:
                return self._put_back(due)
        if failed is None and not self._late:
            return outcome.succeeded(self._progress.output(), self._run.secrets)
        name, state = failed if failed is not None else (None, {})
        error = state.get("error") or {}
        kind, message = error.get("class", "Timeout"), error.get("message", "")
        if self._late:
            kind, message = "Timeout", f"The workflow took longer than {self._run.timeout:g} s"
        elif name is not None:
            message = f"step {name}: {message}"
        result = outcome.failed(kind, message, state.get("traceback"), secrets=self._run.secrets, step=name)
        result = outcome.tried_again(result, self._workflow.retry, self._run.failures)
        if result.status == "failed":
            self._error = {"step": name or "", "class": kind, "message": message}
        return result

    def _end_of_last_steps(self, failed: Outcome) -> Outcome:
        """What has become of the whole after the steps that run when it has failed so."""
        broken = self._broken_off()
        if broken is not None:
            return broken
        return failed if self._late or self._progress.next_late() is None else Outcome(RELEASED)

    def _put_back(self, due: int) -> Outcome:
        """The outcome of a run that has to wait: for the time of a step's next attempt, or for another process."""
        pause = max(0.0, (due - self._run.now()) / 1000)
        if pause == 0:
            return Outcome(RELEASED)
        self._progress.note_plan(self._spent + time.monotonic() - self._began)
        self._write_down()
        return Outcome("scheduled", pause=pause)
