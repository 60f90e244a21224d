"""Runs a workflow that is one Python function: a single attempt, of which no states are written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from trigger.config.model import Step, Workflow
from trigger.store import outcome
from trigger.store.outcome import CRASHED, RELEASED, Outcome
from trigger.workflows import events, report
from trigger.workflows.attempts import CANCELLED, TIMEOUT, Attempt, Attempts, Run, Tools
from trigger.workflows.report import Failure, Report

logger = logging.getLogger("trigger.worker")

# The pause after no process could be had, in seconds.
_PAUSE = 1.0


def run_function(tools: Tools, workflow: Workflow, run: Run) -> Outcome:
    """Runs the function to its outcome. The log is written when this returns."""
    ended = run_alone(tools, workflow, workflow.function, run)
    if isinstance(ended, Outcome):
        return ended
    attempt, told = ended
    if attempt.cause is not None:
        return _timed_out(told.failure, workflow, run, killed=attempt.was_killed)
    return _outcome(told, workflow, run)


def run_alone(
    tools: Tools, workflow: Workflow, step: Step, run: Run, *, letter: Mapping[str, Any] | None = None
) -> tuple[Attempt, Report] | Outcome:
    """Runs the only attempt of a run to its end, in the run's timeout; `letter` is what it is to send.

    Returns it and what it has said; or the outcome where there was no process for it, or somebody has ended it.
    """
    attempts = Attempts(tools, workflow, run)
    deadline = time.monotonic() + run.job.timeout
    wanted = tools.wanted
    try:
        attempts.start(step, run.job.attempt, run.job.timeout, letter=letter)
    except OSError as error:  # no more processes, memory or descriptors; there may be some in a while
        return _without_process(f"{error.strerror}", run)
    (attempt,) = attempts.under_way
    cancelled = late = False
    try:
        while not attempts.ended():
            if wanted.is_lost or wanted.put_back:
                attempts.kill_all()
                attempts.journal.end_log(tools.wait)
                return Outcome(RELEASED)
            if wanted.cancel and not cancelled:
                cancelled = True
                attempt.tell(CANCELLED)
            elif not late and time.monotonic() >= deadline:
                late = True
                attempt.tell(Failure("Timeout", "", kinds=TIMEOUT))
            attempts.wait([] if late else [deadline])
    except BaseException:
        attempts.kill_all()  # nothing goes on without us
        raise
    told = attempt.finish(keeps_children=True)
    attempts.journal.end_log(tools.wait)
    wanted.is_said = attempt.was_killed
    if attempt.cause is CANCELLED:
        if attempt.was_killed:
            events.killed(run.about, "does not end although it was cancelled", "cancelled")
        return outcome.cancelled()
    if attempt.cause is None and told.failure is not None and told.failure.kind == "StartError":
        return _without_process(told.failure.message, run)
    return attempt, told


def _timed_out(failure: Failure | None, workflow: Workflow, run: Run, *, killed: bool) -> Outcome:
    message = f"The workflow took longer than {run.job.timeout:g} s"
    if killed:
        events.killed(run.about, f"does not stop after its timeout of {run.job.timeout:g} s", "failed")
        return outcome.failed("Timeout", f"{message} and had to be killed", secrets=run.secrets)
    trace = failure.traceback if failure is not None else None
    result = outcome.failed("Timeout", message, trace, secrets=run.secrets)
    return outcome.tried_again(result, workflow.retry, run.job.failures)


def _outcome(told: Report, workflow: Workflow, run: Run) -> Outcome:
    failure = told.failure
    if failure is None:
        return outcome.succeeded_with(report.kept(told, run.secrets), run.secrets)
    return Outcome(CRASHED) if failure.crashed else _failed(failure, workflow, run)


def _without_process(why: str, run: Run) -> Outcome:
    """The outcome where there are no more processes, memory or descriptors: it is no fault of the workflow's."""
    logger.warning("no process could be started: %s; trying again", why, extra={"fields": run.about})
    return Outcome("scheduled", pause=_PAUSE)


def _failed(failure: Failure, workflow: Workflow, run: Run) -> Outcome:
    message = failure.message
    if failure.kind == "WorkflowError":
        message = f"Workflow {workflow.name}: {message}"
    elif failure.kind == "OutputError":
        message = f"The workflow's {message.removeprefix('the ')}"
    result = outcome.failed(failure.kind, message, failure.traceback, secrets=run.secrets)
    again = failure.kind not in ("WorkflowError", "OutputError")
    return outcome.tried_again(result, workflow.retry, run.job.failures) if again else result
