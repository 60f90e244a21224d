"""Accepting an execution: one Lua script in Redis writes RQ's job, its queue entry, the ledger and the index at once.

The script leaves exactly the keys and fields that RQ's own `Queue.enqueue` would (a test compares the two), so that
`rq info`, rq-dashboard and RQ's classes see an ordinary job. It is written out here because RQ needs two round trips
for it, the first of them outside the transaction.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq.job import Job as RqJob
from rq.queue import Queue as RqQueue

from trigger import executions
from trigger.config.model import Api, Config
from trigger.errors import ExecutionNotFound, IdempotencyMismatch, QueueUnavailable, TooManyRequests
from trigger.executions import Resumed

# The function every job of ours names. No worker imports it: our Job class runs the workflow of the config instead.
RUNNER = "trigger.worker.run"

# A caller has its answer within 2 seconds, also when Redis hangs: one reply is waited for at most REPLY_TIMEOUT, and a
# lost one is asked for again until ACCEPT_DEADLINE, both in seconds.
REPLY_TIMEOUT = 0.7
ACCEPT_DEADLINE = 1.5
PAUSE = 0.05
# After a deadline was missed, calls are refused at once for so many seconds: waiting threads would starve the others.
BREAK = 0.5

_ACCEPT = f"""
-- KEYS: job, queue, rq:queues, waiting, index, idempotency or '', index of the API, names of APIs; to resume, the steps
-- of the execution that has ended, and those of the new one.
-- ARGV: uid, queue key, backlog, milliseconds, idempotency in s, digest of the input, field, value, …; to resume, what
-- to take over, as JSON.
local API_INDEX = '{executions.API_INDEX}'
"""
_ACCEPT += """
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- Our own call, repeated after its reply was lost, finds the very fields it wrote; anything else is a collision.
  if redis.call('HGET', KEYS[1], 'created_at') == ARGV[8] and redis.call('HGET', KEYS[1], 'data') == ARGV[10] then
    return 'accepted'
  end
  return 'taken'
end
if KEYS[6] ~= '' then
  local first = redis.call('GET', KEYS[6])
  if first then
    local uid, digest = string.match(first, '^(%d+) (%x+)$')
    return digest == ARGV[6] and uid or 'mismatch'
  end
end
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[3]) then
  return 'full'
end
local last = #ARGV
if KEYS[10] then
  last = last - 1
  local resumed = cjson.decode(ARGV[#ARGV])
  if redis.call('COPY', KEYS[9], KEYS[10]) == 0 and resumed.has_finished then
    return 'gone'
  end
  redis.call('PERSIST', KEYS[10])
  for _, name in ipairs(resumed.unfinished) do
    redis.call('HDEL', KEYS[10], name)
  end
  redis.call('HSET', KEYS[10], '', resumed.plan)
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], unpack(ARGV, 7, last))
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[7], ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[8], 0, string.sub(KEYS[7], #API_INDEX + 1))
if KEYS[6] ~= '' then
  redis.call('SET', KEYS[6], ARGV[1] .. ' ' .. ARGV[6], 'EX', ARGV[5])
end
return 'accepted'
"""


def connect(url: str, *, reply_timeout: float | None = REPLY_TIMEOUT) -> Redis:
    """A Redis client for `url` that never retries by itself: who calls knows what may be repeated.

    `reply_timeout`: how long a reply is waited for, in seconds.
    """
    pool = ConnectionPool.from_url(
        url,
        socket_timeout=reply_timeout,
        socket_connect_timeout=REPLY_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis(connection_pool=pool)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API, checked and ready to be accepted.

    `secrets` are the paths of its input's secret fields; `key` is the caller's Idempotency-Key;
    `rerun_of` the uid of the execution that an operator repeats; `resumed` what is taken over from the one that an
    operator goes on with.
    """

    api: Api
    input: Any
    caller: str | None
    secrets: Sequence[Sequence[str]] = ()
    debug: bool = False
    key: str | None = None
    rerun_of: str | None = None
    resumed: Resumed | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The uid that answers a call; `replayed` when an earlier call with the same Idempotency-Key has started it."""

    uid: str
    replayed: bool = False


class Submitter:
    """Puts calls onto their workflow's RQ queue."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._accept = redis.register_script(_ACCEPT)
        self._lock = threading.Lock()
        self._broken_until = 0.0

    def submit(self, call: Call, config: Config) -> Accepted:
        """Accepts a call in one round trip and returns its execution's uid once Redis has confirmed it.

        Raises QueueUnavailable when Redis can't take it within ACCEPT_DEADLINE, TooManyRequests when the queue is full,
        IdempotencyMismatch when the caller has used the key for another input, ExecutionNotFound when what the call takes
        over is gone meanwhile.
        """
        now = time.monotonic()
        if now < self._broken_until:
            raise _unavailable()
        deadline = now + ACCEPT_DEADLINE
        queue = call.api.workflow.queue
        queue_key = RqQueue.redis_queue_namespace_prefix + queue
        idempotency_key, digest = _idempotency(call) if call.key is not None else ("", "")
        while True:
            uid = executions.new_uid()
            keys = [
                RqJob.key_for(uid),
                queue_key,
                RqQueue.redis_queues_keys,
                executions.waiting_key(queue),
                executions.INDEX,
                idempotency_key,
                executions.api_index_key(call.api.module, call.api.method),
                executions.APIS,
            ]
            milliseconds = int(uid) >> 40
            options = [config.server.backlog, milliseconds, math.ceil(config.idempotency), digest]
            args = [uid, queue_key, *options, *job_fields(call, retention=config.retention)]
            if call.resumed is not None:
                keys += [executions.STEPS + call.resumed.uid, executions.STEPS + uid]
                args.append(_taken_over(call.resumed))
            match self._until(deadline, keys, args):
                case b"accepted":
                    return Accepted(uid)
                case b"full":
                    raise TooManyRequests(
                        "Too many executions are waiting; try again later", headers={"Retry-After": "10"}
                    )
                case b"mismatch":
                    raise IdempotencyMismatch("The Idempotency-Key was used with another input")
                case b"gone":
                    raise ExecutionNotFound("The execution's record has been kept long enough and is gone")
                case b"taken":
                    continue  # somebody else's uid, by a chance of one in 2^40 within the same millisecond
                case first:
                    return Accepted(first.decode(), replayed=True)

    def _until(self, deadline: float, keys: list[str], args: list[Any]) -> bytes:
        """Runs the script, again with the same uid while its reply is lost and the deadline allows."""
        while True:
            try:
                reply: bytes = self._accept(keys=keys, args=args)
            except (RedisConnectionError, RedisTimeoutError) as error:
                left = deadline - time.monotonic()
                if left < PAUSE:
                    self._break()
                    raise _unavailable() from error
                time.sleep(PAUSE)
            except ResponseError as error:
                # Out of memory, read-only, a full disk: Redis says no at once, and will again.
                raise _unavailable() from error
            except RedisError as error:
                raise _unavailable() from error
            else:
                return reply

    def _break(self) -> None:
        with self._lock:
            self._broken_until = time.monotonic() + BREAK


def job_fields(call: Call, *, retention: float) -> list[Any]:
    """The fields and values of the RQ job hash for a call, as `rq.job.Job.to_dict` orders and formats them.

    `created_at` and `data` come first: the accept script looks at them to know its own job again.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    workflow = call.api.workflow
    meta: dict[str, Any] = {
        "module": call.api.module,
        "method": call.api.method,
        "caller": call.caller,
        "workflow": workflow.name,
    }
    if call.secrets:
        meta["secrets"] = call.secrets
    if call.debug:
        meta["debug"] = True
    if call.rerun_of:
        meta["rerun_of"] = call.rerun_of
    if call.resumed is not None:
        meta["resumed_from"] = call.resumed.uid
    ttl = math.ceil(retention)
    return [
        "created_at",
        now,
        "data",
        zlib.compress(json.dumps((RUNNER, None, (workflow.name, call.input), {})).encode()),
        "success_callback_name",
        "",
        "failure_callback_name",
        "",
        "stopped_callback_name",
        "",
        "started_at",
        "",
        "ended_at",
        "",
        "last_heartbeat",
        "",
        "worker_name",
        "",
        "group_id",
        "",
        "origin",
        workflow.queue,
        # RQ's default description holds the arguments, and its tools show and log it.
        "description",
        f"{call.api.module}/{call.api.method}",
        "enqueued_at",
        now,
        "timeout",
        math.ceil(workflow.timeout),
        "result_ttl",
        ttl,
        "failure_ttl",
        ttl,
        "status",
        "queued",
        "meta",
        json.dumps(meta).encode(),
    ]


def _taken_over(resumed: Resumed) -> str:
    return json.dumps(
        {"plan": resumed.plan, "unfinished": resumed.unfinished, "has_finished": resumed.has_finished}
    )


def _idempotency(call: Call) -> tuple[str, str]:
    """The Redis key that stands for a call's Idempotency-Key, apart for each API and caller, and its input's digest."""
    scope = json.dumps([call.api.module, call.api.method, call.caller, call.key])
    content = json.dumps(call.input, sort_keys=True)
    return executions.idempotency_key(_sha256(scope)), _sha256(content)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unavailable() -> QueueUnavailable:
    return QueueUnavailable("The queue can't take the call now; try again", headers={"Retry-After": "1"})
