-- Calling back: an execution of the queue of callbacks, which tells somebody how another one has ended.
-- USES: clock

-- A uid for it: the one that it tells of but for the last 12 digits, which are the same whenever they are made again.
local function uid_of_callback(uid, to, number)
  local digest = redis.sha1hex(uid .. ' ' .. to .. ' ' .. number)
  return string.sub(uid, 1, 13) .. string.format('%012.0f', tonumber(string.sub(digest, 1, 12), 16) % 1e12)
end

-- Has the callback `to` told that the execution `uid` is now `status`: returns the uid of the execution that does so.
-- `about` is the meta of the one that it tells of, `api` its description; `ttl` is how long a record is kept, in s.
-- The ledger has it before the queue: if the one is broken, the reaper finds it in the other.
local function call_back(uid, to, status, about, api, ttl)
  local number, other = 0, nil
  repeat
    number = number + 1
    other = uid_of_callback(uid, to, number)
  until redis.call('EXISTS', JOB .. other) == 0
  local at, list = iso(), QUEUE .. CALLBACK_QUEUE
  local input = {uid = uid, status = status, to = to, api = api, workflow = about.workflow, ended_at = at}
  local request = type(about.request) == 'string' and about.request or uid
  local meta = {workflow = CALLBACK_WORKFLOW, config = about.config, to = to, of = uid, request = request}
  redis.call('HSET', JOB .. other, 'created_at', at,
    'data', cjson.encode({RUNNER, cjson.null, {CALLBACK_WORKFLOW, input}, {}}),
    'origin', CALLBACK_QUEUE, 'description', CALLBACK_MODULE .. '/' .. to, 'enqueued_at', at,
    'timeout', CALLBACK_TIMEOUT, 'result_ttl', ttl, 'failure_ttl', ttl, 'status', 'queued', 'meta', cjson.encode(meta))
  redis.call('ZADD', WAITING .. CALLBACK_QUEUE, ms, other)
  redis.call('ZADD', CALLBACKS, ms, other)
  if redis.call('RPUSH', list, other) == 1 then
    redis.call('SADD', QUEUES, list)
  end
  return other
end

-- Calls back whoever is to be told of this end; `callbacks` are the ends that each is told of. The end itself is to be
-- recorded whatever is broken here: what can't be queued is put aside.
local function call_all_back(uid, status, about, api, ttl)
  local queued = {}
  for to, ends in pairs(about.callbacks) do
    for _, wanted in ipairs(type(ends) == 'table' and ends or {}) do
      if wanted == status then
        local ok, other = pcall(call_back, uid, to, status, about, api or '', ttl)
        if ok then
          queued[to] = other
        else
          local put_aside = {at = iso(), entry = uid, reason = 'its callback can not be queued'}
          redis.pcall('LPUSH', POISON, cjson.encode(put_aside))
          redis.pcall('LTRIM', POISON, 0, 999)
          redis.pcall('HINCRBY', STATS, 'poisoned', 1)
        end
      end
    end
  end
  if next(queued) then
    redis.pcall('HSET', JOB .. uid, 'callbacks', cjson.encode(queued))
  end
end
