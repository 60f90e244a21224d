"""The record that can be read about each execution.

RQ's job hash (`rq:job:<uid>`) and result stream (`rq:results:<uid>`) are the record: whatever RQ's tools show is what
we show.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from redis import Redis

from trigger.executions.keys import INDEX, JOB, RESULTS, STATS
from trigger.inputs import mask


class Status(StrEnum):
    """What has become of an execution. The last three are final: reached once, never left."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

# RQ's words for the same (rq.job.JobStatus). A deferred or created job waits like a queued one.
_STATUS_OF_RQ = {
    "created": Status.QUEUED,
    "queued": Status.QUEUED,
    "deferred": Status.QUEUED,
    "started": Status.RUNNING,
    "scheduled": Status.RETRYING,
    "finished": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "stopped": Status.CANCELLED,
    "canceled": Status.CANCELLED,
}


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
    input: Any
    output: Any
    error: Mapping[str, Any] | None
    traceback: str | None
    debug: bool
    rerun_of: str | None  # the uid of the execution that this one repeats

    def as_json(self, *, operator: bool) -> dict[str, Any]:
        """The record as the HTTP answer and the CLI show it; the traceback is for operators only."""
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
            "input": self.input,
            "output": self.output,
            "error": error,
            "steps": [],
            **({"debug": True} if self.debug else {}),
            **({"rerun_of": self.rerun_of} if self.rerun_of else {}),
        }


def read(redis: Redis, uid: str) -> Record | None:
    """The record of one execution, in one round trip; None when there is none (any more)."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.hgetall(JOB + uid)
    pipeline.xrevrange(RESULTS + uid, count=1)
    fields, results = pipeline.execute()
    return _record(uid, fields, results)


def read_many(redis: Redis, uids: Sequence[str]) -> list[Record]:
    """The records of several executions, in one round trip; those that are gone are left out."""
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        pipeline.hgetall(JOB + uid)
        pipeline.xrevrange(RESULTS + uid, count=1)
    answers = pipeline.execute()
    pairs = zip(uids, answers[::2], answers[1::2], strict=True)
    return [record for uid, fields, results in pairs if (record := _record(uid, fields, results))]


def accepted_input(redis: Redis, uid: str) -> tuple[Any, list[list[str]]] | None:
    """The input as it was accepted, unmasked, with the paths of its secrets: for running it again, not for showing."""
    data, meta = cast(list[bytes | None], redis.hmget(JOB + uid, "data", "meta"))
    if data is None or meta is None:
        return None
    try:
        return json.loads(zlib.decompress(data))[2][1], json.loads(meta).get("secrets", [])
    except (IndexError, ValueError, TypeError, AttributeError, zlib.error):
        return None


def newest(redis: Redis, limit: int) -> list[Record]:
    """The newest `limit` records, newest first."""
    members: list[bytes] = redis.zrevrange(INDEX, 0, limit - 1)  # type: ignore[assignment]  # without scores
    uids = [uid.decode() for uid in members]
    return read_many(redis, uids) if uids else []


def stats(redis: Redis) -> dict[str, int]:
    """How many executions the reapers have taken back ("reaped"), and how many entries nobody could read."""
    raw: dict[bytes, bytes] = redis.hgetall(STATS)  # type: ignore[assignment]  # no decoding client is ever used
    return {"reaped": 0, "poisoned": 0} | {name.decode(): int(value) for name, value in raw.items()}


def _record(uid: str, fields: Mapping[bytes, bytes], results: Sequence[Any]) -> Record | None:
    """A record from RQ's hash and its newest result; None for what is not an execution of ours."""
    try:
        meta = json.loads(fields[b"meta"])
        workflow, input_ = json.loads(zlib.decompress(fields[b"data"]))[2]
        status = _STATUS_OF_RQ[fields[b"status"].decode()]
        module, method = meta["module"], meta["method"]
    except (KeyError, IndexError, ValueError, TypeError, zlib.error):
        return None
    output: Any = None
    traceback: str | None = None
    if results and status in FINAL:
        result = results[0][1]
        if status is Status.SUCCEEDED and b"return_value" in result:
            output = json.loads(b64decode(result[b"return_value"]))
        elif b"exc_string" in result:
            traceback = zlib.decompress(b64decode(result[b"exc_string"])).decode()
    error = json.loads(fields[b"error"]) if fields.get(b"error") else None
    return Record(
        uid=uid,
        module=module,
        method=method,
        workflow=workflow,
        status=status,
        created_at=_time(fields.get(b"created_at")),
        started_at=_time(fields.get(b"started_at")),
        ended_at=_time(fields.get(b"ended_at")) if status in FINAL else None,
        attempt=int(fields.get(b"attempt", 0)),
        caller=meta.get("caller"),
        input=mask(input_, meta.get("secrets", ())),
        output=output,
        error=error if status is not Status.SUCCEEDED else None,
        traceback=traceback,
        debug=bool(meta.get("debug")),
        rerun_of=meta.get("rerun_of"),
    )


def _time(raw: bytes | None) -> str | None:
    """RQ's time text ("2026-01-31T12:00:00.123456Z") with milliseconds, or None for an empty one."""
    if not raw:
        return None
    try:
        moment = datetime.strptime(raw.decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
