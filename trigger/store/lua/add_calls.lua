-- Adds up what a web process, the sender `name`, has counted: a batch as JSON, with its number.
-- ARGV: name, number, encoded
-- USES: count
local sender = SENDER .. name
if redis.call('GET', sender) == number then
  return
end
redis.call('SET', sender, number, 'EX', REMEMBERED)
local batch = cjson.decode(encoded)
local hour = math.floor(redis.call('TIME')[1] / 3600)
for _, of in ipairs(batch.outcomes) do
  count('api', of[1], 'call:' .. of[2], of[3], hour)
end
for field, by in pairs(batch.totals) do
  redis.pcall('HINCRBY', CALLS, field, by)
end
for _, refused in ipairs(batch.refused) do
  redis.pcall('LPUSH', REFUSED, refused)
end
for _, of in ipairs(batch.used) do
  redis.pcall('HSET', USED .. of[1], of[2], of[3])
  redis.pcall('EXPIRE', USED .. of[1], USED_FOR)
end
if #batch.refused > 0 then
  redis.pcall('LTRIM', REFUSED, 0, KEPT - 1)
  redis.pcall('EXPIRE', REFUSED, KEPT_FOR)
end
