-- Adds one to each counter of KEYS, which live for so many milliseconds from their first count on.
-- ARGV: life
-- Returns {count, milliseconds left} for each.
local counted = {}
for place, key in ipairs(KEYS) do
  local count = redis.call('INCR', key)
  if count == 1 then
    redis.call('PEXPIRE', key, life)
  end
  counted[place] = {count, redis.call('PTTL', key)}
end
return counted
