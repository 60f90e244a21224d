"""Runs the steps of one execution: begins them, looks after them, and writes down how far it is.

What a step has put out is in Redis before the next begins, in the same call that says that it begins. So whatever is
killed, what is done is not done again; what was under way is. A pause between two attempts is not waited for here,
unless other steps run meanwhile: the execution is put back until it is due.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from trigger import store
from trigger.config.model import RunAction, Step, Workflow
from trigger.inputs.masking import Hide
from trigger.store import outcome
from trigger.store.outcome import CRASHED, RELEASED, Outcome
from trigger.workflows import events, report
from trigger.workflows.attempts import CANCELLED, LOST, TIMEOUT, Attempts, Run, Tools
from trigger.workflows.progress import Progress
from trigger.workflows.report import Failure, Report


class Runner:
    """Runs one execution's steps until it has ended, or has to wait, or is another's."""

    def __init__(self, tools: Tools, workflow: Workflow, run: Run) -> None:
        self._tools = tools
        self._workflow = workflow
        self._run = run
        self._attempts = Attempts(tools, workflow, run)
        self._journal = self._attempts.journal
        self._events = events.StepLines(run.about, run.secrets)
        self._starting: list[tuple[Step, int]] = []  # with the number of the attempt
        self._spent = 0.0  # seconds that this attempt at the whole took before this run
        self._progress = Progress(workflow, {}, run.job.failures)
        self._began = time.monotonic()
        self._deadline = math.inf
        self._cancelled = self._late = self._crashed = self._put_back_now = False
        self._error: Mapping[str, Any] | None = None  # what the workflow failed with, once that is known

    def run(self) -> Outcome:
        """Runs what is left to do. The log is written when this returns.

        Raises redis.exceptions.RedisError when Redis can't be asked what there is to do.
        """
        stored, self._spent = self._stored()
        self._progress = Progress(self._workflow, stored, self._run.job.failures)
        self._deadline = self._began + self._run.job.timeout - self._spent
        self._progress.note_plan(self._spent)
        try:
            self._until_nothing_runs(self._begin_ready)
            result = self._end_of_steps()
            if self._error is not None:
                self._deadline = time.monotonic() + self._run.job.timeout
                self._late = False
                self._until_nothing_runs(self._begin_late)
                result = self._end_of_last_steps(result)
        finally:
            self._attempts.kill_all()  # there are some where something has gone wrong here: nothing goes on without us
        self._journal.end_log(self._tools.wait)
        return result

    def _stored(self) -> tuple[Mapping[str, Mapping[str, Any]], float]:
        """The states that Redis has, and the seconds that this attempt at the whole has taken before."""
        plan, states = store.stored_in(self._tools.redis, self._run.job.uid)
        spent = plan.get("spent")
        same = plan.get("round") == self._run.job.failures
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
            if not self._attempts.under_way and (self._is_broken_off or not self._progress.unsaved):
                return
            self._prepare()
            self._attempts.wait(self._due())
            self._look_after()

    @property
    def _is_broken_off(self) -> bool:
        """Whether this run has come to its end, wherever its steps stand."""
        return self._journal.is_lost or self._crashed or self._put_back_now

    def _goes_on(self) -> bool:
        """Whether further steps may begin here."""
        return not (self._cancelled or self._late or self._is_broken_off or self._tools.stops())

    def _obey(self) -> None:
        """Does what the worker and the clock want."""
        wanted = self._tools.wanted
        if wanted.is_lost:
            self._journal.is_lost = True
        if wanted.put_back:
            self._put_back_now = True
        if self._is_broken_off:
            self._break_off()
        if not self._cancelled and wanted.cancel:
            self._cancelled = True
            self._attempts.tell_all(CANCELLED)
        if not self._late and time.monotonic() >= self._deadline:
            self._late = True
            message = f"the workflow took longer than {self._run.job.timeout:g} s"
            self._progress.note_plan(self._run.job.timeout)
            self._attempts.tell_all(Failure("Timeout", message, kinds=TIMEOUT, again=False))

    def _break_off(self) -> None:
        for attempt in self._attempts.under_way:
            self._events.broken_off(attempt.step.name, attempt.number, cancelled=False)
        self._attempts.kill_all()
        self._starting.clear()

    def _begin_ready(self) -> None:
        self._begin(self._progress.ready(self._run.now()))

    def _begin_late(self) -> None:
        step = self._progress.next_late()
        if step is not None and not self._attempts.under_way and not self._starting:
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
        done = self._progress.done(late=self._error is not None)
        try:
            self._attempts.start(step, number, min(left, step.timeout or left), done, self._error)
        except OSError as error:  # no more processes, memory or descriptors
            failure = Failure("StartError", f"no process could be started: {error.strerror}")
            self._note_end(step, number, 0.0, Report(failure=failure))
        else:
            self._events.begins(step.name, number)  # while it does

    def _prepare(self) -> None:
        """Has a process stand by while a step runs, if a program may need one soon: here, or in the next execution."""
        running = [attempt.step for attempt in self._attempts.under_way]
        steps = [*running, *self._progress.left(late=self._error is not None)]
        if running and self._goes_on() and any(isinstance(step.action, RunAction) for step in steps):
            self._tools.pool.prepare()

    def _due(self) -> list[float]:
        """When something is to be done, by the monotonic clock."""
        due = [] if self._late else [self._deadline]
        if self._progress.unsaved:
            due.append(self._journal.save_at)
        next_due = self._progress.next_due() if self._error is None else None
        has_room = len(self._attempts.under_way) < self._workflow.parallel
        if next_due is not None and self._goes_on() and has_room:
            due.append(time.monotonic() + max(0.001, (next_due - self._run.now()) / 1000))
        return due

    def _look_after(self) -> None:
        """Takes note of steps that have ended."""
        for attempt in self._attempts.ended():
            told = attempt.finish()
            failure = told.failure
            if attempt.cause is CANCELLED:
                self._events.broken_off(attempt.step.name, attempt.number, cancelled=True)
            elif failure is not None and self._is_crash(attempt.step, failure):
                self._crashed = True
                self._events.broken_off(attempt.step.name, attempt.number, cancelled=False)
            else:
                self._note_end(attempt.step, attempt.number, time.monotonic() - attempt.began, told)

    def _is_crash(self, step: Step, failure: Failure) -> bool:
        """Whether the execution is to run again because the step's process was killed, as for a plain function. A step
        that says itself how often it is tried is not; and the last time, the step has failed."""
        return failure is LOST or (
            failure.crashed and step.retry is None and self._run.job.crashes + 1 < self._tools.config.crashes
        )

    def _note_end(self, step: Step, number: int, seconds: float, told: Report) -> None:
        """Takes note of how an attempt has ended, after so many seconds."""
        now = self._run.now()
        told = replace(told, output=report.kept(told, self._run.secrets), size=None)
        if told.failure is not None:
            told = replace(told, failure=report.cut(told.failure, self._run.secrets))
        if told.given is not None:  # it is kept only to be shown, also when the config has other secrets
            told = replace(told, given=json.dumps(Hide(self._run.secrets)(json.loads(told.given))))
        due = self._progress.end(step, told, now, again=not (self._late or self._cancelled))
        if self._journal.is_lost:
            self._events.broken_off(step.name, number, cancelled=False)
        else:
            self._events.ended(step.name, number, seconds, told, None if due is None else (due - now) / 1000)

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
            self._break_off()
        return False

    # --- the end ---

    def _broken_off(self) -> Outcome | None:
        """The outcome where something other than the steps has ended this run."""
        if self._cancelled:
            return outcome.cancelled()
        if self._crashed:
            return Outcome(CRASHED)
        return Outcome(RELEASED) if self._is_broken_off else None

    def _end_of_steps(self) -> Outcome:
        """Return the outcome of the whole. When steps are to run after a failure, `_error` is what it failed with."""
        broken = self._broken_off()
        if broken is not None:
            return broken
        failed = self._progress.failure()
        if not self._late:
            due = self._progress.next_due()
            if due is not None:
                return self._put_back(due)
        if failed is None and not self._late:
            return outcome.succeeded(self._progress.output(), self._run.secrets, is_cut=self._progress.is_cut())
        name, state = failed if failed is not None else (None, {})
        error = state.get("error") or {}
        kind, message = error.get("class", "Timeout"), error.get("message", "")
        if self._late:
            kind, message = "Timeout", f"The workflow took longer than {self._run.job.timeout:g} s"
        elif name is not None:
            message = f"step {name}: {message}"
        result = outcome.failed(kind, message, state.get("traceback"), secrets=self._run.secrets, step=name)
        result = outcome.tried_again(result, self._workflow.retry, self._run.job.failures)
        if result.status == "failed":
            self._error = {"step": name or "", "class": kind, "message": message}
        return result

    def _end_of_last_steps(self, failed: Outcome) -> Outcome:
        """Return the outcome of the whole after the steps that run when it has failed so."""
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
