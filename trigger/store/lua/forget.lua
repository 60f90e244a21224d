-- Takes out of an index what Redis has removed.
-- KEYS: index
-- ARGV: retention, skip, slice, api
--   `retention` is in ms; `skip` entries at the old end are left alone, `slice` behind them are looked at; `api`
--   names the API whose index it is, or is ''.
-- Answers {entries looked at, entries removed}.
local now = redis.call('TIME')
local horizon = now[1] * 1000 + math.floor(now[2] / 1000) - retention
local old = redis.call('ZCOUNT', index, '-inf', horizon)
local from, to = tonumber(skip), math.min(old, skip + slice)
local gone, looked = {}, 0
if from < to then
  for _, uid in ipairs(redis.call('ZRANGE', index, from, to - 1)) do
    looked = looked + 1
    if redis.call('EXISTS', JOB .. uid) == 0 then
      gone[#gone + 1] = uid
      redis.call('UNLINK', RESULTS .. uid, STEPS .. uid, LOG .. uid)
    end
  end
end
if #gone > 0 then
  redis.call('ZREM', index, unpack(gone))
end
if api ~= '' and redis.call('EXISTS', index) == 0 then
  redis.call('ZREM', APIS, api)
end
return {looked, #gone}
