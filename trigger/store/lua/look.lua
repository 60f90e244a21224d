-- Looks at executions: those of ARGV, by their uids. A reply with a text for each field would take longer to read.
-- ARGV: …
-- Answers of each RQ's word for its status, a blank, and what changes with nearly all that happens to it; '' for one
-- that is not there.
local texts = {}
for i = first_more, #ARGV do
  local found = redis.pcall('HMGET', JOB .. ARGV[i], unpack(FIELDS)) -- a key of another type is no job
  local parts = {}
  for j = 1, found.err and 0 or #FIELDS do
    parts[j] = found[j] or ''
  end
  texts[i] = parts[1] and parts[1] ~= '' and table.concat(parts, ' ') or ''
end
return texts
