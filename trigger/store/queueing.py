"""Accepting an execution: one Lua script in Redis writes RQ's job, its queue entry, the ledger and the index at once.

The script leaves the keys and fields that RQ's own `Queue.enqueue` would, but for empty fields (a test compares the
two), so that `rq info`, rq-dashboard and RQ's classes see an ordinary job. It is written out here because RQ needs two
round trips for it, the first of them outside the transaction.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from trigger import store
from trigger.config.model import Api, Config, Rate, SignatureAuth
from trigger.errors import ExecutionNotFound, IdempotencyMismatch, QueueUnavailable, RequestError, TooManyRequests
from trigger.store import Breaker, Resumed
from trigger.store.conditions import Limits
from trigger.store.keys import RUNNER
from trigger.store.lua import load
from trigger.store.script import Script, pack

# A caller has its answer within 2 seconds, also when Redis hangs: one reply is waited for at most REPLY_TIMEOUT, and a
# lost one is asked for again until ACCEPT_DEADLINE, both in seconds.
REPLY_TIMEOUT = 0.7
ACCEPT_DEADLINE = 1.5
PAUSE = 0.05
# The most connections of a client. One more caller waits for one that is free, as long as for a reply.
CONNECTIONS = 64

# For how many seconds a call may be repeated as its reply was lost, and what that has waited for Redis.
REPEATED_FOR = 10
_ACCEPT, _ACCEPT_LIMITED = load("accept"), load("accept_limited", REPEATED_FOR=REPEATED_FOR)
# In which order _Form and Submitter.submit pack its arguments.
_PACKED = (
    *("queue", "api", "timeout", "life", "backlog", "remember_for"),
    *("meta", "uid", "uid_ms", "created_at", "data", "body", "remembered", "digest", "resumed"),
)

# Up to so many bytes are compressed with a small window: zlib's usual one costs ten times as much to set up.
_SMALL = 512
_NOT_REMEMBERED = pack(b"", b"")
_NOT_RESUMED = pack(b"")


def connect(url: str, *, reply_timeout: float | None = REPLY_TIMEOUT) -> Redis:
    """A Redis client for `url` that never retries by itself: who calls knows what may be repeated.

    `reply_timeout`: how long a reply is waited for, in seconds.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=REPLY_TIMEOUT,
        socket_timeout=reply_timeout,
        socket_connect_timeout=REPLY_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis(connection_pool=pool)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API, checked and ready to be accepted.

    `secrets` are the paths of its input's secret fields; `key` is the caller's Idempotency-Key, or what
    counts as one: the id of a sender's delivery (`is_delivery`);
    `rerun_of` the uid of the execution that an operator repeats; `resumed` what is taken over from the one that an
    operator goes on with; `operator` who does so; `request` the id that the proxy in front has given the request;
    `headers` those that the API declares, by its names for them; `body` the bytes of the request's body, None where
    there was none to be had: it is kept only where the workflow needs it. `uid` is that of the execution, where it is
    part of its input; else one is made. `compared` stands for the input where a key is used again; None for the input
    itself. `limits` is what the call counts against.
    """

    api: Api
    input: Any
    caller: str | None
    secrets: Sequence[Sequence[str]] = ()
    debug: bool = False
    key: str | None = None
    is_delivery: bool = False
    rerun_of: str | None = None
    resumed: Resumed | None = None
    operator: str | None = None
    request: str | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    uid: str | None = None
    compared: str | None = field(default=None, repr=False)
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What a rate leaves: so many calls now, and `seconds` to when it lets all through again, or the next one."""

    name: str
    rate: Rate
    left: int
    seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell a caller, as in draft-ietf-httpapi-ratelimit-headers."""
        rate = self.rate
        return {
            "RateLimit": f'"{self.name}";r={self.left};t={self.seconds}',
            "RateLimit-Policy": f'"{self.name}";q={rate.limit};w={rate.seconds:.0f}',
        }


@dataclass(frozen=True, slots=True)
class Accepted:
    """The uid that answers a call; `replayed` when an earlier call with the same Idempotency-Key has started it,
    `merged` when the call has become part of an execution that another one has started. `quota` is what the API's rate
    leaves, None where that was not looked at."""

    uid: str
    replayed: bool = False
    merged: bool = False
    quota: Quota | None = None

    @property
    def outcome(self) -> str:
        """What the call counts as."""
        return "replayed" if self.replayed else "merged" if self.merged else "accepted"


class Submitter:
    """Puts calls onto their workflow's RQ queue."""

    def __init__(self, redis: Redis) -> None:
        self._accept = Script(redis, _ACCEPT, _PACKED)
        self._accept_limited = Script(redis, _ACCEPT_LIMITED, (*_PACKED, "limits"), self._accept)
        self._forms: dict[tuple[str, str], _Form] = {}
        self._clock = _Clock()
        self._breaker = Breaker()

    def check(self) -> None:
        """Raises QueueUnavailable while Redis is known not to answer."""
        if self._breaker.is_broken:
            raise _unavailable()

    def submit(self, call: Call, config: Config) -> Accepted:
        """Accepts a call in one round trip and returns its execution's uid once Redis has confirmed it.

        Raises QueueUnavailable when Redis can't take it within ACCEPT_DEADLINE, TooManyRequests when the queue is full
        or a limit of the API refuses the call, IdempotencyMismatch when the caller has used the key for another input,
        ExecutionNotFound when what the call takes over is gone meanwhile.
        """
        self.check()
        deadline = time.monotonic() + ACCEPT_DEADLINE
        form = self._form(call.api, config)
        data = form.data(call.input)
        body = zlib.compress(call.body) if form.keeps_body and call.body is not None else b""
        remembered = _NOT_REMEMBERED if call.key is None else pack(*_idempotency(call))
        resumed = _NOT_RESUMED if call.resumed is None else pack(json.dumps(asdict(call.resumed)).encode())
        while True:
            uid = call.uid or store.new_uid()
            own = pack(uid.encode(), b"%d" % (int(uid) >> 40), self._clock(), data, body)
            arguments = (form.same, form.meta(call), own, remembered, resumed)
            if call.limits is None:
                answer = _unlimited(self._until(deadline, self._accept, arguments), uid)
            else:
                packed = pack(json.dumps(call.limits).encode())
                answer = _limited(self._until(deadline, self._accept_limited, (*arguments, packed)), call.api)
            if answer is not None:
                return answer
            if call.uid:
                raise _unavailable()
            # It is somebody else's uid, by a chance of one in 2^40 within the same millisecond.

    def _form(self, api: Api, config: Config) -> _Form:
        key = (api.module, api.method)
        form = self._forms.get(key)
        if form is None or form.api is not api or form.config is not config:
            form = self._forms[key] = _Form(api, config)
        return form

    def _until(self, deadline: float, accept: Script, arguments: Sequence[bytes]) -> Any:
        """Runs the script, again with the same uid while its reply is lost and the deadline allows."""
        while True:
            try:
                reply = accept(arguments)
            except (RedisConnectionError, RedisTimeoutError) as error:
                left = deadline - time.monotonic()
                if left < PAUSE:
                    self._breaker.trip()
                    raise _unavailable() from error
                time.sleep(PAUSE)
            except ResponseError as error:
                # Out of memory, read-only, a full disk: Redis says no at once, and will again.
                raise _unavailable() from error
            except RedisError as error:
                raise _unavailable() from error
            else:
                return reply


def _unlimited(reply: bytes, uid: str) -> Accepted | None:
    """Read the reply of accept.lua to a call with this uid: None when that is another's. Raises as `submit`."""
    match reply:
        case b"accepted":
            return Accepted(uid)
        case b"taken":
            return None
        case b"full" | b"mismatch" | b"gone":
            raise _refusal(reply)
        case first:
            return Accepted(first.decode(), replayed=True)


def _limited(reply: Sequence[Any], api: Api) -> Accepted | None:
    """Likewise of accept_limited.lua."""
    word, uid, left, us = reply
    quota = None if api.rate is None or left < 0 else Quota(api.method, api.rate, left, math.ceil(us / 1e6))
    match word:
        case b"accepted" | b"merged" | b"replayed":
            return Accepted(uid.decode(), replayed=word == b"replayed", merged=word == b"merged", quota=quota)
        case b"taken":
            return None
        case _:
            raise _refusal(word, quota)


def _refusal(word: bytes, quota: Quota | None = None) -> RequestError:
    """Return the error that a word of the scripts stands for."""
    match word:
        case b"rate" if quota is not None:
            again = max(1, quota.seconds)
            headers = {"Retry-After": f"{again}", **quota.headers}
            message = f"This API is called too often; try again in {again} s"
            return TooManyRequests(message, details={"policy": "rate"}, headers=headers)
        case b"concurrency":
            message = "Too many executions of this API are under way; try again later"
            headers = {"Retry-After": "1", **(quota.headers if quota else {})}
            return TooManyRequests(message, details={"policy": "concurrency"}, headers=headers)
        case b"full":
            message = "Too many executions are waiting; try again later"
            return TooManyRequests(message, details={"policy": "backlog"}, headers={"Retry-After": "10"})
        case b"mismatch":
            return IdempotencyMismatch("The Idempotency-Key was used with another input")
        case _:
            return ExecutionNotFound("The execution's record is no longer kept")


class _Form:
    """The arguments that are the same in every call of an API under one config, packed once; see _ACCEPT.

    The job's fields are those that `rq.job.Job.to_dict` writes, formatted as there, without those that are empty: RQ
    reads what is not there as empty.
    """

    __slots__ = ("_before", "_metas", "_version", "api", "config", "keeps_body", "same")

    def __init__(self, api: Api, config: Config) -> None:
        self.api, self.config = api, config
        workflow = api.workflow
        self.keeps_body = workflow.needs_body
        once = api.auth.once if isinstance(api.auth, SignatureAuth) else None
        numbers = (workflow.timeout, config.retention, config.server.backlog, once or config.idempotency)
        self.same = pack(
            workflow.queue.encode(),
            # RQ's default description holds the arguments, and its tools show and log it.
            f"{api.module}/{api.method}".encode(),
            *(b"%d" % math.ceil(number) for number in numbers),
        )
        # Of [function, instance, arguments, keyword arguments], as RQ's JSONSerializer writes them.
        self._before = f'["{RUNNER}", null, [{json.dumps(workflow.name)}, '
        self._version = config.version
        self._metas: dict[str | None, bytes] = {}  # by caller: the names in the config

    def meta(self, call: Call) -> bytes:
        """The packed meta of a call's job."""
        usual = not (call.debug or call.rerun_of or call.resumed or call.operator or call.request or call.headers)
        packed = self._metas.get(call.caller) if usual else None
        if packed is None:
            packed = pack(json.dumps(_meta(call, self._version)).encode())
            if usual:
                self._metas[call.caller] = packed
        return packed

    def data(self, value: Any) -> bytes:
        """The job's data: what RQ is to call, and the input."""
        text = f"{self._before}{json.dumps(value)}], {{}}]".encode()
        if len(text) > _SMALL:
            return zlib.compress(text)
        small = zlib.compressobj(1, zlib.DEFLATED, 9, 1)
        return small.compress(text) + small.flush()


def _meta(call: Call, version: str) -> dict[str, Any]:
    # The API is the description.
    meta: dict[str, Any] = {"caller": call.caller, "workflow": call.api.workflow.name, "config": version}
    if call.secrets:
        meta["secrets"] = call.secrets
    if call.debug:
        meta["debug"] = True
    if call.rerun_of:
        meta["rerun_of"] = call.rerun_of
    if call.resumed is not None:
        meta["resumed_from"] = call.resumed.uid
    if call.operator:
        meta["operator"] = call.operator
    if call.request:
        meta["request"] = call.request
    if call.headers:
        meta["headers"] = call.headers
    if call.api.callbacks:
        meta["callbacks"] = call.api.callbacks
    return meta


class _Clock:
    """The time in RQ's form, of which all but the fraction is the same for many calls."""

    def __init__(self) -> None:
        self._second = (-1, "")

    def __call__(self) -> bytes:
        second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        known, written = self._second
        if known != second:
            written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, written
        return f"{written}.{microseconds:06d}Z".encode()


def _idempotency(call: Call) -> tuple[bytes, bytes]:
    """The Redis key that stands for a call's Idempotency-Key, apart for each API and caller, and its input's digest; or
    for a sender's delivery, apart for each API and what is declared of its headers."""
    if call.is_delivery:  # it is the same event, whichever secret it is signed with, and whatever else has changed
        scope = json.dumps([call.api.module, call.api.method, "delivery", call.key, call.headers], sort_keys=True)
        return store.idempotency_key(_sha256(scope)).encode(), _sha256("").encode()
    scope = json.dumps([call.api.module, call.api.method, call.caller, call.key])
    content = json.dumps(call.input, sort_keys=True) if call.compared is None else call.compared
    return store.idempotency_key(_sha256(scope)).encode(), _sha256(content).encode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unavailable() -> QueueUnavailable:
    return QueueUnavailable("The queue can't take the call now; try again", headers={"Retry-After": "1"})
