-- Cancels an execution.
-- KEYS: job
-- ARGV: uid, operator, short_list
-- An entry in a list longer than `short_list` is left to be dropped when its turn comes.
-- Answers RQ's word for what it is now; nil when there is no such execution.
-- USES: cancelled, dropping
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
drop(uid, status, queue, ttl, tonumber(short_list), cancelled_error(operator))
return 'canceled'
