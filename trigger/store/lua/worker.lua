-- What the scripts of a worker share: beat, release, reap, and the exchange of what has ended for what comes next.
-- USES: clock, cancelled, ending
-- They write what RQ 3.0.0 writes at the same places (rq.executions, rq.worker.base, rq.results, rq.registry): a test
-- compares the two. Redis keys are built from uids here, so a Redis Cluster can't hold them.
-- A script's first write is chosen with care. A Redis that is out of memory refuses commands that need more of it, but
-- only until a script has written once: taking begins with such a command, so that it fails whole, and ending with one
-- that needs none, so that work once done is recorded; so do `beat`, `release` and `reap`, which free memory.

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

-- Removes what RQ keeps about a run.
local function drop_run(queue, uid, run, worker)
  local composite = uid .. ':' .. run
  redis.call('ZREM', 'rq:wip:' .. queue, composite)
  redis.call('DEL', 'rq:execution:' .. composite, 'rq:executions:' .. uid)
  if worker and worker ~= '' then
    redis.call('SREM', 'rq:worker:' .. worker .. ':executions', composite)
  end
end

-- Adds RQ's result of one run; `run` is empty when the run itself is not known any more.
local function add_result(uid, ttl, result, run, started)
  if run ~= '' then
    for _, value in ipairs({'execution_id', run, 'execution_started_at', started,
        'execution_ended_at', string.format('%.6f', seconds)}) do
      result[#result + 1] = value
    end
  end
  local key = 'rq:results:' .. uid
  redis.call('XADD', key, 'MAXLEN', '~', 10, '*', unpack(result))
  redis.call('EXPIRE', key, ttl)
end

-- Ends an execution as failed or stopped. `exc` is RQ's exc_string (compressed, base64), `err` our JSON error.
local function fail(queue, uid, status, err, exc, worker, run, started)
  local job = job_key(uid)
  local ttl, before = unpack(redis.call('HMGET', job, 'failure_ttl', 'status'))
  ttl = whole(ttl) or 604800
  redis.call('HSET', job, 'status', status, 'ended_at', iso(), 'last_heartbeat', iso(), 'error', err)
  redis.call('HDEL', job, 'execution')
  add_result(uid, ttl, {'type', '2', 'worker_name', worker, 'exc_string', exc}, run, started)
  redis.call('ZADD', 'rq:failed:' .. queue, math.floor(seconds) + ttl, uid)
  conclude(uid, status == 'stopped' and 'cancelled' or 'failed', ttl, nil, before ~= 'started')
  redis.call('ZREM', WAITING .. queue, uid)
  redis.call('ZREM', LEASED .. queue, uid)
end

-- Keeps when a run began and ended, for the timeline of the record: the next one writes over it. Of the first hundred.
local function keep_run(job)
  local started, runs = unpack(redis.call('HMGET', job, 'started_at', 'runs'))
  if started and started ~= '' and #(runs or '') < 5600 then
    redis.call('HSET', job, 'runs', (runs or '') .. started .. ' ' .. iso() .. '\n')
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
  announce(uid, 'status')
end

-- Has an execution wait until `due`, in ms.
local function schedule(queue, uid, due)
  local job = job_key(uid)
  redis.call('HSET', job, 'status', 'scheduled', 'last_heartbeat', iso())
  redis.call('HDEL', job, 'execution')
  redis.call('ZADD', LEASED .. queue, due, uid)
  redis.call('ZADD', 'rq:scheduled:' .. queue, math.floor(due / 1000), uid)
  announce(uid, 'status')
end

-- The pause after so many deaths in a row, in ms: none after the first, then 1 s, 3 s, 9 s, up to 5 minutes.
local function pause_after(crashes)
  return crashes < 2 and 0 or math.min(1000 * 3 ^ (crashes - 2), 300000)
end

-- Frees an execution whose worker or process is gone: back to the front of its queue, after a pause when it was not the
-- first death, failed when that was once too often, or stopped when that was what an operator wanted.
local function free(queue, uid, crashed, budget, err, exc)
  local job = job_key(uid)
  local run, worker, crashes, cancel = unpack(
    redis.call('HMGET', job, 'execution', 'worker_name', 'crashes', 'cancel'))
  if run then
    drop_run(queue, uid, run, worker)
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
