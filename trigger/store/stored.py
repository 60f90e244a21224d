"""The one way from a job's hash in Redis (`rq:job:<uid>`) to a value. RQ's names of its fields stand only here.

The hash is ours only as long as nobody else writes there. So a field that can't be read counts as not there, and
nothing in the hash is ever called: RQ would import and call whatever function it names.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args

from redis import Redis
from redis.exceptions import RedisError

from trigger.store.keys import CALLBACK_WORKFLOW, JOB, RUNNER, known_uid
from trigger.store.status import FINAL, OF_RQ, Status
from trigger.store.times import read_rq_time
from trigger.store.tracing import is_request_id

# What may keep an execution out of its queue: others have all slots of its API, or its burst is not over.
WaitsFor = Literal["concurrency", "debounce"]

# Which fields of the hash are read for what.
STATUS = ("status",)
API = ("description",)
NAMED = ("description", "meta")  # what log lines carry
AWAITED = ("status", "meta")  # the workflow that it waits for
LOGGED = ("status", "log")
CHANGING = (*STATUS, "attempt", "log", "last_heartbeat")  # one of them changes with nearly all that happens
LISTED = (
    *("status", "description", "meta", "created_at", "started_at", "ended_at", "attempt", "error"),
    *("waits_for", "merged"),
)
ACCEPTED = ("status", "description", "meta", "data", "body")
RECORDED = (*LISTED, "data", "runs", "callbacks")
CALLED_BACK = ("status", "callbacks")
TAKEN = (
    *("data", "body", "meta", "description", "timeout", "started_at", "attempt", "failures", "crashes"),
    *("unknown_since", "asked"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """An execution as the hash of its job has it, or as much of that as was asked for.

    What is not there or can't be read has its default. Times are RQ's text for them, RFC 3339 in UTC with microseconds;
    all but `created_at` are by Redis' clock.
    """

    uid: str
    unreadable: tuple[str, ...] = ()  # the fields of the hash that are there and can't be read
    status: Status | None = None
    api: tuple[str, str] | None = None  # module and method
    call: tuple[str, Any, bool] | None = field(default=None, repr=False)  # workflow, input, and whether that is all
    body: bytes | None = field(default=None, repr=False)  # the request's, where a program of the workflow gets it
    meta: Mapping[str, Any] | None = None  # what else is known of how it was started
    created_at: str | None = None
    started_at: str | None = None  # of its last run
    ended_at: str | None = None  # None as long as the status is not final
    runs: tuple[tuple[str, str], ...] = ()  # begin and end of those that another one followed
    attempt: int = 0  # counted from 1
    failures: int = 0  # how many attempts have failed
    crashes: int = 0  # how often its worker or its process has died
    asked: int = 0  # which attempt an operator has asked for, of an execution that calls back
    timeout: int = 0  # seconds
    unknown_since: float | None = None  # when the first worker did not know its workflow, in seconds since 1970
    waits_for: WaitsFor | None = None  # what keeps it out of its queue
    merged: int = 0  # how many further calls have become part of it
    error: Mapping[str, Any] | None = None  # None after it has succeeded
    callbacks: Mapping[str, str] = field(default_factory=dict)  # by name: the uid of what called back last
    cut: tuple[int, str] = 0, ""  # how many lines of its log are not kept, and the id of the last of them

    @classmethod
    def from_hash(cls, uid: str, names: Sequence[str], values: Sequence[bytes | None]) -> Stored:
        """Return the execution whose hash has these values of the fields `names`; None for a field that it lacks."""
        read: dict[str, Any] = {}
        unreadable = []
        for name, value in zip(names, values, strict=True):
            if value is not None:
                attribute, reader = _READERS[name]
                try:
                    read[attribute] = reader(value)
                except _UNREADABLE:
                    unreadable.append(name)
        status = read.get("status")
        if status not in FINAL:
            read.pop("ended_at", None)  # of an earlier end
        elif status is Status.SUCCEEDED:
            read.pop("error", None)  # of an earlier attempt
        if status is not Status.QUEUED:
            read.pop("waits_for", None)
        return cls(uid, tuple(unreadable), **read)

    @property
    def module(self) -> str:
        return self.api[0] if self.api else ""

    @property
    def method(self) -> str:
        return self.api[1] if self.api else ""

    @property
    def workflow(self) -> str:
        return self.call[0] if self.call else _text(self._note("workflow")) or ""

    @property
    def input(self) -> Any:
        return self.call[1] if self.call else None

    @property
    def caller(self) -> str | None:
        return _text(self._note("caller"))

    @property
    def config_version(self) -> str:
        """The version of the config that accepted it; empty for one that an earlier release has accepted."""
        return _text(self._note("config")) or ""

    @property
    def request_id(self) -> str:
        """The id of the request that started it: the one that the proxy in front has given it, else the uid."""
        given = self._note("request")
        return given if isinstance(given, str) and is_request_id(given) else self.uid

    @property
    def calls_back(self) -> tuple[str, str] | None:
        """The name of the callback that it is, and the uid of the execution that it tells of; None for any other."""
        to, of = self._note("to"), known_uid(self._note("of"))
        return (to, of) if self.workflow == CALLBACK_WORKFLOW and isinstance(to, str) and of is not None else None

    @property
    def secrets(self) -> tuple[tuple[str, ...], ...]:
        """The paths of the input's secrets. If they can't be read, all of it is secret."""
        paths = self._note("secrets", [])
        if isinstance(paths, list) and all(
            isinstance(path, list) and all(isinstance(key, str) for key in path) for path in paths
        ):
            return tuple(map(tuple, paths))
        return ((),)

    @property
    def headers(self) -> dict[str, str | None]:
        """The headers of the request that its API declares, by the API's names for them."""
        found = self._note("headers", {})
        return {str(name): _text(value) for name, value in found.items()} if isinstance(found, dict) else {}

    @property
    def debug(self) -> bool:
        return bool(self._note("debug"))

    @property
    def rerun_of(self) -> str | None:
        """The uid of the execution that this one repeats."""
        return known_uid(self._note("rerun_of"))

    @property
    def resumed_from(self) -> str | None:
        """The uid of the execution that this one goes on with."""
        return known_uid(self._note("resumed_from"))

    @property
    def operator(self) -> str | None:
        """Who started it from another one."""
        return _text(self._note("operator"))

    @property
    def began(self) -> float:
        """When its last run began, in seconds since 1970 by Redis' clock; 0 for one that never has."""
        return datetime.fromisoformat(self.started_at).timestamp() if self.started_at else 0.0

    @property
    def about(self) -> dict[str, Any]:
        """The names that log lines carry about it; only its uid where the hash is none of ours."""
        if not (self.api and self.workflow):
            return {"uid": self.uid}
        module, method = self.api
        names = {"module": module, "method": method, "workflow": self.workflow}
        return {"uid": self.uid, "request": self.request_id, **names}

    @property
    def is_ours(self) -> bool:
        """Whether the hash has what each execution of ours has; asked for with the fields LISTED, or more."""
        return None not in (self.status, self.api, self.meta)

    def why_not_run(self) -> str | None:
        """Return why no worker may run it, None if one may; what is asked about was read from the fields TAKEN."""
        if self.unreadable or self.call is None or self.api is None or self.meta is None:
            return f"the job in Redis can't be read ({', '.join(self.unreadable) or 'fields are missing'})"
        return None if self.call[2] else "the job in Redis does not start a workflow of the config"

    def _note(self, name: str, default: Any = None) -> Any:
        return default if self.meta is None else self.meta.get(name, default)


def stored(redis: Redis, uid: str, names: Sequence[str]) -> Stored:
    """Return an execution with these fields of its hash."""
    return Stored.from_hash(uid, names, cast(list[bytes | None], redis.hmget(JOB + uid, names)))


def all_stored(redis: Redis, uids: Sequence[str], names: Sequence[str]) -> list[Stored]:
    """Return executions with these fields of their hashes, in one round trip. A key that is no hash has no field."""
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        pipeline.hmget(JOB + uid, names)
    answers = pipeline.execute(raise_on_error=False) if uids else []
    return [
        Stored.from_hash(uid, names, answer if isinstance(answer, list) else [None] * len(names))
        for uid, answer in zip(uids, answers, strict=True)
    ]


def abouts(redis: Redis, uids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what log lines carry about each execution, in one round trip; just the uids while Redis can't answer."""
    try:
        return [execution.about for execution in all_stored(redis, uids, NAMED)]
    except RedisError:
        return [{"uid": uid} for uid in uids]


def _api(value: bytes) -> tuple[str, str]:
    module, method = value.decode().split("/")
    return module, method


def _call(value: bytes) -> tuple[str, Any, bool]:
    # What RQ's JSONSerializer writes of a call.
    try:
        value = zlib.decompress(value)
    except zlib.error:
        pass  # RQ, too, takes it as it is then: scripts can't compress
    function, instance, (workflow, input_), options = json.loads(value.decode())
    is_all = function == RUNNER and instance is None and not options and isinstance(workflow, str)
    return str(workflow), input_, is_all


def _object(value: bytes) -> dict[str, Any]:
    found = json.loads(value.decode())
    if not isinstance(found, dict):
        raise TypeError
    return found


def _callbacks(value: bytes) -> dict[str, str]:
    return {name: uid for name, found in _object(value).items() if (uid := known_uid(found))}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _runs(value: bytes) -> tuple[tuple[str, str], ...]:
    pairs = [line.split(b" ") for line in value.splitlines()]
    return tuple((read_rq_time(begin), read_rq_time(end)) for begin, end in pairs)


def _cut(value: bytes) -> tuple[int, str]:
    _, cut, upto, *_ = value.decode().split(" ")
    return int(cut), upto


def _whole(value: bytes) -> int:
    if not value.isdigit():
        raise ValueError
    return int(value)


_WAITS_FOR: Mapping[bytes, WaitsFor] = {word.encode(): word for word in get_args(WaitsFor)}

# By the name of a field of the hash: the attribute that is made of it, and how.
_READERS: Mapping[str, tuple[str, Callable[[bytes], Any]]] = {
    "status": ("status", lambda value: OF_RQ[value.decode()]),
    "description": ("api", _api),
    "data": ("call", _call),
    "body": ("body", zlib.decompress),
    "meta": ("meta", _object),
    "error": ("error", _object),
    "runs": ("runs", _runs),
    "callbacks": ("callbacks", _callbacks),
    "log": ("cut", _cut),
    "waits_for": ("waits_for", lambda value: _WAITS_FOR[value]),
    "unknown_since": ("unknown_since", lambda value: _whole(value) / 1000),
    **{name: (name, read_rq_time) for name in ("created_at", "started_at", "ended_at")},
    **{name: (name, _whole) for name in ("attempt", "failures", "crashes", "asked", "timeout", "merged")},
}
# What a reader of a field raises for what it can't read.
_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError, zlib.error)
