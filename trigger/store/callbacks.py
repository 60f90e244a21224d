"""Callbacks: executions of a queue of their own, each of which tells somebody how another execution has ended.

The script that ends that one writes them (calling_back.lua), so none is lost. They stand in an index of their own, and
in no list of executions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from trigger.errors import CallbackNotFound, ExecutionNotEnded, ExecutionNotFound
from trigger.store.keys import CALLBACK_QUEUE, CALLBACKS, JOB, is_uid, leased_key
from trigger.store.lua import load
from trigger.store.status import Status
from trigger.store.stored import CALLED_BACK, LISTED, Stored, stored
from trigger.store.times import shown_ms, shown_rq

SLICE = 200  # entries of the index that are looked at in one round trip
WALK = 20_000  # in all, for one list
MESSAGE = 500  # characters of an error's message that are shown

_AGAIN = load("call_back_again")


@dataclass(frozen=True, slots=True)
class CallbackState:
    """A callback as records and lists show it.

    `to` is its name; `of` the execution that it tells of, and `uid` the one that sends it. `next` is when it is sent
    again where it is retrying; times are RFC 3339 in UTC.
    """

    to: str
    status: Status | None  # None where its record is no longer kept
    attempts: int
    next: str | None
    uid: str
    of: str
    created_at: str | None = None
    ended_at: str | None = None
    error: Mapping[str, Any] | None = None

    def as_json(self, *, operator: bool) -> dict[str, Any]:
        """As the record of the execution that it tells of shows it; what has gone wrong is for operators only."""
        told = {"to": self.to, "status": self.status, "attempts": self.attempts, "next": self.next}
        return told | {"uid": self.uid, "error": self.error and dict(self.error)} if operator else told

    def as_row(self) -> dict[str, Any]:
        """As lists show it."""
        return {"of": self.of, **self.as_json(operator=True), "created_at": self.created_at, "ended_at": self.ended_at}


def states(redis: Redis, by_name: Mapping[str, str]) -> tuple[CallbackState, ...]:
    """The callbacks that are sent by these executions, by the names of the callbacks, in one round trip."""
    return tuple(_read(redis, list(by_name.values()), list(by_name)))


def of(redis: Redis, uid: str) -> tuple[CallbackState, ...] | None:
    """The callbacks of an execution; None when there is no record of it (any more)."""
    found = stored(redis, uid, CALLED_BACK)
    return None if found.status is None else states(redis, found.callbacks)


def listed(
    redis: Redis, *, limit: int, to: str | None = None, status: Status | None = None, since: int | None = None
) -> list[CallbackState]:
    """The newest callbacks, at most `limit`, of that name and status, begun at or after `since` (ms since 1970).

    Looks at the newest WALK.
    """
    found: list[CallbackState] = []
    for begin in range(0, WALK, SLICE):
        low = "-inf" if since is None else since
        entries = cast(list[bytes], redis.zrevrangebyscore(CALLBACKS, "+inf", low, begin, SLICE))
        uids = [uid for entry in entries if is_uid(uid := entry.decode("utf-8", "replace"))]
        found += [
            one
            for one in _read(redis, uids)
            if one.status is not None and to in (None, one.to) and status in (None, one.status)
        ]
        if len(found) >= limit or len(entries) < SLICE:
            break
    return found[:limit]


def again(redis: Redis, uid: str, to: str) -> str:
    """Have the callback `to` of an execution sent again, or now if it is retrying; return the uid of the execution that
    sends it.

    Raises ExecutionNotFound, ExecutionNotEnded, and CallbackNotFound where the execution has no such callback.
    """
    answer: bytes = _AGAIN.on(redis)(job=JOB + uid, uid=uid, to=to)
    match answer:
        case b"gone":
            raise ExecutionNotFound("There is no such execution, or its record is no longer kept")
        case b"open":
            raise ExecutionNotEnded("The execution has not ended: there is nothing to tell yet")
        case b"none":
            raise CallbackNotFound("The execution has no callback of that name")
    return answer.decode()


def _read(redis: Redis, uids: Sequence[str], names: Sequence[str] | None = None) -> list[CallbackState]:
    if not uids:
        return []
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        pipeline.hmget(JOB + uid, LISTED)
        pipeline.zscore(leased_key(CALLBACK_QUEUE), uid)
    answers = pipeline.execute(raise_on_error=False)
    found = []
    for index, (uid, values, due) in enumerate(zip(uids, answers[::2], answers[1::2], strict=True)):
        execution = Stored.from_hash(uid, LISTED, values if isinstance(values, list) else [None] * len(LISTED))
        to, of = execution.calls_back or ("", "")
        found.append(_state(execution, names[index] if names is not None else to, of, due))
    return found


def _state(execution: Stored, to: str, of: str, due: Any) -> CallbackState:
    error = execution.error
    if error is not None:
        error = {"class": str(error.get("class", "")), "message": str(error.get("message", ""))[:MESSAGE]}
    created, ended = execution.created_at, execution.ended_at
    is_due = execution.status is Status.RETRYING and isinstance(due, float)
    return CallbackState(
        to=to,
        status=execution.status,
        attempts=execution.attempt,
        next=shown_ms(int(due)) if is_due else None,
        uid=execution.uid,
        of=of,
        created_at=shown_rq(created) if created else None,
        ended_at=shown_rq(ended) if ended else None,
        error=error,
    )
