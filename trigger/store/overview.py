"""Who works, and what is kept, as Redis knows it.

Reading costs the same with a million records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from trigger.store.keys import FAILED_INDEX, INDEX, POISON, QUEUES, RUN, STATS, SUSPENDED, WORKER, WORKERS
from trigger.store.queues import names_of
from trigger.store.record import stats_of
from trigger.store.times import rq_time, shown_ms

_WORKER_FIELDS = (
    "queues",
    "hostname",
    "pid",
    "state",
    "birth",
    "last_heartbeat",
    "successful_job_count",
    "failed_job_count",
    "total_working_time",
)


@dataclass(frozen=True, slots=True)
class Held:
    """An execution that a worker holds, and for how many seconds."""

    uid: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that lives: times are RFC 3339 in UTC, `worked` is how many seconds its executions took in all."""

    name: str
    queue: str
    host: str
    pid: str
    state: str  # "busy" or "idle"
    since: str | None
    beat: str | None
    succeeded: int
    failed: int
    worked: float
    holds: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Poisoned:
    """An entry that was put aside since nobody could read it: when, the entry, cut, and why."""

    at: str | None
    entry: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole service as Redis knows it.

    `info` is what its INFO says, `keys` how many it has; `queues` are those that ever held an execution; `reaper` as
    executions.stats has it; `poisoned` are the newest entries that were put aside. Of the `records` that are kept,
    `failed` are of executions that have failed or were cancelled, and the oldest was accepted at `oldest`. `suspended`:
    whether RQ's tools have told the workers to take nothing.
    """

    info: Mapping[str, Any]
    keys: int
    queues: frozenset[str]
    reaper: Mapping[str, int]
    poisoned: tuple[Poisoned, ...]
    records: int
    failed: int
    oldest: str | None
    suspended: bool


def workers(redis: Redis) -> list[LiveWorker]:
    """The workers that live, by queue and age, in three round trips."""
    keys = sorted(cast(set[bytes], redis.smembers(WORKERS)))
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for key in keys:
        pipeline.hmget(key.decode(), _WORKER_FIELDS)
        pipeline.smembers(f"{key.decode()}:executions")
    answers = pipeline.execute()
    now = _seconds(answers[0])
    runs = _begun(redis, [run for held in answers[2::2] for run in held])
    found = []
    for key, fields, held in zip(keys, answers[1::2], answers[2::2], strict=True):
        queue, host, pid, state, birth, beat, succeeded, failed, worked = fields
        if beat is None:
            continue  # it has gone, and nobody has said so yet
        holds = [Held(_text(run).partition(":")[0], max(0.0, now - runs.get(run, now))) for run in sorted(held)]
        found.append(
            LiveWorker(
                name=_text(key).removeprefix(WORKER),
                queue=_text(queue),
                host=_text(host),
                pid=_text(pid),
                state=_text(state),
                since=rq_time(birth),
                beat=rq_time(beat),
                succeeded=int(succeeded or 0),
                failed=int(failed or 0),
                worked=float(worked or 0),
                holds=tuple(holds),
            )
        )
    return sorted(found, key=lambda worker: (worker.queue, worker.since or "", worker.name))


def _begun(redis: Redis, runs: Iterable[bytes]) -> dict[bytes, float]:
    """When runs have begun, in seconds since 1970; those that are over are left out."""
    asked = list(runs)
    if not asked:
        return {}
    pipeline = redis.pipeline(transaction=False)
    for run in asked:
        pipeline.hget(RUN + _text(run), "created_at")
    return {run: float(begun) for run, begun in zip(asked, pipeline.execute(), strict=True) if begun}


def overview(redis: Redis, limit: int) -> Overview:
    """All but the workers, with the newest `limit` entries that were put aside, in one round trip."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.info()
    pipeline.dbsize()
    pipeline.smembers(QUEUES)
    pipeline.hgetall(STATS)
    pipeline.lrange(POISON, 0, limit - 1)
    pipeline.zcard(INDEX)
    pipeline.zcard(FAILED_INDEX)
    pipeline.zrange(INDEX, 0, 0, withscores=True)
    pipeline.exists(SUSPENDED)
    info, keys, queues, counted, aside, records, failed, oldest, suspended = pipeline.execute()
    return Overview(
        info=info,
        keys=keys,
        queues=names_of(queues),
        reaper=stats_of(counted),
        poisoned=tuple(map(_poisoned, aside)),
        records=records,
        failed=failed,
        oldest=shown_ms(int(oldest[0][1])) if oldest else None,
        suspended=bool(suspended),
    )


def _poisoned(packed: bytes) -> Poisoned:
    try:
        content: Any = json.loads(packed.decode("utf-8", "replace"))
        at, entry, reason = content["at"], content["entry"], content["reason"]
    except (ValueError, TypeError, KeyError):
        at, entry, reason = "", _text(packed), "it can't be read"
    return Poisoned(rq_time(str(at).encode()), str(entry)[:200], str(reason)[:200])


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


def _seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1_000_000
