"""The lines of the service's log on an execution and its steps: a sentence for people, names and numbers for machines.

Every line carries what finds the call in all logs (see store.tracing). Most have the `state` that the execution or the
step is in now, in the words of its record; those about a step have its name as `step`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from trigger import store
from trigger.inputs.masking import hidden
from trigger.store.outcome import PATIENCE, RELEASED, Outcome
from trigger.workflows.report import FALSE, Report

logger = logging.getLogger("trigger.worker")

# What log lines carry about an execution.
About = Mapping[str, Any]


def ended(about: About, attempt: int, seconds: float, result: Outcome) -> None:
    """A run of an execution has ended so, after so many seconds."""
    name, took, ms = _api(about), f"in {seconds:.3f} s (attempt {attempt})", round(seconds * 1000, 1)
    if result.status == "finished":  # most have, so it costs no more than it must
        fields, text = {**about, "state": "succeeded", "attempt": attempt, "ms": ms}, f"{name} succeeded {took}"
        logger.info(text, extra={"fields": fields})
        return
    error = json.loads(result.error) if result.error else {}
    why = f"{error.get('class')}: {error.get('message')}"
    level = logging.WARNING
    match result.status:
        case "stopped":
            state, text, error = "cancelled", f"{name} was cancelled", {}
        case "scheduled" if error:
            state, text = "retrying", f"{name} failed {took}, its next attempt is due in {result.pause:.0f} s: {why}"
        case "scheduled":
            level, state = logging.INFO, "retrying"
            text = f"{name} goes on in {result.pause:.0f} s, with a step's next attempt"
        case word if word == RELEASED:
            level, state, text = logging.INFO, "queued", f"{name} goes on in another process"
        case _:
            state, text = "failed", f"{name} failed {took}: {why}"
    fields = {**about, "state": state, "attempt": attempt, "ms": ms}
    if error:
        fields["error"] = error["class"]
    logger.log(level, text, extra={"fields": fields})


def unreadable(about: About, why: str) -> None:
    """An execution has failed, because its job can't be read."""
    logger.error("%s failed: %s", _api(about), why, extra={"fields": {**about, "state": "failed"}})


def taken_over(about: About) -> None:
    """An execution is another worker's now, which does it again."""
    text = "%s was taken over by another worker; this run of it is dropped"
    logger.warning(text, _api(about), extra={"fields": about})


def interrupted(about: About, why: str, became: str) -> None:
    """Log that the process or worker of an execution is gone, because of a 'crash' or a 'stop'; for `became` see
    release.lua."""
    what = "its worker stops" if why == "stop" else "its process has died"
    states = {
        "queued": "it runs again",
        "retrying": "it runs again after a pause",
        "failed": "once too often",
        "cancelled": "it was cancelled",
    }
    fields = {**about, "state": became} if became in states else about
    then = states.get(became, "another worker has it")
    logger.warning("%s was interrupted, as %s: %s", _api(about), what, then, extra={"fields": fields})


def unknown(about: About, kind: str, name: str, version: str, accepted_by: str) -> None:
    """The first execution of a workflow, or for a callback, that the worker's config, which has this version, lacks."""
    logger.warning(
        "version %s of the config, which this worker has, lacks the %s %r; %s, which version %s has accepted, "
        "waits up to %.0f minutes for a worker that knows it, and so does all else for that %s",
        version,
        kind,
        name,
        _api(about),
        accepted_by or "(not known)",
        PATIENCE / 60,
        kind,
        extra={"fields": {**about, "state": "retrying"}},
    )


def stranded(found: Mapping[str, int], queue: str, version: str) -> None:
    """So many executions of a queue wait for each workflow that this version of the config lacks."""
    for name, count in found.items():
        text = (
            "%d executions in queue %s wait for the workflow %r, which version %s of the config lacks: they run "
            "by the version that accepted them if that is still kept, else they fail after %.0f minutes"
        )
        logger.warning(text, count, queue, name, version, PATIENCE / 60)


def killed(about: About, why: str, state: str) -> None:
    """The process of an execution is killed, because it does not end by itself; so the execution ends in this state."""
    logger.warning("%s %s; its process is killed", _api(about), why, extra={"fields": {**about, "state": state}})


def reaped(about: About, state: str, seconds: float) -> None:
    """An execution that nobody had, for up to so many seconds, was found: it is 'queued' again, or has 'failed'."""
    fields = {**about, "state": state}
    if state == "failed":
        logger.error("%s failed: its worker died once too often", _api(about), extra={"fields": fields})
    else:
        logger.warning(
            "%s had no owner for up to %.1f s; it runs again", _api(about), seconds, extra={"fields": fields}
        )


def put_aside(entries: Iterable[str]) -> None:
    """Entries of a queue or a ledger were put aside, because nobody can read them."""
    for entry in entries:
        fields = {"uid": entry} if store.is_uid(entry) else {}
        logger.error("put aside as unreadable: %r", entry, extra={"fields": fields})


class StepLines:
    """The lines about the steps of one run of an execution, in which `secrets` are hidden."""

    def __init__(self, about: About, secrets: Iterable[str]) -> None:
        self._about = about
        self._secrets = secrets

    def begins(self, step: str, attempt: int) -> None:
        """An attempt at a step begins; the first is number 1."""
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._say(logging.INFO, step, attempt, "running", f"begins{again}")

    def ended(self, step: str, attempt: int, seconds: float, report: Report, pause: float | None) -> None:
        """An attempt at a step has ended so after so many seconds; another one is due in `pause` seconds, if it is."""
        ms = round(seconds * 1000, 1)
        if report.skipped:
            self._say(logging.INFO, step, attempt, "skipped", f"was skipped: {FALSE}", ms=ms)
        elif report.failure is None:
            self._say(logging.INFO, step, attempt, "succeeded", f"succeeded in {seconds:.3f} s", ms=ms)
        else:
            failure = report.failure
            state = "failed" if pause is None else "retrying"
            again = "" if pause is None else f", its next attempt is due in {pause:.0f} s"
            why = hidden(f"{failure.kind}: {failure.message}", self._secrets)
            text = f"failed in {seconds:.3f} s{again}: {why}"
            self._say(logging.WARNING, step, attempt, state, text, ms=ms, error=failure.kind)

    def broken_off(self, step: str, attempt: int, *, cancelled: bool) -> None:
        """An attempt at a step was ended, because the execution is cancelled, or another worker's."""
        if cancelled:
            self._say(logging.WARNING, step, attempt, "cancelled", "was cancelled")
        else:
            self._say(logging.WARNING, step, attempt, "running", "was broken off: the execution goes on elsewhere")

    def _say(self, level: int, step: str, attempt: int, state: str, text: str, **more: Any) -> None:
        fields = {**self._about, "step": step, "state": state, "attempt": attempt, **more}
        logger.log(level, "step %s of %s %s", step, _api(self._about), text, extra={"fields": fields})


def _api(about: About) -> str:
    return f"{about['module']}/{about['method']}" if "module" in about else "an execution"
