-- Gives an execution back that its worker can't end.
-- KEYS: job, held
-- ARGV: queue, uid, run, why, budget, error, exc_string
--   `why` is 'crash' or 'stop'; `budget` is how many crashes one may have, and what follows is for a spent one.
-- USES: worker
-- Answers 'queued', 'retrying', 'failed', 'cancelled', or 'lost' when the execution is no longer this worker's.
redis.call('SREM', held, uid .. ':' .. run)
local holder, state = unpack(redis.call('HMGET', job, 'execution', 'status'))
if holder ~= run or state ~= 'started' then
  return 'lost'
end
return free(queue, uid, why == 'crash', tonumber(budget), error, exc_string)
