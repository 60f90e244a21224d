"""How far an execution has come: the state of each of its steps, and which may begin.

Nothing here waits, forks or asks Redis. A state is what executions.steps describes: `status`, `attempts`, times,
`output`, `truncated`, `error`, and of one that failed `input`, what it was given; and for going on, `digest` (the
step's, see config), `failures` (attempts that failed, since the whole was last tried), `due` (when a retrying one goes
on, in ms by Redis' clock) and `round` (how often the whole had failed before).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from trigger.config.model import Step, StepRetry, Workflow
from trigger.store import CUT, Plan
from trigger.store.times import shown_ms
from trigger.workflows import report as reports
from trigger.workflows.report import Failure, Report

State = dict[str, Any]


class Progress:
    """The states of one run's steps.

    Arguments: `workflow`; `stored`, the states that Redis has; `round_`, how often the whole has failed before.
    """

    def __init__(self, workflow: Workflow, stored: Mapping[str, Mapping[str, Any]], round_: int) -> None:
        self.workflow = workflow
        self._round = round_
        self._steps = {step.name: step for step in workflow.steps}
        self._late = {step.name: step for step in workflow.on_failure}
        self._states: dict[str, State] = {name: dict(state) for name, state in stored.items()}
        self._running: set[str] = set()
        self._unsaved: dict[str, str] = {}
        self._opened: list[Step] | None = None  # what _open gives, while nothing has changed

    # --- what has become of each ---

    def is_done(self, name: str) -> bool:
        """Whether steps that need this one may begin: it has succeeded, was skipped, or has failed and may."""
        status = self._states.get(name, {}).get("status")
        step = self._steps.get(name)
        return status in ("succeeded", "skipped") or (
            status == "failed" and step is not None and step.continue_on_error
        )

    def has_failed(self, name: str) -> bool:
        """Whether it has failed for good, in this attempt at the whole."""
        state = self._states.get(name, {})
        return state.get("status") == "failed" and state.get("round") == self._round and not self.is_done(name)

    def done(self, *, late: bool = False) -> dict[str, Mapping[str, Any]]:
        """Return what templates can use of the steps that have ended; with `late`, for steps that run after a failure,
        also of those that never began."""
        ended: dict[str, Mapping[str, Any]] = {}
        for name in (*self._steps, *self._late):
            state = self._states.get(name, {})
            if self.is_done(name) or self.has_failed(name):
                ended[name] = {key: state.get(key) for key in ("output", "status", "error", "truncated")}
            elif late and name in self._steps:
                ended[name] = {"output": None, "status": "skipped", "error": None}
        return ended

    def output(self) -> Any:
        """The output of the whole: that of its last step."""
        return self._states.get(self.workflow.steps[-1].name, {}).get("output")

    def is_cut(self) -> bool:
        """Whether that was too large, and is a marker."""
        return bool(self._states.get(self.workflow.steps[-1].name, {}).get("truncated"))

    def failure(self) -> tuple[str, State] | None:
        """The step that failed first, and its state."""
        failed = [(self._states[name]["ended_at"], name) for name in self._steps if self.has_failed(name)]
        return (name := min(failed)[1], self._states[name]) if failed else None

    # --- what may happen next ---

    def ready(self, now: int) -> list[Step]:
        """The steps that may begin now, in ms by Redis' clock, at most as many as may run at once."""
        free = self.workflow.parallel - len(self._running)
        if free <= 0:
            return []
        return [step for step in self._open() if self._due(step.name) <= now][:free]

    def next_due(self) -> int | None:
        """When the next step may begin that only waits for its time; None when there is none."""
        return min((self._due(step.name) for step in self._open()), default=None)

    def next_late(self) -> Step | None:
        """The next of the steps that run after a failure."""
        return next(iter(self.left(late=True)), None)

    def _open(self) -> list[Step]:
        """The steps that wait for nothing but their time."""
        if self._opened is None:
            self._opened = [step for step in self.left() if all(map(self.is_done, step.needs))]
        return self._opened

    def _due(self, name: str) -> int:
        state = self._states.get(name, {})
        due = state.get("due")
        return due if state.get("status") == "retrying" and isinstance(due, int) else 0

    def left(self, *, late: bool = False) -> list[Step]:
        """The steps that are neither running nor done, and have not failed; with `late`, of those that run after a
        failure the ones that have not ended."""
        if late:
            ended = ("succeeded", "failed", "skipped")
            return [s for s in self.workflow.on_failure if self._states.get(s.name, {}).get("status") not in ended]
        return [
            step
            for step in self.workflow.steps
            if not (step.name in self._running or self.is_done(step.name) or self.has_failed(step.name))
        ]

    # --- what happens ---

    def begin(self, step: Step, now: int) -> int:
        """Notes that an attempt begins, and returns its number, counted from 1."""
        before = self._states.get(step.name, {})
        same = before.get("round") == self._round
        attempts = _count(before, "attempts") + 1
        state: State = {
            "status": "running",
            "attempts": attempts,
            "failures": _count(before, "failures") if same else 0,
            "started_at": before.get("started_at") if same and before.get("status") == "retrying" else shown_ms(now),
            "digest": step.digest,
            "round": self._round,
        }
        self._running.add(step.name)
        self._set(step.name, state)
        return attempts

    def end(self, step: Step, report: Report, now: int, *, again: bool = True) -> int | None:
        """Notes how an attempt has ended; returns when the next one is due, if there will be one. `again`: whether
        there may be. Times are in ms by Redis' clock.
        """
        self._running.discard(step.name)
        state = self._states[step.name]
        state |= {"ended_at": shown_ms(now), "error": None}
        failure = report.failure
        if report.skipped:
            # It has not been tried: what was counted was the look at its condition.
            state |= {"status": "skipped", "because": reports.FALSE, "attempts": state["attempts"] - 1}
        elif failure is None:
            state |= {"status": "succeeded"}
            if report.output.startswith(CUT):
                state["truncated"] = True
            self._set(step.name, state, report.output)
            return None
        else:
            state["failures"] += 1
            state |= {"status": "failed", "error": {"class": failure.kind, "message": failure.message}}
            if failure.traceback:
                state["traceback"] = failure.traceback
            if report.given is not None:
                state["input"] = json.loads(report.given)
            pause = _pause(step.retry, state["failures"], failure) if again else None
            if pause is not None:
                state |= {"status": "retrying", "due": now + int(pause * 1000)}
        self._set(step.name, state)
        return self._due(step.name) if state["status"] == "retrying" else None

    def _set(self, name: str, state: State, output: str | None = None) -> None:
        self._states[name] = state
        self._opened = None
        text = json.dumps(state, separators=(",", ":"))
        if output is not None:
            self._unsaved[name] = f'{text[:-1]},"output":{output}}}'
            state["output"] = json.loads(output)
        else:
            self._unsaved[name] = text

    # --- what is written down ---

    @property
    def unsaved(self) -> Mapping[str, str]:
        """The changes that Redis does not have yet: states by the name of their step, as JSON."""
        return self._unsaved

    def saved(self) -> None:
        """Notes that Redis has all."""
        self._unsaved.clear()

    def note_plan(self, spent: float) -> None:
        """Has the plan written down, with the seconds that this attempt at the whole has taken so far."""
        self._unsaved[""] = Plan.of(self.workflow).to_json(spent=round(spent, 3), round=self._round)


def _pause(retry: StepRetry | None, failures: int, failure: Failure) -> float | None:
    """Seconds to the next attempt after so many have failed; None when there is none."""
    if retry is None or failures >= retry.attempts:
        return None
    if not (failure.again or retry.on) or not reports.matches(failure.kinds, retry.on):
        return None
    pause = retry.backoff[min(failures, len(retry.backoff)) - 1]
    return max(0.0, pause * (1 + random.uniform(-retry.jitter, retry.jitter)))  # noqa: S311  no secret


def _count(state: Mapping[str, Any], key: str) -> int:
    value = state.get(key)
    return value if isinstance(value, int) else 0
