-- Answers each hash of KEYS as one text: a reply with a text for each field would take longer to read than to make.
local texts = {}
for i, key in ipairs(KEYS) do
  local found = redis.pcall('HGETALL', key) -- a key of another type holds no figures
  texts[i] = found.err and '' or table.concat(found, ' ')
end
return texts
