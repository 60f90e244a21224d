-- Accepts a call of an API that has a rate, a debounce or a concurrency: as `accept`, but for what these say.
-- USES: accepting, cancelled, dropping, taking_slots
-- ARGV: queue, api, timeout, life, backlog, remember_for
-- ARGV: meta, uid, uid_ms, created_at, data, body, remembered, digest, resumed
--   As those of `accept`.
-- ARGV: limits
--   JSON: {"rate": {key, burst, interval}, "debounce": {key, quiet, at_most, run}, "concurrency": {key, limit, full,
--   waiting}}, each only where the API has it. Times are in us for the rate, in ms for the debounce.
-- Answers {word, uid, left, us}: a word as that of `accept`; 'replayed' with the uid of the earlier call with that
-- Idempotency-Key; 'merged' with the uid of the execution that the call became part of; 'rate' or 'concurrency' for
-- what refuses it. `left` is how many calls the rate lets through now, and `us` how long it takes until it lets all
-- through again, or the next one.
limits = cjson.decode(limits)
local rate, debounce, slots = limits.rate, limits.debounce, limits.concurrency

-- A call that has become part of an execution leaves no job of its own: for a while its uid says so, as `known` does of
-- others. Only who had no reply comes again with it.
local merged_into = debounce and redis.call('GET', MERGED .. uid)
if merged_into then
  return {'merged', merged_into, -1, 0}
end
local answer = known()
if answer then
  local word = string.match(answer, '^%d+$') and 'replayed' or answer
  return {word, word == 'replayed' and answer or uid, -1, 0}
end

-- The generic cell rate algorithm (ITU-T I.371): one moment says when all that has been let through is paid for.
local left, us, paid = -1, 0, nil
if rate then
  local moment = now[1] * 1000000 + now[2]
  local whole_burst = rate.burst * rate.interval
  local before = tonumber(redis.call('GET', RATE .. rate.key) or '') or 0
  -- No later than a burst from now, unless the clock was set back.
  paid = math.min(math.max(before, moment), moment + whole_burst) + rate.interval
  local wait = paid - whole_burst - moment
  if wait > 0 then
    return {'rate', uid, 0, wait}
  end
  left, us = math.floor(-wait / rate.interval), paid - moment
end

-- Counts the call, once it is accepted.
local function pay()
  if rate then
    redis.call('SET', RATE .. rate.key, string.format('%.0f', paid), 'PX', math.ceil(us / 1000) + 1)
  end
end

if debounce then
  local key = QUIET .. debounce.key
  local its, first = unpack(redis.call('HMGET', key, 'uid', 'first'))
  local status, why, its_queue
  if its then
    status, why, its_queue = unpack(redis.call('HMGET', job_key(its), 'status', 'waits_for', 'origin'))
  end
  if status == 'deferred' and why == 'debounce' then
    local other = job_key(its)
    redis.call('SET', MERGED .. uid, its, 'EX', REPEATED_FOR)
    redis.call('HINCRBY', other, 'merged', 1)
    redis.call('ZADD', LEASED .. its_queue, math.min(ms + debounce.quiet, first + debounce.at_most), its)
    if debounce.run == 'last' then
      redis.call('HSET', other, 'data', data, 'meta', meta, 'timeout', timeout, 'result_ttl', life,
        'failure_ttl', life)
      redis.call('HDEL', other, 'body')
      if body ~= '' then
        redis.call('HSET', other, 'body', body)
      end
    end
    remember(its)
    pay()
    return {'merged', its, left, us}
  end
end

if redis.call('LLEN', list) + redis.call('ZCARD', 'rq:deferred:' .. queue) >= tonumber(backlog) then
  return {'full', uid, left, us}
end
local held, free = 0, 1
if slots and not debounce then
  held = redis.call('ZCARD', HELD .. slots.key)
  free = slots.limit - math.max(redis.call('HLEN', SLOTS .. slots.key) - 1, 0)
  local has_room = slots.full == 'newest' or slots.full == 'queue' and held - math.max(free, 0) < slots.waiting
  if free <= held and not has_room then
    return {'concurrency', uid, left, us}
  end
end
if not take_over() then
  return {'gone', uid, left, us}
end

write('deferred')
if slots then
  redis.call('HSET', job, 'slot', slots.key, 'slots', slots.limit)
  if not debounce then
    redis.call('HSET', SLOTS .. slots.key, '', slots.limit)
  end
end
if debounce then
  local key = QUIET .. debounce.key
  redis.call('HSET', key, 'uid', uid, 'first', ms)
  redis.call('PEXPIRE', key, debounce.at_most + 60000)
  defer(queue, uid, ms + math.min(debounce.quiet, debounce.at_most), 'debounce')
elseif not slots or take_slot(slots.key, uid, slots.limit) then
  redis.call('HSET', job, 'status', 'queued')
  put()
else
  if slots.full == 'newest' then
    for _, other in ipairs(redis.call('ZRANGE', HELD .. slots.key, 0, -1)) do
      local status, its_queue, ttl = unpack(redis.call('HMGET', job_key(other), 'status', 'origin', 'failure_ttl'))
      if status == 'deferred' then
        drop(other, status, its_queue, ttl, 0, cancelled_error('a newer call'))
      end
    end
  end
  hold(queue, uid, slots.key, seconds * 1000)
end
pay()
return {'accepted', uid, left, us}
