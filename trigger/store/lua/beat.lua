-- Says that a worker lives, and that it still has a run in hand.
-- KEYS: worker, held
-- ARGV: queue, lease, life, uid, run
--   `held` are the worker's executions; `lease` is in ms; `life` is how many seconds the worker's key lives without a
--   beat; `uid` and `run` are those of the run in hand, or '' twice. Only that one's lease is extended: for
--   another that Redis may think the worker has, there is no process.
-- USES: worker
-- Answers {registered, 1 while the run is this worker's, 1 when it is to be cancelled}.
local known = redis.call('EXPIRE', worker, life)
if known == 1 then
  redis.call('HSET', worker, 'last_heartbeat', iso())
end
redis.call('EXPIRE', held, 3600) -- of a worker that has died, the reaper takes out what it held
if uid == '' then
  return {known, 0, 0}
end
local job, composite = job_key(uid), uid .. ':' .. run
local holder, status, cancel = unpack(redis.call('HMGET', job, 'execution', 'status', 'cancel'))
if holder ~= run or status ~= 'started' then
  redis.call('SREM', held, composite)
  return {known, 0, 0}
end
redis.call('ZADD', LEASED .. queue, ms + lease, uid)
redis.call('HSET', job, 'last_heartbeat', iso())
redis.call('HSET', 'rq:execution:' .. composite, 'last_heartbeat', string.format('%.6f', seconds))
return {known, 1, cancel and 1 or 0}
