-- Figures of APIs and workflows; counting.py says what they are.

-- Adds to a figure of the API or workflow (`kind`) `name`; `hour` is the present one. A figure that can't be written
-- must keep nothing from being accepted or ended: so all of this is pcall.
local function count(kind, name, field, by, hour)
  local key = FIGURES .. kind .. ':' .. name
  if redis.pcall('HINCRBY', key, field, by) ~= by then
    return
  end
  local old = hour - (kind == 'workflow' and DAYS * 24 or HOURS)
  for _, other in ipairs(redis.pcall('HKEYS', key)) do
    local since = string.match(other, '@(%d+)')
    if since and tonumber(since) <= old then
      redis.pcall('HDEL', key, other)
    end
  end
  local index = FIGURES .. kind .. 's'
  redis.pcall('EXPIRE', key, LIFE)
  redis.pcall('ZADD', index, hour, name)
  redis.pcall('ZREMRANGEBYSCORE', index, '-inf', hour - LIFE / 3600)
  redis.pcall('EXPIRE', index, LIFE)
end
