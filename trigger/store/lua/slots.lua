-- The slots of APIs with `concurrency`: so many executions of one are queued or run at once, the others are held back.
-- USES: moving
-- A job's fields `slot`, which names the API and what its `per` gave, and `slots`, how many of these there are. Who has
-- one stands in the hash SLOTS, whose field '' is how many there are now; who waits for one stands in the sorted set
-- HELD, in the order in which they get it. SLOTTED names all slots. Nobody is held where a slot is free.

-- Queues those that are held, as far as there are slots.
local function promote(slot)
  local key, held = SLOTS .. slot, HELD .. slot
  local most = tonumber(redis.call('HGET', key, '') or '') or 0
  while redis.call('HLEN', key) - 1 < most do
    local uid = redis.call('ZRANGE', held, 0, 0)[1]
    if not uid then
      break
    end
    redis.call('ZREM', held, uid)
    local status, queue = unpack(redis.call('HMGET', job_key(uid), 'status', 'origin'))
    if status == 'deferred' and queue then
      redis.call('HSET', key, uid, 1)
      redis.call('ZREM', 'rq:deferred:' .. queue, uid)
      enqueue(queue, uid, 'LPUSH')
    end
  end
  if redis.call('HLEN', key) <= 1 and redis.call('EXISTS', held) == 0 then
    redis.call('DEL', key)
    redis.call('SREM', SLOTTED, slot)
  end
end

-- Gives back the slot that an execution has, or its place among those that wait for one.
local function leave_slot(uid)
  local slot = redis.call('HGET', job_key(uid), 'slot')
  if slot and redis.call('HDEL', SLOTS .. slot, uid) + redis.call('ZREM', HELD .. slot, uid) > 0 then
    promote(slot)
  end
end

-- Has an execution wait until `due`, in ms, for its next attempt. It has no slot meanwhile.
local function schedule(queue, uid, due)
  local job = job_key(uid)
  redis.call('HSET', job, 'status', 'scheduled', 'last_heartbeat', iso())
  redis.call('HDEL', job, 'execution')
  redis.call('ZADD', LEASED .. queue, due, uid)
  redis.call('ZADD', 'rq:scheduled:' .. queue, math.floor(due / 1000), uid)
  announce(uid, 'status')
  pcall(leave_slot, uid)
end
