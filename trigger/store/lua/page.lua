-- Reads a page of the list of executions, from indexes (KEYS) that are walked side by side, or from uids.
-- ARGV: slice, wanted, after, after_ms, since, before, words, module, method, caller, workflow, …
--   `slice` entries are looked at for `wanted` rows, from behind the uid `after` on, accepted at `after_ms`, or from
--   the newest on (''); accepted from `since` on and before `before`, in ms or ''; of a status that RQ has `words`
--   for. What follows are uids to look at in place of indexes.
-- Answers {uid of the last entry looked at or '', 1 if that was the last there is, entries looked at,
-- {{uid, field, …}}}.

-- How many entries of an index are newer than where the page begins.
local function skipped(key)
  local skip = before == '' and 0 or redis.call('ZCOUNT', key, before, '+inf')
  if after == '' then
    return skip
  end
  local rank = redis.call('ZREVRANK', key, after)
  if rank then
    return math.max(skip, rank + 1)
  end
  local newer = redis.call('ZCOUNT', key, '(' .. after_ms, '+inf')
  for _, uid in ipairs(redis.call('ZREVRANGEBYSCORE', key, after_ms, after_ms, 'LIMIT', 0, 5000)) do
    if uid <= after then
      break
    end
    newer = newer + 1
  end
  return math.max(skip, newer)
end

slice, wanted = tonumber(slice), tonumber(wanted)
local uids, exhausted = {}, true
for _, key in ipairs(KEYS) do
  local from = skipped(key)
  local to = since == '' and redis.call('ZCARD', key) or redis.call('ZCOUNT', key, since, '+inf')
  if from + slice < to then
    exhausted, to = false, from + slice
  end
  for _, uid in ipairs(from < to and redis.call('ZREVRANGE', key, from, to - 1) or {}) do
    if #uid == 25 and string.find(uid, '^%d+$') then -- anything else was not put there by us
      uids[#uids + 1] = uid
    end
  end
end
if #KEYS > 1 then
  table.sort(uids, function(a, b) return a > b end)
  exhausted = exhausted and #uids <= slice
end
for i = first_more, #ARGV do
  uids[#uids + 1] = ARGV[i]
end

local function fits(status, description, meta)
  if not status or words ~= '' and not string.find(words, ' ' .. status .. ' ', 1, true) then
    return false
  end
  if module ~= '' or method ~= '' then
    local its_module, its_method = string.match(description or '', '^([^/]*)/(.*)$')
    if module ~= '' and module ~= its_module or method ~= '' and method ~= its_method then
      return false
    end
  end
  if caller ~= '' or workflow ~= '' then
    local ok, about = pcall(cjson.decode, meta or '')
    return ok and type(about) == 'table'
      and (caller == '' or about.caller == caller) and (workflow == '' or about.workflow == workflow)
  end
  return true
end

local rows, looked = {}, 0
for i = 1, math.min(#uids, slice) do
  looked = i
  local job = JOB .. uids[i]
  local found = redis.pcall('HMGET', job, 'status', 'description', 'meta') -- a key of another type is no job
  if not found.err and fits(unpack(found)) then
    rows[#rows + 1] = {uids[i], unpack(redis.call('HMGET', job, unpack(FIELDS)))}
    if #rows == wanted then
      break
    end
  end
end
return {uids[looked] or '', exhausted and looked == #uids and 1 or 0, looked, rows}
