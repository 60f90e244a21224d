-- Takes back what dead workers held, queues what is due, and puts aside what can't be read.
-- KEYS: list
-- ARGV: queue, grace, budget, error, exc_string, retention
--   `grace` is how long a lease is, in ms; `budget` how many crashes an execution may have, and the next two are for
--   a spent one; `retention` is in ms.
-- USES: worker, taking_slots
-- Answers {reaped uids, failed uids, due uids, milliseconds the oldest of those had no owner, entries put aside}.
budget = tonumber(budget)
local waiting, leased = WAITING .. queue, LEASED .. queue
local reaped, failed, due, oldest = {}, {}, {}, 0

redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, '-inf', math.floor(seconds))
redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, '-inf', math.floor(seconds))
redis.call('ZREMRANGEBYSCORE', 'rq:canceled:' .. queue, '-inf', math.floor(seconds - retention / 1000))

-- When nobody has looked for half a lease, Redis was down or out of reach, or the machine stood still, and nobody could
-- beat. Then leases that ran out are not believed for as long again: whoever still lives beats until then.
local looked, hold = unpack(redis.call('HMGET', REAPER .. queue, 'looked', 'hold'))
hold = math.min(tonumber(hold or '') or 0, ms + grace / 2)
if ms - (tonumber(looked or '') or 0) > grace / 2 then
  hold = ms + grace / 2
end
redis.call('HSET', REAPER .. queue, 'looked', ms, 'hold', hold)

-- The status of an entry of one half of the ledger; nil for one that stands for no job, which is put aside.
local function status_of(half, uid)
  if is_job(uid) then
    return redis.call('HGET', job_key(uid), 'status')
  end
  redis.call('ZREM', half, uid)
  poison(uid, 'the ledger names a job that does not exist')
end

-- Takes an entry out of the ledger that is over, or puts it aside when that can't be read.
local function take_out(half, uid, status)
  redis.call('ZREM', half, uid)
  if not FINAL[status] then
    poison(uid, 'its status can not be read')
  end
end

local expired = redis.call('ZRANGEBYSCORE', leased, '-inf', ms, 'WITHSCORES', 'LIMIT', 0, 200)
for i = 1, #expired, 2 do
  local uid, age = expired[i], ms - tonumber(expired[i + 1])
  local status = status_of(leased, uid)
  if status == nil then
    -- it was put aside
  elseif status == 'started' then
    if ms >= hold then
      local ok, into = pcall(free, queue, uid, true, budget, error, exc_string)
      if ok then
        into = into == 'failed' and failed or into ~= 'cancelled' and reaped or {}
        into[#into + 1] = uid
        oldest = math.max(oldest, age)
      else -- a key of it has another type: the others are not to wait for it
        poison(uid, 'it can not be taken back')
        redis.call('ZADD', leased, ms + 60000, uid)
      end
    end
  elseif status == 'scheduled' or status == 'deferred' then
    redis.call('ZREM', 'rq:scheduled:' .. queue, uid)
    enter(queue, uid)
    due[#due + 1] = uid
  elseif status == 'queued' then
    redis.call('ZREM', leased, uid)
    redis.call('ZADD', waiting, tonumber(expired[i + 1]), uid)
  else
    take_out(leased, uid, status)
  end
end

-- Whoever waits longer than the queue's head, and is not near it (where freed executions are put), is in no queue.
local horizon = ms - grace
local head = redis.call('LINDEX', list, 0)
if head then
  local since = redis.call('ZSCORE', waiting, head)
  horizon = math.min(horizon, since and tonumber(since) - 1 or 0)
end
local near
local orphans = redis.call('ZRANGEBYSCORE', waiting, '-inf', horizon, 'WITHSCORES', 'LIMIT', 0, 100)
for i = 1, #orphans, 2 do
  local uid = orphans[i]
  local status = status_of(waiting, uid)
  if status == nil then
    -- it was put aside
  elseif status == 'queued' then
    if not near then
      near = {}
      for _, other in ipairs(redis.call('LRANGE', list, 0, 999)) do
        near[other] = true
      end
    end
    if not near[uid] then
      oldest = math.max(oldest, ms - tonumber(orphans[i + 1]))
      enqueue(queue, uid, 'LPUSH')
      reaped[#reaped + 1] = uid
    end
  elseif status == 'started' or status == 'scheduled' or status == 'deferred' then
    redis.call('ZREM', waiting, uid)
    redis.call('ZADD', leased, ms, uid)
  else
    take_out(waiting, uid, status)
  end
end

check_slots()

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
