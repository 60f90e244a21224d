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
  return other
end
if its_state and not FINAL[its_state] then
  return other
end
local status = state == 'finished' and 'succeeded' or state == 'failed' and 'failed' or 'cancelled'
queued[to] = call_back(uid, to, status, about, api or '', tonumber(ttl or '') or 604800)
redis.call('HSET', job, 'callbacks', cjson.encode(queued))
return queued[to]
