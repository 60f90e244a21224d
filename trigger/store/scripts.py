"""The Lua steps of a worker: beat, release, reap (see `exchange` for the one that ends and takes). Each is atomic, so
nothing can be lost between two.

They write what RQ 3.0.0 writes at the same places (rq.executions, rq.worker.base, rq.results, rq.registry): a test
compares the two. Redis keys are built from uids here, so a Redis Cluster can't hold them.

A script's first write is chosen with care. A Redis that is out of memory refuses commands that need more of it, but
only until a script has written once: taking begins with such a command, so that it fails whole, and ending with one
that needs none, so that work once done is recorded; so do `beat`, `release` and `reap`, which free memory.
"""

from __future__ import annotations

from trigger import store

_KEYS = f"""
local WAITING, LEASED = '{store.WAITING}', '{store.LEASED}'
local STATS, POISON = '{store.STATS}', '{store.POISON}'
local REAPER, DROPPED = '{store.REAPER}', '{store.DROPPED}'
local STEPS = '{store.STEPS}'
"""

PRELUDE = (
    _KEYS
    + store.CLOCK
    + store.FINAL_WORDS
    + store.CANCELLED_ERROR
    + store.ENDING
    + """
local function job_key(uid)
  return 'rq:job:' .. uid
end

local function is_job(uid)
  return string.find(uid, '^[%w_-]+$') and redis.call('TYPE', job_key(uid)).ok == 'hash'
end

-- The entries that the script has put aside.
local poisoned = {}
local function poison(entry, why)
  entry = string.sub(entry, 1, 200)
  poisoned[#poisoned + 1] = entry
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
  local ttl, before = unpack(redis.call('HMGET', job, 'failure_ttl', 'status'))
  ttl = whole(ttl) or 604800
  redis.call('HSET', job, 'status', status, 'ended_at', iso(), 'last_heartbeat', iso(), 'error', err)
  redis.call('HDEL', job, 'execution')
  add_result(uid, ttl, {'type', '2', 'worker_name', worker, 'exc_string', exc}, execution, started)
  redis.call('ZADD', 'rq:failed:' .. queue, math.floor(seconds) + ttl, uid)
  conclude(uid, status == 'stopped' and 'cancelled' or 'failed', ttl, nil, before ~= 'started')
  redis.call('ZREM', WAITING .. queue, uid)
  redis.call('ZREM', LEASED .. queue, uid)
end

-- Keeps when a run began and ended, for the timeline of the record: the next one writes over it. Of the first hundred.
local function keep_run(job)
  local started, runs = unpack(redis.call('HMGET', job, 'started_at', 'runs'))
  if started and started ~= '' and #(runs or '') < 5600 then
    redis.call('HSET', job, 'runs', (runs or '') .. started .. ' ' .. iso() .. '\\n')
  end
end

-- A freed execution goes to the front (LPUSH) and keeps the time it was accepted, which its uid tells, but by the clock
-- of whoever accepted it: it is made no later than the former head. So the ledger stays in the order of the list, on
-- which the search for executions that are in no queue relies.
local function enqueue(queue, uid, push)
  local job = job_key(uid)
  local since = ms
  if push == 'LPUSH' then
    local head = redis.call('LINDEX', 'rq:queue:' .. queue, 0)
    local accepted = #uid == 25 and tonumber(uid)
    since = math.min(ms, accepted and math.floor(accepted / 2 ^ 40) or ms,
      head and tonumber(redis.call('ZSCORE', WAITING .. queue, head) or '') or ms)
  end
  redis.call('ZREM', LEASED .. queue, uid)
  redis.call('HSET', job, 'status', 'queued', 'enqueued_at', iso())
  redis.call('PERSIST', job)
  redis.call('HDEL', job, 'execution')
  redis.call(push, 'rq:queue:' .. queue, uid)
  redis.call('ZADD', WAITING .. queue, since, uid)
end

-- Has an execution wait until `due`, in ms.
local function schedule(queue, uid, due)
  local job = job_key(uid)
  redis.call('HSET', job, 'status', 'scheduled', 'last_heartbeat', iso())
  redis.call('HDEL', job, 'execution')
  redis.call('ZADD', LEASED .. queue, due, uid)
  redis.call('ZADD', 'rq:scheduled:' .. queue, math.floor(due / 1000), uid)
end

-- The pause after so many deaths in a row, in ms: none after the first, then 1 s, 3 s, 9 s, up to 5 minutes.
local function pause_after(crashes)
  return crashes < 2 and 0 or math.min(1000 * 3 ^ (crashes - 2), 300000)
end

-- Frees an execution whose worker or process is gone: back to the front of its queue, after a pause when it was not the
-- first death, failed when that was once too often, or stopped when that was what an operator wanted.
local function free(queue, uid, crashed, budget, err, exc)
  local job = job_key(uid)
  local execution, worker, crashes, cancel = unpack(
    redis.call('HMGET', job, 'execution', 'worker_name', 'crashes', 'cancel'))
  if execution then
    drop_execution(queue, uid, execution, worker)
  end
  keep_run(job)
  if cancel then
    fail(queue, uid, 'stopped', cancelled_error(cancel), '', worker or '', '', '')
    return 'cancelled'
  end
  if crashed then
    crashes = (whole(crashes) or 0) + 1
    redis.call('HSET', job, 'crashes', crashes)
    redis.call('HDEL', job, 'unknown_since')
    if crashes >= budget then
      fail(queue, uid, 'failed', err, exc, worker or '', '', '')
      return 'failed'
    end
  end
  count_attempt(uid, 'interrupted')
  local pause = crashed and pause_after(crashes) or 0
  if pause > 0 then
    schedule(queue, uid, ms + pause)
    return 'retrying'
  end
  enqueue(queue, uid, 'LPUSH')
  return 'queued'
end
"""
)

BEAT = (
    PRELUDE
    + """
-- KEYS: worker, its executions.  ARGV: queue, lease in ms, seconds the worker's key lives without a beat, uid and id of
-- the run that the worker has in hand, or '' twice. Only that one's lease is extended: for another that Redis may think
-- the worker has, there is no process.
-- Answers {registered, 1 while the run is this worker's, 1 when it is to be cancelled}.
local known = redis.call('EXPIRE', KEYS[1], ARGV[3])
if known == 1 then
  redis.call('HSET', KEYS[1], 'last_heartbeat', iso())
end
redis.call('EXPIRE', KEYS[2], 3600) -- of a worker that has died, the reaper takes out what it held
local uid, execution = ARGV[4], ARGV[5]
if uid == '' then
  return {known, 0, 0}
end
local job, composite = job_key(uid), uid .. ':' .. execution
local held, status, cancel = unpack(redis.call('HMGET', job, 'execution', 'status', 'cancel'))
if held ~= execution or status ~= 'started' then
  redis.call('SREM', KEYS[2], composite)
  return {known, 0, 0}
end
redis.call('ZADD', LEASED .. ARGV[1], ms + ARGV[2], uid)
redis.call('HSET', job, 'last_heartbeat', iso())
redis.call('HSET', 'rq:execution:' .. composite, 'last_heartbeat', string.format('%.6f', seconds))
return {known, 1, cancel and 1 or 0}
"""
)

RELEASE = (
    PRELUDE
    + """
-- KEYS: job, the worker's executions.  ARGV: queue, uid, execution id, 'crash' or 'stop', crash budget, error and
-- exc_string for a spent budget.
-- Answers 'queued', 'retrying', 'failed', 'cancelled', or 'lost' when the execution is no longer this worker's.
redis.call('SREM', KEYS[2], ARGV[2] .. ':' .. ARGV[3])
local held, state = unpack(redis.call('HMGET', KEYS[1], 'execution', 'status'))
if held ~= ARGV[3] or state ~= 'started' then
  return 'lost'
end
return free(ARGV[1], ARGV[2], ARGV[4] == 'crash', tonumber(ARGV[5]), ARGV[6], ARGV[7])
"""
)

REAP = (
    PRELUDE
    + """
-- KEYS: queue's list.  ARGV: queue, lease in ms, crash budget, error and exc_string for a spent one, retention in ms.
-- Answers {reaped uids, failed uids, due uids, milliseconds the oldest of those had no owner, entries put aside}.
local queue, grace, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local waiting, leased = WAITING .. queue, LEASED .. queue
local reaped, failed, due, oldest = {}, {}, {}, 0

redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, '-inf', math.floor(seconds))
redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, '-inf', math.floor(seconds))
redis.call('ZREMRANGEBYSCORE', 'rq:canceled:' .. queue, '-inf', math.floor(seconds - ARGV[6] / 1000))

-- When nobody has looked for half a lease, Redis was down or out of reach, or the machine stood still, and nobody could
-- beat. Then leases that ran out are not believed for as long again: whoever still lives beats until then.
local looked, hold = unpack(redis.call('HMGET', REAPER .. queue, 'looked', 'hold'))
hold = math.min(tonumber(hold or '') or 0, ms + grace / 2)
if ms - (tonumber(looked or '') or 0) > grace / 2 then
  hold = ms + grace / 2
end
redis.call('HSET', REAPER .. queue, 'looked', ms, 'hold', hold)

local expired = redis.call('ZRANGEBYSCORE', leased, '-inf', ms, 'WITHSCORES', 'LIMIT', 0, 200)
for i = 1, #expired, 2 do
  local uid, age = expired[i], ms - tonumber(expired[i + 1])
  if not is_job(uid) then
    redis.call('ZREM', leased, uid)
    poison(uid, 'the ledger names a job that does not exist')
  else
    local status = redis.call('HGET', job_key(uid), 'status')
    if status == 'started' then
      if ms >= hold then
        local ok, into = pcall(free, queue, uid, true, budget, ARGV[4], ARGV[5])
        if ok then
          into = into == 'failed' and failed or into ~= 'cancelled' and reaped or {}
          into[#into + 1] = uid
          oldest = math.max(oldest, age)
        else -- a key of it has another type: the others are not to wait for it
          poison(uid, 'it can not be taken back')
          redis.call('ZADD', leased, ms + 60000, uid)
        end
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
      if not FINAL[status] then
        poison(uid, 'its status can not be read')
      end
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
      if not FINAL[status] then
        poison(uid, 'its status can not be read')
      end
    end
  end
end

-- Workers whose key has run out.
for _, worker in ipairs(redis.call('SMEMBERS', 'rq:workers:' .. queue)) do
  if redis.call('EXISTS', worker) == 0 then
    redis.call('SREM', 'rq:workers:' .. queue, worker)
    redis.call('SREM', 'rq:workers', worker)
  end
end

if #reaped + #failed > 0 then
  redis.call('HINCRBY', STATS, 'reaped', #reaped + #failed)
end
return {reaped, failed, due, oldest, poisoned}
"""
)
