"""The record that can be read about each execution.

RQ's job hash (`rq:job:<uid>`) and result stream (`rq:results:<uid>`) are the record: whatever RQ's tools show is what
we show.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from redis import Redis

from trigger.inputs import mask, secret_values
from trigger.store.keys import JOB, RESULTS, STATS, STEPS, known_uid, split_api
from trigger.store.status import FINAL, OF_RQ, Status
from trigger.store.steps import StepRecord, Whole
from trigger.store.steps import records as step_records
from trigger.store.timeline import Run, Span, timeline
from trigger.store.times import rq_time
from trigger.store.tracing import request_id

T = TypeVar("T")

# In place of an output that is stored and is not JSON.
UNREADABLE: Mapping[str, Any] = {"unreadable": True}


# What is written before the marker for an output that was too large. JSON of ours begins with no blank, so an output
# that only looks like a marker is none.
CUT = " "


@dataclass(frozen=True, slots=True)
class Record:
    """What can be read about one execution. Times are RFC 3339 in UTC; None where not reached yet."""

    uid: str
    module: str
    method: str
    workflow: str
    status: Status
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    attempt: int
    caller: str | None
    config_version: str | None  # of the config that accepted it; None for one that an earlier release has accepted
    request_id: str  # of the request that started it: the proxy's, else the uid
    input: Any
    output: Any
    error: Mapping[str, Any] | None
    traceback: str | None
    debug: bool
    rerun_of: str | None  # the uid of the execution that this one repeats
    resumed_from: str | None  # the uid of the execution that this one goes on with
    operator: str | None  # who started it from another one
    steps: tuple[StepRecord, ...]
    timeline: tuple[Span, ...]
    truncated: bool = False  # the output was too large: `output` has its size and its beginning

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
        return {
            "uid": self.uid,
            "module": self.module,
            "method": self.method,
            "workflow": self.workflow,
            "status": str(self.status),
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "attempt": self.attempt,
            "caller": self.caller,
            "config_version": self.config_version,
            "request_id": self.request_id,
            "input": self.input,
            "output": self.output,
            "error": error,
            "steps": [step.as_json(operator=operator) for step in self.steps],
            "timeline": [span.as_json() for span in self.timeline],
            **({"truncated": True} if self.truncated else {}),
            **({"debug": True} if self.debug else {}),
            **({"rerun_of": self.rerun_of} if self.rerun_of else {}),
            **({"resumed_from": self.resumed_from} if self.resumed_from else {}),
            **({"operator": self.operator} if operator and self.operator else {}),
        }


def read(redis: Redis, uid: str, masked: Collection[str] = ()) -> Record | None:
    """The record of one execution, in one round trip; None when there is none (any more).

    `masked` are texts that its steps must not show, beside the input's own secrets.
    """
    pipeline = redis.pipeline(transaction=False)
    pipeline.hgetall(JOB + uid)
    pipeline.xrevrange(RESULTS + uid, count=1)
    pipeline.hgetall(STEPS + uid)
    fields, results, steps = pipeline.execute()
    return _record(uid, fields, results, steps, masked)


@dataclass(frozen=True, slots=True)
class Origin:
    """An execution as it was accepted, its input unmasked: for starting it anew, not for showing."""

    uid: str
    status: Status
    module: str
    method: str
    workflow: str
    caller: str | None
    input: Any = field(repr=False)
    secrets: tuple[tuple[str, ...], ...]  # the paths of the input's secrets
    debug: bool


def origin(redis: Redis, uid: str) -> Origin | None:
    """What an execution was accepted with; None when there is none (any more)."""
    values = cast(list[bytes | None], redis.hmget(JOB + uid, "data", "meta", "status", "description"))
    data, meta, word, api = (value or b"" for value in values)
    try:
        about = json.loads(meta)
        module, method = split_api(api)
        workflow, input_ = json.loads(zlib.decompress(data))[2]
        return Origin(
            uid=uid,
            status=OF_RQ[word.decode()],
            module=module,
            method=method,
            workflow=workflow,
            caller=about.get("caller"),
            input=input_,
            secrets=tuple(tuple(path) for path in about.get("secrets", ())),
            debug=bool(about.get("debug")),
        )
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, zlib.error):
        return None


def api_of(redis: Redis, uid: str) -> tuple[str, str] | None:
    """The module and method of an execution; None when there is no record of it (any more)."""
    description = cast(bytes | None, redis.hget(JOB + uid, "description"))
    try:
        return split_api(description or b"")
    except ValueError:
        return None


def statuses(redis: Redis, uids: Sequence[str]) -> list[Status | None]:
    """What each execution is now, in one round trip; None where there is none (any more)."""
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        pipeline.hget(JOB + uid, "status")
    return [OF_RQ.get((word or b"").decode("ascii", "replace")) for word in pipeline.execute()]


def stats(redis: Redis) -> dict[str, int]:
    """How many executions the reapers have taken back ("reaped"), and how many entries nobody could read."""
    return stats_of(redis.hgetall(STATS))  # type: ignore[arg-type]  # no decoding client is ever used


def stats_of(raw: Mapping[bytes, bytes]) -> dict[str, int]:
    """The same from what Redis answers."""
    return {"reaped": 0, "poisoned": 0} | {name.decode(): int(value) for name, value in raw.items()}


def _record(
    uid: str,
    fields: Mapping[bytes, bytes],
    results: Sequence[Any],
    steps: Mapping[bytes, bytes],
    masked: Collection[str],
) -> Record | None:
    """A record from RQ's hash, its newest result and our steps; None for what is not an execution of ours."""
    try:
        meta = _object(fields[b"meta"])
        workflow, input_ = json.loads(zlib.decompress(fields[b"data"]))[2]
        status = OF_RQ[fields[b"status"].decode()]
        module, method = split_api(fields[b"description"])
    except (KeyError, IndexError, ValueError, TypeError, RecursionError, zlib.error):
        return None
    result = results[0][1] if results and status in FINAL else {}
    error = _readable(_object, fields.get(b"error"))
    created_at, resumed_from = rq_time(fields.get(b"created_at")), known_uid(meta.get("resumed_from"))
    ended_at = rq_time(fields.get(b"ended_at")) if status in FINAL else None
    secrets = _paths(meta.get("secrets", []))
    whole = Whole(status, created_at, ended_at, error, bool(resumed_from))
    if steps:
        whole = replace(whole, secrets={*masked, *secret_values(input_, secrets)})
    output, truncated = _output(result.get(b"return_value")) if status is Status.SUCCEEDED else (None, False)
    attempt, started_at = fields.get(b"attempt", b""), rq_time(fields.get(b"started_at"))
    shown = step_records(steps, whole) if steps else ()
    return Record(
        uid=uid,
        module=module,
        method=method,
        workflow=str(workflow),
        status=status,
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        attempt=int(attempt) if attempt.isdigit() else 0,
        caller=None if (caller := meta.get("caller")) is None else str(caller),
        config_version=None if (version := meta.get("config")) is None else str(version),
        request_id=request_id(meta, uid),
        input=mask(input_, secrets),
        output=output,
        truncated=truncated,
        error=error if status is not Status.SUCCEEDED else None,
        traceback=_readable(_traceback, result.get(b"exc_string")) if status is not Status.SUCCEEDED else None,
        debug=bool(meta.get("debug")),
        rerun_of=known_uid(meta.get("rerun_of")),
        resumed_from=resumed_from,
        operator=None if (who := meta.get("operator")) is None else str(who),
        steps=shown,
        timeline=timeline(created_at, ended_at, _runs(fields.get(b"runs"), started_at, ended_at), shown),
    )


def _runs(earlier: bytes | None, started_at: str | None, ended_at: str | None) -> list[Run]:
    """The runs of an execution: those that another followed or was to follow, a line each, and the one after them."""
    pairs = [line.split(b" ") for line in (earlier or b"").splitlines()]
    runs = [Run(begin, rq_time(pair[1])) for pair in pairs if len(pair) == 2 and (begin := rq_time(pair[0]))]
    if started_at and (not runs or runs[-1].started_at != started_at):
        runs.append(Run(started_at, ended_at))
    return runs


# What RQ's keys hold is ours only as long as nobody else writes there: what can't be read is shown as not there, and
# what stands there is never run.


def _readable(read: Callable[[bytes], T], stored: bytes | None) -> T | None:
    """What `read` makes of what is stored; None where there is nothing, or nothing that can be read."""
    try:
        return read(stored) if stored else None
    except (ValueError, TypeError, RecursionError, zlib.error):
        return None


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError
    return value


def _output(stored: bytes | None) -> tuple[Any, bool]:
    """An output, and whether it is the marker that stands for one that was too large."""

    def read(text: bytes) -> tuple[Any, bool]:
        written = b64decode(text)
        return json.loads(written), written.startswith(CUT.encode())

    return _readable(read, stored) or (UNREADABLE if stored else None, False)


def _traceback(stored: bytes) -> str:
    return zlib.decompress(b64decode(stored)).decode()


def _paths(secrets: Any) -> Sequence[Sequence[str]]:
    """The paths of an input's secrets. If they can't be read, all of it is secret."""
    if isinstance(secrets, list) and all(
        isinstance(path, list) and all(isinstance(key, str) for key in path) for path in secrets
    ):
        return secrets
    return ((),)
