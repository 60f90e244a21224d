-- What accepting a call consists of. The arguments are those of `accept`, which says what they are.
-- USES: count
local job, list = 'rq:job:' .. uid, 'rq:queue:' .. queue
local now = redis.call('TIME')

-- What the call was answered before: 'accepted' when its reply was lost, 'taken' when the uid is another's; 'mismatch',
-- or the uid of an earlier call with its Idempotency-Key. Nil for a call that is new.
local function known()
  if redis.call('EXISTS', job) == 1 then
    -- Our own call, repeated after its reply was lost, finds the very fields it wrote, or those of calls that have
    -- become part of it since; anything else is a collision.
    local theirs = redis.call('HMGET', job, 'created_at', 'data', 'merged')
    return theirs[1] == created_at and (theirs[2] == data or theirs[3]) and 'accepted' or 'taken'
  end
  local first = remembered ~= '' and redis.call('GET', remembered)
  if first then
    local its_uid, its_digest = string.match(first, '^(%d+) (%x+)$')
    return its_digest == digest and its_uid or 'mismatch'
  end
end

-- Takes over what is done of the execution that this one goes on with; false when that is gone.
local function take_over()
  if resumed == '' then
    return true
  end
  resumed = cjson.decode(resumed)
  if redis.call('COPY', STEPS .. resumed.uid, STEPS .. uid) == 0 and resumed.has_finished then
    return false
  end
  redis.call('PERSIST', STEPS .. uid)
  for _, name in ipairs(resumed.unfinished) do
    redis.call('HDEL', STEPS .. uid, name)
  end
  redis.call('HSET', STEPS .. uid, '', resumed.plan)
  return true
end

-- Answers an Idempotency-Key with this uid from now on.
local function remember(as)
  if remembered ~= '' then
    redis.call('SET', remembered, as .. ' ' .. digest, 'EX', remember_for)
  end
end

-- Writes the job, with RQ's word for its status, and the indexes.
local function write(status)
  redis.call('HSET', job, 'created_at', created_at, 'data', data, 'origin', queue, 'description', api,
    'enqueued_at', created_at, 'timeout', timeout, 'result_ttl', life, 'failure_ttl', life, 'status', status,
    'meta', meta)
  if body ~= '' then
    redis.call('HSET', job, 'body', body)
  end
  redis.call('ZADD', INDEX, uid_ms, uid)
  redis.call('ZADD', API_INDEX .. api, uid_ms, uid)
  if redis.call('ZCARD', API_INDEX .. api) == 1 then
    redis.call('ZADD', APIS, 0, api)
  end
  remember(uid)
  local hour = math.floor(now[1] / 3600)
  count('api', api, 'calls@' .. hour, 1, hour)
end

-- Puts the job into its queue.
local function put()
  if redis.call('RPUSH', list, uid) == 1 then
    redis.call('SADD', 'rq:queues', list)
  end
  redis.call('ZADD', WAITING .. queue, now[1] * 1000 + math.floor(now[2] / 1000), uid)
end
