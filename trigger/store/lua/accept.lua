-- Accepts a call: writes RQ's job, its queue entry, the ledger and the indexes.
-- USES: accepting
-- ARGV: queue, api, timeout, life, backlog, remember_for
--   The same in every call of an API; `timeout`, `life` and `remember_for` are in s.
-- ARGV: meta, uid, uid_ms, created_at, data, body, remembered, digest, resumed
--   The call's own. `body` is that of the request, or '' where it is not kept.
--   `remembered` is the key of its Idempotency-Key, or '', and `digest` that of its input; `resumed`
--   is what is taken over of which execution, as JSON, or ''.
-- Answers 'accepted', 'taken' when the uid is another's, 'full', 'mismatch', 'gone', or the uid of an earlier call with
-- that Idempotency-Key.
local answer = known()
if answer then
  return answer
end
if redis.call('LLEN', list) >= tonumber(backlog) then
  return 'full'
end
if not take_over() then
  return 'gone'
end
write('queued')
put()
return 'accepted'
