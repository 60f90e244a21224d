"""The ways on from an execution: cancel it, run it again, go on with it, and where to fix what has failed."""

from __future__ import annotations

from dataclasses import dataclass

from trigger.config.model import Config
from trigger.store import FINAL, Record, Status


@dataclass(frozen=True, slots=True)
class Ways:
    """The acts that are possible now; `why_not` says why it can't be started again. `kept` are the steps that resuming
    skips, and `next` is the first of the others."""

    cancel: bool
    rerun: bool
    resume: bool
    why_not: str
    kept: tuple[str, ...]
    next: str

    @classmethod
    def of(cls, record: Record, config: Config) -> Ways:
        """As trigger.store.acts checks it in the end."""
        api = config.apis.get((record.module, record.method))
        why_not = ""
        if record.tells_of:
            why_not = "A callback is sent again from the page of the execution that it tells of:"
        elif api is None:
            why_not = "The config has no such API any more, so it can't be started again."
        elif not api.enabled and not record.debug:
            why_not = "The API is not enabled, so it can't be started again."
        has_steps = api is not None and bool(api.workflow.steps)
        steps = [step for step in record.steps if not step.on_failure]
        is_left = record.status in (Status.FAILED, Status.CANCELLED)
        return cls(
            cancel=record.status not in FINAL,
            rerun=not why_not,
            resume=not why_not and has_steps and is_left,
            why_not=why_not,
            kept=tuple(step.name for step in steps if step.status == "succeeded"),
            next=next((step.name for step in steps if step.status not in ("succeeded", "skipped")), ""),
        )


@dataclass(frozen=True, slots=True)
class Fix:
    """Where the config declares what has failed: a line of it, counted from 1; what it calls, as the file has it."""

    file: str
    line: int
    step: str  # empty where it is the workflow
    calls: str

    @classmethod
    def of(cls, record: Record, config: Config) -> Fix | None:
        """None when nothing has failed, or the config in force does not declare it any more."""
        workflow = config.workflows.get(record.workflow)
        if workflow is None or record.status is not Status.FAILED:
            return None
        name = record.failed_step.name if record.failed_step else ""
        step = next((step for step in (*workflow.steps, *workflow.on_failure) if step.name == name), None)
        if step is not None:
            return cls(config.path.name, step.line, step.name, step.calls)
        api = config.apis.get((record.module, record.method))
        line = workflow.line or (api.line if api else 0)
        return cls(config.path.name, line, "", workflow.calls) if line else None
