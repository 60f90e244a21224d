-- Cancels an execution.
-- KEYS: job
-- ARGV: uid, operator, short_list
-- An entry in a list longer than `short_list` is left to be dropped when its turn comes.
-- Answers RQ's word for what it is now; nil when there is no such execution.
-- USES: clock, cancelled, ending
local status, queue, worker, ttl = unpack(redis.call('HMGET', job, 'status', 'origin', 'worker_name', 'failure_ttl'))
if not status or not queue or FINAL[status] then
  return status
end
if status == 'started' then
  -- The field is what counts: the worker sees it at its next beat if the message gets lost.
  redis.call('HSETNX', job, 'cancel', operator)
  if worker and worker ~= '' then
    redis.call('PUBLISH', 'rq:pubsub:' .. worker, cjson.encode({command = 'stop-job', job_id = uid}))
  end
  return status
end
-- What RQ's Job.cancel writes, and our own of an execution that has ended. Removing comes first: it needs no memory.
redis.call('ZREM', WAITING .. queue, uid)
redis.call('ZREM', LEASED .. queue, uid)
redis.call('ZREM', 'rq:scheduled:' .. queue, uid)
if redis.call('LLEN', 'rq:queue:' .. queue) <= tonumber(short_list) then
  redis.call('LREM', 'rq:queue:' .. queue, 0, uid)
else
  redis.call('SADD', DROPPED .. queue, uid)
end
redis.call('HSET', job, 'status', 'canceled', 'ended_at', iso(), 'error', cancelled_error(operator))
redis.call('ZADD', 'rq:canceled:' .. queue, math.floor(seconds), uid)
ttl = whole(ttl) or 604800
conclude(uid, 'cancelled', ttl, nil, true)
redis.call('EXPIRE', RESULTS .. uid, ttl) -- of the attempts before
return 'canceled'
