-- Has a callback sent again, or now where it waits for its next attempt.
-- KEYS: job
-- ARGV: uid, to
-- USES: clock, calling_back
-- Answers the uid of the execution that sends it, 'gone' for an execution that is not there, 'open' for one that has
-- not ended, and 'none' for one that has no such callback.
local state, meta, api, ttl, sent = unpack(
  redis.call('HMGET', job, 'status', 'meta', 'description', 'failure_ttl', 'callbacks'))
if not state then
  return 'gone'
end
if not FINAL[state] then
  return 'open'
end
local ok, about = pcall(cjson.decode, meta or '')
about = ok and type(about) == 'table' and about or {}
local decoded, queued = pcall(cjson.decode, sent or '')
queued = decoded and type(queued) == 'table' and queued or {}
local named = type(about.callbacks) == 'table' and about.callbacks[to]
if not named and not queued[to] then
  return 'none'
end
local other = queued[to]
local its_state = type(other) == 'string' and redis.call('HGET', JOB .. other, 'status')
if its_state == 'scheduled' then
  redis.call('ZADD', LEASED .. CALLBACK_QUEUE, 'XX', ms, other)
elseif not its_state or FINAL[its_state] then
  local status = state == 'finished' and 'succeeded' or state == 'failed' and 'failed' or 'cancelled'
  other = call_back(uid, to, status, about, api or '', tonumber(ttl or '') or 604800)
  queued[to] = other
  redis.call('HSET', job, 'callbacks', cjson.encode(queued))
end
-- The attempt that is made though its host is left alone.
redis.call('HSET', JOB .. other, 'asked', (tonumber(redis.call('HGET', JOB .. other, 'attempt') or '') or 0) + 1)
return other
