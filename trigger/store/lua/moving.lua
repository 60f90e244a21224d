-- Moving an execution that is not final between its queue and what is due later.
-- USES: clock, announce

local function job_key(uid)
  return 'rq:job:' .. uid
end

-- Puts an execution into its queue. One that goes to the front (LPUSH) keeps the time it was accepted, which its uid
-- tells, but by the clock of whoever accepted it: it is made no later than the former head. So the ledger stays in the
-- order of the list, on which the search for executions that are in no queue relies.
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
  redis.call('HDEL', job, 'execution', 'waits_for')
  redis.call(push, 'rq:queue:' .. queue, uid)
  redis.call('ZADD', WAITING .. queue, since, uid)
  announce(uid, 'status')
end

-- Keeps an execution out of its queue until `due`, in ms, for a reason of ours: RQ calls that deferred.
local function defer(queue, uid, due, waits_for)
  redis.call('HSET', job_key(uid), 'status', 'deferred', 'waits_for', waits_for)
  redis.call('HDEL', job_key(uid), 'execution')
  redis.call('ZADD', LEASED .. queue, due, uid)
  redis.call('ZADD', 'rq:deferred:' .. queue, math.floor(seconds), uid)
  redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
  announce(uid, 'status')
end
