-- Taking slots, and looking after them: what the scripts of a call and of the reaper need besides.
-- USES: slots

-- Takes a slot for an execution; false when none is free, or others wait for one.
local function take_slot(slot, uid, most)
  local key = SLOTS .. slot
  if redis.call('HEXISTS', key, uid) == 1 then
    return true
  end
  redis.call('HSETNX', key, '', most)
  redis.call('SADD', SLOTTED, slot)
  local used = redis.call('HLEN', key) - 1
  if redis.call('EXISTS', HELD .. slot) == 1 or used >= tonumber(redis.call('HGET', key, '')) then
    return false
  end
  redis.call('HSET', key, uid, 1)
  return true
end

-- Holds an execution back that was accepted at `since`, in ms, until there is a slot, or queues it at once.
local function hold(queue, uid, slot, since)
  defer(queue, uid, '+inf', 'concurrency')
  redis.call('ZADD', HELD .. slot, since, uid)
  promote(slot)
end

-- Puts an execution that is due into its queue, by way of a slot where it needs one.
local function enter(queue, uid)
  local slot, most = unpack(redis.call('HMGET', job_key(uid), 'slot', 'slots'))
  redis.call('ZREM', 'rq:deferred:' .. queue, uid)
  if not slot or take_slot(slot, uid, most) then
    enqueue(queue, uid, 'RPUSH')
  else
    hold(queue, uid, slot, #uid == 25 and math.floor(tonumber(uid) / 2 ^ 40) or ms)
  end
end

-- Gives back what of a slot is had by executions that are gone, as after a DEL by hand.
local function check_slot(slot)
  for _, uid in ipairs(redis.call('HRANDFIELD', SLOTS .. slot, 20)) do
    local status = uid ~= '' and redis.call('HGET', job_key(uid), 'status')
    if uid ~= '' and status ~= 'queued' and status ~= 'started' then
      redis.call('HDEL', SLOTS .. slot, uid)
    end
  end
  promote(slot)
end

-- Does that for a few of all slots. A key that is none of ours is looked at no more.
local function check_slots()
  local slots = redis.pcall('SRANDMEMBER', SLOTTED, 10)
  for _, slot in ipairs(slots.err and {} or slots) do
    if not pcall(check_slot, slot) then
      redis.call('SREM', SLOTTED, slot)
    end
  end
end
