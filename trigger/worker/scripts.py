"""The Lua steps of a worker: take, beat, finish, release, reap. Each is atomic, so nothing can be lost between two.

They write what RQ 3.0.0 writes at the same places (rq.executions, rq.worker.base, rq.results, rq.registry): a test
compares the two. Redis keys are built from uids here, so a Redis Cluster can't hold them.

A script's first write is chosen with care. A Redis that is out of memory refuses commands that need more of it, but
only until a script has written once: `take` begins with such a command, so that it fails whole, and `finish` with one
that needs none, so that work once done is recorded.
"""

from __future__ import annotations

from trigger import executions

_KEYS = f"""
local WAITING, LEASED = '{executions.WAITING}', '{executions.LEASED}'
local INDEX, STATS, POISON = '{executions.INDEX}', '{executions.STATS}', '{executions.POISON}'
"""

_PRELUDE = (
    _KEYS
    + """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local seconds = now[1] + now[2] / 1000000

-- RQ's time text; the date from the day's number by the days-to-civil method of a proleptic Gregorian calendar.
local function iso()
  local day, rest = math.floor(now[1] / 86400), now[1] % 86400
  local z = day + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month,
    doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, now[2])
end

local function job_key(uid)
  return 'rq:job:' .. uid
end

local function is_job(uid)
  return string.find(uid, '^[%w_-]+$') and redis.call('TYPE', job_key(uid)).ok == 'hash'
end

local function poison(entry, why)
  redis.call('LPUSH', POISON, cjson.encode({at = iso(), entry = entry, reason = why}))
  redis.call('LTRIM', POISON, 0, 999)
  redis.call('HINCRBY', STATS, 'poisoned', 1)
end

-- Removes what RQ keeps about a running execution.
local function drop_execution(queue, uid, execution, worker)
  local composite = uid .. ':' .. execution
  redis.call('ZREM', 'rq:wip:' .. queue, composite)
  redis.call('DEL', 'rq:execution:' .. composite, 'rq:executions:' .. uid)
  if worker and worker ~= '' then
    redis.call('SREM', 'rq:worker:' .. worker .. ':executions', composite)
  end
end

-- Adds RQ's result of one run; `execution` is empty when the run itself is not known any more.
local function add_result(uid, ttl, result, execution, started)
  if execution ~= '' then
    for _, value in ipairs({'execution_id', execution, 'execution_started_at', started,
        'execution_ended_at', string.format('%.6f', seconds)}) do
      result[#result + 1] = value
    end
  end
  local key = 'rq:results:' .. uid
  redis.call('XADD', key, 'MAXLEN', '~', 10, '*', unpack(result))
  redis.call('EXPIRE', key, ttl)
end

-- Ends an execution as failed or stopped. `exc` is RQ's exc_string (compressed, base64), `err` our JSON error.
local function fail(queue, uid, status, err, exc, worker, execution, started)
  local job = job_key(uid)
  local ttl = tonumber(redis.call('HGET', job, 'failure_ttl') or '') or 604800
  redis.call('HSET', job, 'status', status, 'ended_at', iso(), 'last_heartbeat', iso(), 'error', err)
  redis.call('HDEL', job, 'execution')
  add_result(uid, ttl, {'type', '2', 'worker_name', worker, 'exc_string', exc}, execution, started)
  redis.call('ZADD', 'rq:failed:' .. queue, math.floor(seconds) + ttl, uid)
  redis.call('EXPIRE', job, ttl)
  redis.call('ZREM', WAITING .. queue, uid)
  redis.call('ZREM', LEASED .. queue, uid)
end

-- A freed execution goes to the front (LPUSH) and keeps the time it was accepted, which its uid tells: the ledger stays
-- in the order of the list, on which the search for executions that are in no queue relies.
local function enqueue(queue, uid, push)
  local job = job_key(uid)
  local since = push == 'LPUSH' and #uid == 25 and tonumber(uid)
  since = since and math.floor(since / 2 ^ 40) or ms
  redis.call('ZREM', LEASED .. queue, uid)
  redis.call('HSET', job, 'status', 'queued', 'enqueued_at', iso())
  redis.call('PERSIST', job)
  redis.call('HDEL', job, 'execution')
  redis.call(push, 'rq:queue:' .. queue, uid)
  redis.call('ZADD', WAITING .. queue, math.min(since, ms), uid)
end

-- Frees an execution whose worker is gone: back to the front of its queue, or failed when that was once too often.
local function free(queue, uid, crashed, budget, err, exc)
  local job = job_key(uid)
  local execution, worker = unpack(redis.call('HMGET', job, 'execution', 'worker_name'))
  if execution then
    drop_execution(queue, uid, execution, worker)
  end
  if crashed then
    if redis.call('HINCRBY', job, 'crashes', 1) >= budget then
      fail(queue, uid, 'failed', err, exc, worker or '', '', '')
      return 'failed'
    end
  end
  enqueue(queue, uid, 'LPUSH')
  return 'queued'
end
"""
)

TAKE = (
    _PRELUDE
    + """
-- KEYS: queue's list.  ARGV: queue, execution id, worker, lease in ms, error and exc_string for an unreadable job.
-- Answers the uid and the job's hash; nil when nothing waits; 'suspended' after `rq suspend`.
local queue, execution, worker = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', 'rq:suspended') == 1 then
  return 'suspended'
end
for _ = 1, 100 do
  local uid = redis.call('LINDEX', KEYS[1], 0)
  if not uid then
    return nil
  end
  if not is_job(uid) then
    poison(uid, 'the queue names a job that does not exist')
    redis.call('LPOP', KEYS[1])
    redis.call('ZREM', WAITING .. queue, uid)
  else
    local job = job_key(uid)
    local status, timeout, data, attempt = unpack(redis.call('HMGET', job, 'status', 'timeout', 'data', 'attempt'))
    if status ~= 'queued' then
      -- Its execution goes on elsewhere or has ended: this entry stands in the list a second time.
      redis.call('LPOP', KEYS[1])
      redis.call('ZREM', WAITING .. queue, uid)
    elseif not data or not tonumber(timeout or '') or (attempt and not string.find(attempt, '^%d+$')) then
      poison(uid, 'a field of its job can not be read')
      redis.call('LPOP', KEYS[1])
      fail(queue, uid, 'failed', ARGV[5], ARGV[6], worker, '', '')
    else
      local composite = uid .. ':' .. execution
      local at = iso()
      redis.call('HSET', job, 'status', 'started', 'started_at', at, 'last_heartbeat', at,
        'worker_name', worker, 'execution', execution)
      redis.call('HINCRBY', job, 'attempt', 1)
      redis.call('PERSIST', job)
      redis.call('LPOP', KEYS[1])
      redis.call('ZREM', WAITING .. queue, uid)
      redis.call('ZADD', LEASED .. queue, ms + ARGV[4], uid)
      -- The lease is ours. RQ's own score must never run out, or whoever counts its registry would fail the job.
      local ttl = tonumber(timeout) + 86400
      redis.call('ZADD', 'rq:wip:' .. queue, math.floor(seconds) + ttl, composite)
      local key = 'rq:execution:' .. composite
      redis.call('HSET', key, 'id', execution, 'job_id', uid, 'created_at', string.format('%.6f', seconds),
        'last_heartbeat', string.format('%.6f', seconds), 'worker_name', worker)
      redis.call('EXPIRE', key, ttl)
      redis.call('ZADD', 'rq:executions:' .. uid, math.floor(seconds) + ttl + 60, execution)
      redis.call('EXPIRE', 'rq:executions:' .. uid, ttl + 60)
      local executions = 'rq:worker:' .. worker .. ':executions'
      redis.call('SADD', executions, composite)
      redis.call('EXPIRE', executions, ttl + 60)
      redis.call('HSET', 'rq:worker:' .. worker, 'state', 'busy')
      return {uid, redis.call('HGETALL', job)}
    end
  end
end
return nil
"""
)

FINISH = (
    _PRELUDE
    + """
-- KEYS: job.  ARGV: queue, uid, execution id, worker, status, return value (base64) or '', error, exc_string.
-- Answers 1, or 0 when the execution is no longer this worker's to end.
local queue, uid, execution, worker, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = KEYS[1]
local held, state, ttl = unpack(redis.call('HMGET', job, 'execution', 'status', 'result_ttl'))
if held ~= execution or state ~= 'started' then
  return 0
end
redis.call('ZREM', LEASED .. queue, uid)
local started = redis.call('HGET', 'rq:execution:' .. uid .. ':' .. execution, 'created_at') or tostring(seconds)
drop_execution(queue, uid, execution, worker)
local key = 'rq:worker:' .. worker
if status == 'finished' then
  ttl = tonumber(ttl or '') or 604800
  redis.call('HSET', job, 'status', 'finished', 'ended_at', iso(), 'last_heartbeat', iso())
  redis.call('HDEL', job, 'execution', 'error')
  local result = {'type', '1', 'worker_name', worker}
  if ARGV[6] ~= '' then
    result[#result + 1] = 'return_value'
    result[#result + 1] = ARGV[6]
  end
  add_result(uid, ttl, result, execution, started)
  redis.call('ZADD', 'rq:finished:' .. queue, math.floor(seconds) + ttl, uid)
  redis.call('EXPIRE', job, ttl)
  redis.call('HINCRBY', key, 'successful_job_count', 1)
else
  fail(queue, uid, status, ARGV[7], ARGV[8], worker, execution, started)
  redis.call('HINCRBY', key, 'failed_job_count', 1)
end
redis.call('HINCRBYFLOAT', key, 'total_working_time', string.format('%.6f', seconds - tonumber(started)))
redis.call('HSET', key, 'state', 'idle')
return 1
"""
)

BEAT = (
    _PRELUDE
    + """
-- KEYS: worker, its executions.  ARGV: queue, lease in ms, seconds the worker's key lives without a beat.
-- Answers {registered, {composite, 1 while it is this worker's, milliseconds it has run, its timeout in s}, …}.
local known = redis.call('EXISTS', KEYS[1])
if known == 1 then
  redis.call('HSET', KEYS[1], 'last_heartbeat', iso())
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
local answer = {known}
for _, composite in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local uid, execution = string.match(composite, '^([%w_-]+):([%w_-]+)$')
  if uid then
    local job = job_key(uid)
    local held, status, timeout = unpack(redis.call('HMGET', job, 'execution', 'status', 'timeout'))
    if held == execution and status == 'started' then
      redis.call('ZADD', LEASED .. ARGV[1], ms + ARGV[2], uid)
      redis.call('HSET', job, 'last_heartbeat', iso())
      local key = 'rq:execution:' .. composite
      redis.call('HSET', key, 'last_heartbeat', string.format('%.6f', seconds))
      local created = tonumber(redis.call('HGET', key, 'created_at') or '') or seconds
      answer[#answer + 1] = {composite, 1, math.floor((seconds - created) * 1000), tonumber(timeout or '') or 0}
    else
      redis.call('SREM', KEYS[2], composite)
      answer[#answer + 1] = {composite, 0, 0, 0}
    end
  else
    redis.call('SREM', KEYS[2], composite)
  end
end
return answer
"""
)

RELEASE = (
    _PRELUDE
    + """
-- KEYS: job.  ARGV: queue, uid, execution id, 'crash' or 'stop', crash budget, error, exc_string for a spent budget.
-- Answers 'queued', 'failed', or 'lost' when the execution is no longer this worker's.
local held, state = unpack(redis.call('HMGET', KEYS[1], 'execution', 'status'))
if held ~= ARGV[3] or state ~= 'started' then
  return 'lost'
end
return free(ARGV[1], ARGV[2], ARGV[4] == 'crash', tonumber(ARGV[5]), ARGV[6], ARGV[7])
"""
)

REAP = (
    _PRELUDE
    + """
-- KEYS: queue's list.  ARGV: queue, grace in ms, crash budget, error and exc_string for a spent budget, 1 to take
-- expired leases back, retention in ms.
-- Answers {reaped uids, failed uids, due uids, milliseconds the oldest of those had no owner}.
local queue, grace, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local waiting, leased = WAITING .. queue, LEASED .. queue
local reaped, failed, due, oldest = {}, {}, {}, 0

local expired = redis.call('ZRANGEBYSCORE', leased, '-inf', ms, 'WITHSCORES', 'LIMIT', 0, 200)
for i = 1, #expired, 2 do
  local uid, age = expired[i], ms - tonumber(expired[i + 1])
  if not is_job(uid) then
    redis.call('ZREM', leased, uid)
    poison(uid, 'the ledger names a job that does not exist')
  else
    local status = redis.call('HGET', job_key(uid), 'status')
    if status == 'started' then
      if ARGV[6] == '1' then
        local into = free(queue, uid, true, budget, ARGV[4], ARGV[5]) == 'queued' and reaped or failed
        into[#into + 1] = uid
        oldest = math.max(oldest, age)
      end
    elseif status == 'scheduled' then
      redis.call('ZREM', 'rq:scheduled:' .. queue, uid)
      enqueue(queue, uid, 'RPUSH')
      due[#due + 1] = uid
    elseif status == 'queued' then
      redis.call('ZREM', leased, uid)
      redis.call('ZADD', waiting, tonumber(expired[i + 1]), uid)
    else
      redis.call('ZREM', leased, uid)
    end
  end
end

-- Whoever waits longer than the queue's head, and is not near it (where freed executions are put), is in no queue.
local horizon = ms - grace
local head = redis.call('LINDEX', KEYS[1], 0)
if head then
  local since = redis.call('ZSCORE', waiting, head)
  horizon = math.min(horizon, since and tonumber(since) - 1 or 0)
end
local near
local orphans = redis.call('ZRANGEBYSCORE', waiting, '-inf', horizon, 'WITHSCORES', 'LIMIT', 0, 100)
for i = 1, #orphans, 2 do
  local uid = orphans[i]
  if not is_job(uid) then
    redis.call('ZREM', waiting, uid)
    poison(uid, 'the ledger names a job that does not exist')
  else
    local status = redis.call('HGET', job_key(uid), 'status')
    if status == 'queued' then
      if not near then
        near = {}
        for _, other in ipairs(redis.call('LRANGE', KEYS[1], 0, 999)) do
          near[other] = true
        end
      end
      if not near[uid] then
        oldest = math.max(oldest, ms - tonumber(orphans[i + 1]))
        enqueue(queue, uid, 'LPUSH')
        reaped[#reaped + 1] = uid
      end
    elseif status == 'started' or status == 'scheduled' then
      redis.call('ZREM', waiting, uid)
      redis.call('ZADD', leased, ms, uid)
    else
      redis.call('ZREM', waiting, uid)
    end
  end
end

-- Workers whose key has run out, and index entries whose record has.
for _, worker in ipairs(redis.call('SMEMBERS', 'rq:workers:' .. queue)) do
  if redis.call('EXISTS', worker) == 0 then
    redis.call('SREM', 'rq:workers:' .. queue, worker)
    redis.call('SREM', 'rq:workers', worker)
  end
end
for _, uid in ipairs(redis.call('ZRANGEBYSCORE', INDEX, '-inf', ms - ARGV[7], 'LIMIT', 0, 500)) do
  if redis.call('EXISTS', job_key(uid)) == 0 then
    redis.call('ZREM', INDEX, uid)
  end
end
redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, '-inf', math.floor(seconds))
redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, '-inf', math.floor(seconds))

if #reaped + #failed > 0 then
  redis.call('HINCRBY', STATS, 'reaped', #reaped + #failed)
end
return {reaped, failed, due, oldest}
"""
)
