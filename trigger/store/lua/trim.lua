-- Removes the oldest records of an API that has too many, and with each those of its callbacks that have ended.
-- KEYS: index
-- ARGV: keep, skip, slice
--   `skip` entries at the old end are left alone, `slice` behind them are looked at.
-- Answers {entries looked at, entries removed}; looks at none when the records are not too many.
-- What is not final stands in the ledger: at least all the other entries have ended. Callbacks are no entries.
local spare = redis.call('ZCARD', index) - keep
if spare > 0 then
  for _, queue in ipairs(redis.call('SMEMBERS', QUEUES)) do
    queue = string.sub(queue, #QUEUE + 1)
    if queue ~= CALLBACK_QUEUE then
      spare = spare - redis.call('ZCARD', WAITING .. queue) - redis.call('ZCARD', LEASED .. queue)
    end
  end
end
if spare <= 0 then
  return {0, 0}
end

local function remove(uid, queue)
  redis.call('UNLINK', JOB .. uid, RESULTS .. uid, STEPS .. uid, LOG .. uid)
  for _, registry in ipairs({'rq:finished:', 'rq:failed:', 'rq:canceled:'}) do
    redis.call('ZREM', registry .. (queue or ''), uid)
  end
end

-- `sent` is JSON: by the name of each callback the execution that sends it.
local function remove_callbacks(sent)
  local decoded, others = pcall(cjson.decode, sent)
  local left = MAX_NAMES
  for _, other in pairs(decoded and type(others) == 'table' and others or {}) do
    if left > 0 and type(other) == 'string' then
      left = left - 1
      local status, queue = unpack(redis.call('HMGET', JOB .. other, 'status', 'origin'))
      if FINAL[status] and queue == CALLBACK_QUEUE then
        remove(other, queue)
        redis.call('ZREM', CALLBACKS, other)
      end
    end
  end
end

local looked, removed = 0, 0
for _, uid in ipairs(redis.call('ZRANGE', index, skip, skip + slice - 1)) do
  if removed >= spare then
    break
  end
  looked = looked + 1
  local status, queue, sent = unpack(redis.call('HMGET', JOB .. uid, 'status', 'origin', 'callbacks'))
  if not status or FINAL[status] then
    removed = removed + 1
    remove(uid, queue)
    if sent then
      remove_callbacks(sent)
    end
    redis.call('ZREM', INDEX, uid)
    redis.call('ZREM', FAILED_INDEX, uid)
    redis.call('ZREM', index, uid)
  end
end
return {looked, removed}
