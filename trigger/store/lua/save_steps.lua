-- Writes how far the steps of a run are: fields and values of their hash.
-- KEYS: job, steps
-- ARGV: run, …
-- USES: announce
-- Answers 1, or 0 when the execution is no longer this run's: then nothing is written.
if redis.call('HGET', job, 'execution') ~= run or redis.call('HGET', job, 'status') ~= 'started' then
  return 0
end
-- The first write takes no memory, so that what is done is written down also where memory is full.
redis.call('PERSIST', steps)
redis.call('HSET', steps, unpack(ARGV, first_more))
announce(string.sub(steps, #STEPS + 1), 'steps')
return 1
