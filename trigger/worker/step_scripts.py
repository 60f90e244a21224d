"""The Lua step of the runner of steps: it writes down how far an execution has come."""

from __future__ import annotations

SAVE = """
-- KEYS: job, its steps.  ARGV: execution id, field, value, …
-- Answers 1, or 0 when the execution is no longer this run's: then nothing is written.
if redis.call('HGET', KEYS[1], 'execution') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'status') ~= 'started' then
  return 0
end
-- The first write takes no memory, so that what is done is written down also where memory is full.
redis.call('PERSIST', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
"""
