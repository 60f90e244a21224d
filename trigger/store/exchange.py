"""What a worker says to Redis in one round trip: how an execution has ended, and that it takes the next.

RQ's own worker makes twenty for the same. All of it is one Lua script, and so one sync of the append-only file.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from trigger.store import outcome
from trigger.store.job import FIELDS
from trigger.store.outcome import Outcome
from trigger.store.script import Script, pack
from trigger.store.scripts import PRELUDE

# How often what RQ's tools show of a busy worker, its state and its counts, is written, in seconds.
TELL = 0.25

_SCRIPT = (
    PRELUDE
    + """
-- ARGV, always the same: queue, worker, lease in ms, error and exc_string for an unreadable job.
-- What has ended: uid or '' for nothing, execution id, RQ's status, return value (base64) or '', error, exc_string, why
-- the job is to be put aside as unreadable or '', and for the status 'scheduled' the ms to its next attempt. Without an
-- error that one is no attempt of the whole: it goes on where it stands, as the same attempt. The status 'unknown' is
-- that of a run that has not begun, as the worker does not know the workflow: it comes again after the pause.
-- What is to be taken: execution id or '' for nothing, 1 if an earlier call with this id had no reply.
-- What is to be told about the worker: how many have succeeded and failed, how long it has worked in s, 1 to tell it in
-- any case, the state that is shown.
-- Answers {1 if what has ended was still this worker's, 1 if the worker was told about, what was taken}: uid or '', the
-- job's fields, entries put aside; or 'suspended' after `rq suspend`.
local queue, worker = ARGV[1], ARGV[2]
local waiting, leased, list = WAITING .. queue, LEASED .. queue, 'rq:queue:' .. queue
local held = 'rq:worker:' .. worker .. ':executions'

local function finish(uid, execution, status, value, err, exc, why, pause)
  local job = job_key(uid)
  local holder, state, ttl, cancel = unpack(
    redis.call('HMGET', job, 'execution', 'status', 'result_ttl', 'cancel'))
  if holder ~= execution or state ~= 'started' then
    redis.call('SREM', held, uid .. ':' .. execution)
    if not state then -- the job is gone; what RQ keeps about its run is to go too
      drop_execution(queue, uid, execution)
    end
    return 0
  end
  redis.call('ZREM', leased, uid)
  if why ~= '' then
    poison(uid, why)
  end
  if cancel and (status == 'scheduled' or status == 'stopped' or status == 'unknown') then
    status, err = 'stopped', cancelled_error(cancel)
  end
  local started = redis.call('HGET', 'rq:execution:' .. uid .. ':' .. execution, 'created_at')
  started = tonumber(started or '') and started or tostring(seconds)
  drop_execution(queue, uid, execution, worker)
  if status == 'finished' then
    local at = iso()
    ttl = whole(ttl) or 604800
    redis.call('HSET', job, 'status', 'finished', 'ended_at', at)
    -- A heart that has stopped tells nothing more: what is kept of an execution that has succeeded is kept short.
    redis.call('HDEL', job, 'execution', 'error', 'last_heartbeat')
    local result = {'type', '1', 'worker_name', worker}
    if value ~= '' then
      result[#result + 1] = 'return_value'
      result[#result + 1] = value
    end
    add_result(uid, ttl, result, execution, started)
    redis.call('ZADD', 'rq:finished:' .. queue, math.floor(seconds) + ttl, uid)
    conclude(uid, 'succeeded', ttl, seconds - started)
  elseif status == 'scheduled' then
    if err ~= '' then
      redis.call('HSET', job, 'error', err)
      redis.call('HINCRBY', job, 'failures', 1)
      count_attempt(uid, 'retried')
    else
      redis.call('HINCRBY', job, 'attempt', -1)
    end
    keep_run(job)
    redis.call('HDEL', job, 'unknown_since')
    schedule(queue, uid, ms + pause)
  elseif status == 'unknown' then
    redis.call('HSETNX', job, 'unknown_since', ms)
    redis.call('HINCRBY', job, 'attempt', -1)
    redis.call('HDEL', job, 'started_at')
    schedule(queue, uid, ms + pause)
  else
    fail(queue, uid, status, err, exc, worker, execution, started)
  end
  return 1
end

local function read(job)
  return redis.call('HMGET', job, __FIELDS__)
end

-- The uid and the fields of a job that is now this worker's; nil when nothing waits.
local function take(execution, err, exc)
  for _ = 1, 100 do
    local uid = redis.call('LINDEX', list, 0)
    if not uid then
      return
    end
    local job = job_key(uid)
    if not is_job(uid) then
      redis.call('LPOP', list)
      redis.call('ZREM', waiting, uid)
      if redis.call('SREM', DROPPED .. queue, uid) == 0 then -- else it was cancelled, and its record is gone
        poison(uid, 'the queue names a job that does not exist')
      end
    else
      local status, timeout, data, attempt = unpack(redis.call('HMGET', job, 'status', 'timeout', 'data', 'attempt'))
      if FINAL[status] then
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('SREM', DROPPED .. queue, uid)
      elseif status == 'started' or status == 'scheduled' then
        -- Its execution goes on elsewhere, and this entry stands in the list a second time. Whatever else has come to
        -- pass, the ledger has it: if nobody does it, it will be taken back.
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('ZADD', leased, 'NX', ms, uid)
      elseif status ~= 'queued' or not data or (whole(timeout) or 0) < 1 or (attempt and not whole(attempt)) then
        poison(uid, 'a field of its job can not be read')
        redis.call('LPOP', list)
        fail(queue, uid, 'failed', err, exc, worker, '', '')
      else
        local at, moment = iso(), string.format('%.6f', seconds)
        redis.call('HSET', job, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker,
          'execution', execution, 'attempt', (attempt or 0) + 1)
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('ZADD', leased, ms + ARGV[3], uid)
        redis.call('PERSIST', job)
        -- The lease is ours. RQ's own score must never run out, or whoever counts its registry would fail the job.
        local score, composite = math.floor(seconds) + timeout + 86400, uid .. ':' .. execution
        redis.call('ZADD', 'rq:wip:' .. queue, score, composite)
        redis.call('HSET', 'rq:execution:' .. composite, 'id', execution, 'job_id', uid, 'created_at', moment,
          'last_heartbeat', moment, 'worker_name', worker)
        redis.call('ZADD', 'rq:executions:' .. uid, score, execution)
        redis.call('SADD', held, composite)
        return uid, read(job)
      end
    end
  end
end

local ended = ARGV[6] == '' and 0 or finish(unpack(ARGV, 6, 13))
poisoned = {} -- whoever has ended it knows

local execution = ARGV[14]
local taken, uid, hash = false, nil, nil
if execution ~= '' then
  if ARGV[15] == '1' then
    for _, composite in ipairs(redis.call('SMEMBERS', held)) do
      local found = string.match(composite, '^([%w_-]+):' .. execution .. '$')
      if found and redis.call('HGET', job_key(found), 'execution') == execution then
        uid, hash = found, read(job_key(found))
      end
    end
  end
  if not uid and redis.call('EXISTS', 'rq:suspended') == 1 then
    taken = 'suspended'
  else
    if not uid then
      uid, hash = take(execution, ARGV[4], ARGV[5])
    end
    if uid or #poisoned > 0 then
      taken = {uid or '', hash or {}, poisoned}
    end
  end
end

local state = uid and 'busy' or 'idle'
local told = 0
if ARGV[19] == '1' or state ~= ARGV[20] then
  told = 1
  local key = 'rq:worker:' .. worker
  if redis.call('EXISTS', key) == 1 then -- else it is not registered (any more)
    redis.call('HSET', key, 'state', state)
    if ARGV[16] ~= '0' then
      redis.call('HINCRBY', key, 'successful_job_count', ARGV[16])
    end
    if ARGV[17] ~= '0' then
      redis.call('HINCRBY', key, 'failed_job_count', ARGV[17])
    end
    if tonumber(ARGV[18]) > 0 then
      redis.call('HINCRBYFLOAT', key, 'total_working_time', ARGV[18])
    end
  end
end
return {ended, told, taken}
""".replace("__FIELDS__", ", ".join(f"'{name}'" for name in FIELDS))
)
_ARGUMENTS = 20
_NAMES = tuple(name.encode() for name in FIELDS)

_NOTHING_ENDED = pack(*[b""] * 8)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of an execution that has ended. `seconds` is how long it took; `poison` says why its job is put aside as
    unreadable, if it is."""

    uid: str
    execution: str
    result: Outcome
    seconds: float = 0.0
    poison: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """An execution that this worker has now: its uid, the id of this run of it, and the those fields of its job that
    there are."""

    uid: str
    execution: str
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it. `ended` is False when the run was no longer this worker's to end; `poisoned` are queue entries
    that were put aside as unreadable."""

    ended: bool
    taken: Taken | None
    poisoned: tuple[str, ...] = ()
    suspended: bool = False


@dataclass(slots=True)
class _Tally:
    """What RQ's tools show of a worker and has not been told yet."""

    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0
    shown: str = ""  # the worker's state
    since: float = field(default_factory=time.monotonic)

    def count(self, ended: Ended) -> None:
        self.seconds += ended.seconds
        if ended.result.status == "finished":
            self.succeeded += 1
        elif ended.result.error:
            self.failed += 1

    def is_due(self) -> bool:
        return self.seconds > 0 and time.monotonic() - self.since >= TELL


class Exchange:
    """Ends and takes executions for one worker. `lease` is how long one is its own without a beat, in seconds.

    A call may be repeated with the same arguments when its reply was lost: what it has done already it does not do
    again, and it takes the execution that it has taken.
    """

    def __init__(self, redis: Redis, queue: str, worker: str, *, lease: float) -> None:
        self._script = Script(redis, _SCRIPT, _ARGUMENTS)
        unreadable = outcome.failed("UnreadableJob", "The job in Redis can't be read")
        self._same = pack(
            *map(str.encode, (queue, worker)),
            b"%d" % int(lease * 1000),
            *map(str.encode, (unreadable.error, unreadable.exc_string)),
        )
        self._unanswered: str | None = None  # the id of a take that has had no reply
        self._tally = _Tally()
        self._counted: Ended | None = None

    def __call__(self, ended: Ended | None = None, *, take: bool = True) -> Reply:
        """Ends what has ended, and takes the next execution if it is to.

        Raises what redis-py raises, also when the reply was lost.
        """
        tally = self._tally
        if ended is not None and ended is not self._counted:
            tally.count(ended)
            self._counted = ended
        repeated, execution = self._unanswered is not None, ""
        if take:
            execution = self._unanswered = self._unanswered or secrets.token_hex(6)
        ended_, told, taken = self._script(
            (
                self._same,
                _NOTHING_ENDED if ended is None else _packed(ended),
                pack(
                    execution.encode(),
                    b"%d" % repeated,
                    b"%d" % tally.succeeded,
                    b"%d" % tally.failed,
                    b"%.6f" % tally.seconds,
                    b"%d" % (tally.is_due() or not take),
                    tally.shown.encode(),
                ),
            )
        )
        if take:
            self._unanswered = None
        self._counted = None
        reply = _reply(ended_, taken, execution)
        if told:
            self._tally = _Tally(shown="busy" if reply.taken else "idle")
        return reply


def _packed(ended: Ended) -> bytes:
    result = ended.result
    texts = (
        ended.uid,
        ended.execution,
        result.status,
        result.return_value,
        result.error,
        result.exc_string,
        ended.poison,
        str(int(result.pause * 1000)),
    )
    return pack(*map(str.encode, texts))


def _reply(ended: int, taken: Any, execution: str) -> Reply:
    if taken is None:
        return Reply(bool(ended), None)
    if taken == b"suspended":
        return Reply(bool(ended), None, suspended=True)
    uid, values, poisoned = taken
    found = None
    if uid:
        pairs = zip(_NAMES, values, strict=True)
        found = Taken(uid.decode(), execution, {name: value for name, value in pairs if value is not None})
    return Reply(bool(ended), found, tuple(entry.decode("utf-8", "replace") for entry in poisoned))
