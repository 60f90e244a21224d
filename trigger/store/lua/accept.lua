-- Accepts a call: writes RQ's job, its queue entry, the ledger and the indexes.
-- USES: count
-- ARGV: queue, api, timeout, life, backlog, remember
--   The same in every call of an API; `timeout`, `life` and `remember` are in s.
-- ARGV: meta, uid, uid_ms, created_at, data, body, remembered, digest, resumed
--   The call's own. `body` is that of the request, or '' where it is not kept.
--   `remembered` is the key of its Idempotency-Key, or '', and `digest` that of its input; `resumed`
--   is what is taken over of which execution, as JSON, or ''.
-- Answers 'accepted', 'taken' when the uid is another's, 'full', 'mismatch', 'gone', or the uid of an earlier call with
-- that Idempotency-Key.
local job, list = 'rq:job:' .. uid, 'rq:queue:' .. queue
if redis.call('EXISTS', job) == 1 then
  -- Our own call, repeated after its reply was lost, finds the very fields it wrote; anything else is a collision.
  local theirs = redis.call('HMGET', job, 'created_at', 'data')
  return theirs[1] == created_at and theirs[2] == data and 'accepted' or 'taken'
end
if remembered ~= '' then
  local first = redis.call('GET', remembered)
  if first then
    local uid, its_digest = string.match(first, '^(%d+) (%x+)$')
    return its_digest == digest and uid or 'mismatch'
  end
end
if redis.call('LLEN', list) >= tonumber(backlog) then
  return 'full'
end
if resumed ~= '' then
  resumed = cjson.decode(resumed)
  if redis.call('COPY', STEPS .. resumed.uid, STEPS .. uid) == 0 and resumed.has_finished then
    return 'gone'
  end
  redis.call('PERSIST', STEPS .. uid)
  for _, name in ipairs(resumed.unfinished) do
    redis.call('HDEL', STEPS .. uid, name)
  end
  redis.call('HSET', STEPS .. uid, '', resumed.plan)
end
local now = redis.call('TIME')
redis.call('HSET', job, 'created_at', created_at, 'data', data, 'origin', queue, 'description', api,
  'enqueued_at', created_at, 'timeout', timeout, 'result_ttl', life, 'failure_ttl', life, 'status', 'queued',
  'meta', meta)
if body ~= '' then
  redis.call('HSET', job, 'body', body)
end
if redis.call('RPUSH', list, uid) == 1 then
  redis.call('SADD', 'rq:queues', list)
end
redis.call('ZADD', WAITING .. queue, now[1] * 1000 + math.floor(now[2] / 1000), uid)
redis.call('ZADD', INDEX, uid_ms, uid)
redis.call('ZADD', API_INDEX .. api, uid_ms, uid)
if redis.call('ZCARD', API_INDEX .. api) == 1 then
  redis.call('ZADD', APIS, 0, api)
end
if remembered ~= '' then
  redis.call('SET', remembered, uid .. ' ' .. digest, 'EX', remember)
end
local hour = math.floor(now[1] / 3600)
count('api', api, 'calls@' .. hour, 1, hour)
return 'accepted'
