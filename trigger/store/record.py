"""The record that can be read about each execution.

RQ's job hash (`rq:job:<uid>`) and result stream (`rq:results:<uid>`) are the record: whatever RQ's tools show is what
we show.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from redis import Redis

from trigger.inputs import mask, secret_values
from trigger.inputs.masking import hidden
from trigger.store import callbacks
from trigger.store.keys import JOB, RESULTS, STATS, STEPS
from trigger.store.status import FINAL, Status
from trigger.store.steps import StepRecord
from trigger.store.steps import records as step_records
from trigger.store.stored import ACCEPTED, API, RECORDED, STATUS, Stored, all_stored, stored
from trigger.store.summary import Facts, Summary, facts
from trigger.store.timeline import Span, Times, timeline
from trigger.store.times import shown_rq

T = TypeVar("T")

# In place of an output that is stored and is not JSON.
UNREADABLE: Mapping[str, Any] = {"unreadable": True}


# What is written before the marker for an output that was too large. JSON of ours begins with no blank, so an output
# that only looks like a marker is none.
CUT = " "

# What the JSON of a record has only where there is something to tell.
_IF_SO = ("headers", "truncated", "debug", "rerun_of", "resumed_from", "waits_for", "merged", "tells_of")


@dataclass(frozen=True, slots=True)
class Record(Facts):
    """All that can be read about one execution."""

    input: Any
    output: Any
    traceback: str | None
    operator: str | None  # who started it from another one
    steps: tuple[StepRecord, ...]
    timeline: tuple[Span, ...]
    headers: Mapping[str, str | None] = field(default_factory=dict)  # of the request, those that its API declares
    truncated: bool = False  # the output was too large: `output` has its size and its beginning
    callbacks: tuple[callbacks.CallbackState, ...] = ()  # those that its end has begun
    tells_of: str | None = None  # the uid of the execution that this one tells somebody of

    @property
    def headers_shown(self) -> list[str]:
        """The headers for people: `name: value` each, "-" for one that the request did not have."""
        return [f"{name}: {'-' if value is None else value}" for name, value in self.headers.items()]

    @property
    def failed_step(self) -> StepRecord | None:
        """The step at which it has failed, if there is one: of several the last, as those before may fail."""
        if self.status is not Status.FAILED:
            return None
        failed = [step for step in self.steps if step.status == "failed" and not step.on_failure]
        return max(failed, key=lambda step: step.ended_at or "") if failed else None

    def as_json(self, *, operator: bool) -> dict[str, Any]:
        """The record as the HTTP answer and the CLI show it; the traceback, and which operator started it, are for
        operators only."""
        error = dict(self.error) if self.error else None
        if error is not None and operator and self.traceback:
            error["traceback"] = self.traceback
        told = {name: getattr(self, name) for name in Facts.__slots__ if name not in ("error", *_IF_SO)}
        return told | {
            "input": self.input,
            "output": self.output,
            "error": error,
            "steps": [step.as_json(operator=operator) for step in self.steps],
            "timeline": [span.as_json() for span in self.timeline],
            **{name: value for name in _IF_SO if (value := getattr(self, name))},
            **({"callbacks": [one.as_json(operator=operator) for one in self.callbacks]} if self.callbacks else {}),
            **({"operator": self.operator} if operator and self.operator else {}),
        }


def read(redis: Redis, uid: str, masked: Collection[str] = ()) -> Record | None:
    """The record of one execution, in one round trip, or two if it calls back; None when there is none (any more).

    `masked` are texts that its steps must not show, beside the input's own secrets.
    """
    pipeline = redis.pipeline(transaction=False)
    pipeline.hmget(JOB + uid, RECORDED)
    pipeline.xrevrange(RESULTS + uid, count=1)
    pipeline.hgetall(STEPS + uid)
    values, results, steps = pipeline.execute()
    found = Stored.from_hash(uid, RECORDED, values)
    record = _record(found, results, steps, masked)
    if record is None or not found.callbacks:
        return record
    return replace(record, callbacks=callbacks.states(redis, found.callbacks))


def origin(redis: Redis, uid: str) -> Stored | None:
    """An execution as it was accepted, its input unmasked: for starting it anew, not for showing; None when there is
    none (any more)."""
    found = stored(redis, uid, ACCEPTED)
    return found if found.is_ours and found.call else None


def api_of(redis: Redis, uid: str) -> tuple[str, str] | None:
    """The module and method of an execution; None when there is no record of it (any more)."""
    return stored(redis, uid, API).api


def statuses(redis: Redis, uids: Sequence[str]) -> list[Status | None]:
    """Return the status of each execution, in one round trip; None where there is none (any more)."""
    return [found.status for found in all_stored(redis, uids, STATUS)]


def stats(redis: Redis) -> dict[str, int]:
    """How many executions the reapers have taken back ("reaped"), and how many entries nobody could read."""
    return stats_of(redis.hgetall(STATS))  # type: ignore[arg-type]  # no decoding client is ever used


def stats_of(raw: Mapping[bytes, bytes]) -> dict[str, int]:
    """The same from what Redis answers."""
    return {"reaped": 0, "poisoned": 0} | {name.decode(): int(value) for name, value in raw.items()}


def _record(
    execution: Stored, results: Sequence[Any], steps: Mapping[bytes, bytes], masked: Collection[str]
) -> Record | None:
    """A record from what RQ has of it, its newest result and our steps; None for what is not an execution of ours."""
    if not (execution.is_ours and execution.call):
        return None
    told = Summary(**facts(execution))
    is_success = execution.status is Status.SUCCEEDED
    result = results[0][1] if results and execution.status in FINAL else {}
    output, truncated = _output(result.get(b"return_value")) if is_success else (None, False)
    secrets = {*masked, *secret_values(execution.input, execution.secrets)} if steps or execution.headers else ()
    done = step_records(steps, told, secrets) if steps else ()
    return Record(
        **facts(execution),
        input=mask(execution.input, execution.secrets),
        headers={name: value and hidden(value, secrets) for name, value in execution.headers.items()},
        output=output,
        truncated=truncated,
        tells_of=execution.calls_back[1] if execution.calls_back else None,
        traceback=None if is_success else _readable(_traceback, result.get(b"exc_string")),
        operator=execution.operator,
        steps=done,
        timeline=timeline(told.created_at, told.ended_at, _runs(execution), done),
    )


def _runs(execution: Stored) -> Iterator[Times]:
    """The runs of an execution: those that another followed or was to follow, and the one after them."""
    runs: list[tuple[str, str | None]] = [*execution.runs]
    if execution.started_at and (not runs or runs[-1][0] != execution.started_at):
        runs.append((execution.started_at, execution.ended_at))
    return ((shown_rq(begin), end and shown_rq(end)) for begin, end in runs)


# RQ's results may be anybody's, like its hashes: what can't be read is shown as not there.


def _readable(read: Callable[[bytes], T], stored: bytes | None) -> T | None:
    """Return what `read` makes of what is stored; None where there is nothing, or nothing that can be read."""
    try:
        return read(stored) if stored else None
    except (ValueError, TypeError, RecursionError, zlib.error):
        return None


def _output(stored: bytes | None) -> tuple[Any, bool]:
    """An output, and whether it is the marker that stands for one that was too large."""

    def read(text: bytes) -> tuple[Any, bool]:
        written = b64decode(text)
        return json.loads(written), written.startswith(CUT.encode())

    return _readable(read, stored) or (UNREADABLE if stored else None, False)


def _traceback(stored: bytes) -> str:
    return zlib.decompress(b64decode(stored)).decode()
