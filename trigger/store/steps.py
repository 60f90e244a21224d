"""The steps of an execution as its record shows them, from what the runner of steps has written.

The hash STEPS + uid holds the plan under "" ({"steps": [name, …], "on_failure": [name, …], "kinds": {name: kind},
"needs": {name: [name, …]}}) and under each name the state of a step that has begun, both as JSON. What is not there has
not begun.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from trigger.config.model import Workflow
from trigger.inputs.masking import Hide
from trigger.store.keys import STEPS
from trigger.store.status import FINAL, Status
from trigger.store.summary import Facts
from trigger.store.times import known

REUSED = "done in the execution that this one resumes"


@dataclass(frozen=True, slots=True)
class Plan:
    """The names of a workflow's steps in their order, what each is ("python", "run" or "http"), and what it needs."""

    steps: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    kinds: Mapping[str, str] | None = None
    needs: Mapping[str, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, workflow: Workflow) -> Plan:
        """The plan of a workflow as the config declares it."""
        steps, late = workflow.steps, workflow.on_failure
        return cls(
            tuple(step.name for step in steps),
            tuple(step.name for step in late),
            {step.name: step.action.kind for step in (*steps, *late)},
            {step.name: step.needs for step in steps if step.needs},
        )

    def to_json(self, **more: Any) -> str:
        """The plan as it is stored, with what else the runner notes."""
        names = {"steps": self.steps, "on_failure": self.on_failure, "kinds": dict(self.kinds or {})}
        return json.dumps({**names, "needs": dict(self.needs or {}), **more}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Resumed:
    """The part of an ended execution that a new one takes over: the states of its finished steps.

    `plan` is that of the new one, as JSON; `unfinished` are the steps whose states are left behind; `has_finished` says
    whether there is any other.
    """

    uid: str
    plan: str
    unfinished: tuple[str, ...]
    has_finished: bool


@dataclass(frozen=True, slots=True)
class StepRecord:
    """All that can be read about one step. Times are RFC 3339 in UTC; None where not reached."""

    name: str
    kind: str | None
    status: str  # a StepState's, or "waiting" for one that has not begun
    attempts: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    traceback: str | None = None
    because: str | None = None  # why it was skipped, cancelled or not run again
    on_failure: bool = False  # runs only after the workflow has failed
    truncated: bool = False  # its output was too large: `output` has its size and its beginning
    input: Any = None  # what one that failed was given, where that is not the execution's input

    def as_json(self, *, operator: bool) -> dict[str, Any]:
        """The step as records show it; traceback and input are for operators only."""
        error = dict(self.error) if self.error else None
        if error is not None and operator and self.traceback:
            error["traceback"] = self.traceback
        return {
            "name": self.name,
            "kind": self.kind,
            "status": self.status,
            "attempts": self.attempts,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "output": self.output,
            "error": error,
            "because": self.because,
            **({"truncated": True} if self.truncated else {}),
            **({"on_failure": True} if self.on_failure else {}),
            **({"input": self.input} if operator and self.input is not None else {}),
        }


def states_of(redis: Redis, uid: str) -> dict[str, Mapping[str, Any]]:
    """The state of each step of an execution that has begun, by its name, unmasked: for going on, not for showing."""
    return stored_in(redis, uid)[1]


def stored_in(redis: Redis, uid: str) -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]:
    """Return what the runner has noted beside the plan, and the states as `states_of`."""
    fields: dict[bytes, bytes] = redis.hgetall(STEPS + uid)  # type: ignore[assignment]  # no decoding client is used
    plan = _object(fields.pop(b"", b"")) or {}
    return plan, parse(fields)[1]


def parse(fields: Mapping[bytes, bytes]) -> tuple[Plan, dict[str, Mapping[str, Any]]]:
    """The plan and the states from the fields of the hash; what can't be read counts as not there."""
    read = {name.decode("utf-8", "replace"): _object(text) for name, text in fields.items()}
    plan = read.pop("", None) or {}
    kinds, needs = plan.get("kinds"), plan.get("needs")
    return (
        Plan(
            _names(plan.get("steps")),
            _names(plan.get("on_failure")),
            kinds if isinstance(kinds, dict) else None,
            {name: _names(needed) for name, needed in needs.items()} if isinstance(needs, dict) else None,
        ),
        {name: state for name, state in read.items() if state is not None},
    )


def records(fields: Mapping[bytes, bytes], whole: Facts, secrets: Collection[str]) -> tuple[StepRecord, ...]:
    """The steps of an execution in the order of the plan, those that run after a failure last; `secrets` are texts that
    must not be shown."""
    plan, states = parse(fields)
    return tuple(_records(plan, states, whole, Hide(secrets)))


def _records(plan: Plan, states: Mapping[str, Mapping[str, Any]], whole: Facts, hide: Hide) -> Iterator[StepRecord]:
    kinds = plan.kinds or {}
    unbegun = _why_not_begun(plan.steps, states, whole)
    needs = plan.needs or {}
    for name in (*plan.steps, *plan.on_failure):
        late = name in plan.on_failure
        state = states.get(name)
        if state is not None:
            yield _begun(name, state, kinds.get(name), whole, late, hide)
        elif whole.status not in FINAL:
            yield StepRecord(name, kinds.get(name), "waiting", on_failure=late)
        elif late and whole.status is not Status.FAILED:
            yield StepRecord(name, kinds.get(name), "skipped", because=_NOT_FAILED[whole.status], on_failure=True)
        else:
            because = _failed_need(name, needs, states) if whole.status is Status.FAILED and not late else None
            yield StepRecord(name, kinds.get(name), "skipped", because=because or unbegun, on_failure=late)


_NOT_FAILED = {
    Status.SUCCEEDED: "the workflow has not failed",
    Status.CANCELLED: "the execution was cancelled",
}


def _why_not_begun(order: Sequence[str], states: Mapping[str, Mapping[str, Any]], whole: Facts) -> str:
    if whole.status is Status.CANCELLED:
        return _NOT_FAILED[Status.CANCELLED]
    begun = [(name, states[name]) for name in order if name in states]
    failed = [(known(state.get("ended_at")) or "", name) for name, state in begun if state.get("status") == "failed"]
    # Of several the last one: those before it may have been allowed to fail.
    return f"{max(failed)[1]} failed" if failed else "the execution ended before"


def _failed_need(
    name: str, needs: Mapping[str, tuple[str, ...]], states: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """Which step that this one needs, perhaps by way of others, has failed."""
    seen, open_names = {name}, list(needs.get(name, ()))
    while open_names:
        needed = open_names.pop(0)
        if states.get(needed, {}).get("status") == "failed" and not _went_on(needed, needs, states):
            return f"{needed} failed"
        if needed not in seen and needed not in states:
            seen.add(needed)
            open_names += needs.get(needed, ())
    return None


def _went_on(name: str, needs: Mapping[str, tuple[str, ...]], states: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a step that needs this one has begun: then it was allowed to fail."""
    return any(name in needed and user in states for user, needed in needs.items())


def _begun(name: str, state: Mapping[str, Any], kind: str | None, whole: Facts, late: bool, hide: Hide) -> StepRecord:
    status, error, because = (state.get(key) for key in ("status", "error", "because"))
    ended = known(state.get("ended_at"))
    if status in ("running", "retrying"):
        if whole.status in FINAL:  # it was cut off by what ended the execution
            cancelled = whole.status is Status.CANCELLED
            status, ended = ("cancelled" if cancelled else "failed"), ended or whole.ended_at
            error = error or (None if cancelled else whole.error)
            because = "the execution was cancelled" if cancelled else None
        elif status == "running" and whole.status is not Status.RUNNING:
            status = "waiting"  # its worker died; it will begin again
    if whole.resumed_from and ended and whole.created_at and ended < whole.created_at:
        because = because or REUSED
    attempts, trace = state.get("attempts"), state.get("traceback")
    return StepRecord(
        name=name,
        kind=kind,
        status=str(status),
        attempts=attempts if isinstance(attempts, int) else 0,
        started_at=known(state.get("started_at")),
        ended_at=ended,
        output=hide(state.get("output")),
        error=hide(error) if isinstance(error, Mapping) else None,
        traceback=hide(trace) if isinstance(trace, str) else None,
        because=hide(because),
        on_failure=late,
        truncated=state.get("truncated") is True,
        input=hide(state.get("input")),
    )


def _object(text: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()
