-- Ends the run that a worker has ended, takes its next execution, and tells RQ's tools what the worker does.
-- USES: worker
-- ARGV: queue, worker, lease, err, exc
--   Always the same. `lease` is in ms; `err` and `exc` are error and exc_string for an unreadable job.
-- ARGV: ended, its_run, status, value, its_err, its_exc, why, pause
--   What has ended: uid or '' for nothing, id of the run, RQ's status, return value (base64) or '', error,
--   exc_string, why the job is to be put aside as unreadable or '', and for the status 'scheduled' the ms to its next
--   attempt. Without an error that one is no attempt of the whole: it goes on where it stands, as the same attempt.
--   The status 'unknown' is that of a run that has not begun, as the worker does not know the workflow: it comes again
--   after the pause.
-- ARGV: run, again
--   What is to be taken: the id of the new run or '' for nothing; 1 if an earlier call with this id had no reply.
-- ARGV: succeeded, failed, worked, tell, shown
--   What is to be told about the worker: how many have succeeded and failed, how long it has worked in s, 1 to tell
--   it in any case, the state that is shown.
-- Answers {1 if what has ended was still this worker's, 1 if the worker was told about, what was taken}: uid or '', the
-- job's fields, entries put aside; or 'suspended' after `rq suspend`.
local waiting, leased, list = WAITING .. queue, LEASED .. queue, 'rq:queue:' .. queue
local held = 'rq:worker:' .. worker .. ':executions'

local function finish(uid, run, status, value, err, exc, why, pause)
  local job = job_key(uid)
  local holder, state, ttl, cancel = unpack(
    redis.call('HMGET', job, 'execution', 'status', 'result_ttl', 'cancel'))
  if holder ~= run or state ~= 'started' then
    redis.call('SREM', held, uid .. ':' .. run)
    if not state then -- the job is gone; what RQ keeps about its run is to go too
      drop_run(queue, uid, run)
    end
    return 0
  end
  redis.call('ZREM', leased, uid)
  if why ~= '' then
    poison(uid, why)
  end
  if cancel and (status == 'scheduled' or status == 'stopped' or status == 'unknown') then
    status, err = 'stopped', cancelled_error(cancel)
  end
  local started = redis.call('HGET', 'rq:execution:' .. uid .. ':' .. run, 'created_at')
  started = tonumber(started or '') and started or tostring(seconds)
  drop_run(queue, uid, run, worker)
  if status == 'finished' then
    local at = iso()
    ttl = whole(ttl) or 604800
    redis.call('HSET', job, 'status', 'finished', 'ended_at', at)
    -- A heart that has stopped tells nothing more: what is kept of an execution that has succeeded is kept short.
    redis.call('HDEL', job, 'execution', 'error', 'last_heartbeat')
    local result = {'type', '1', 'worker_name', worker}
    if value ~= '' then
      result[#result + 1] = 'return_value'
      result[#result + 1] = value
    end
    add_result(uid, ttl, result, run, started)
    redis.call('ZADD', 'rq:finished:' .. queue, math.floor(seconds) + ttl, uid)
    conclude(uid, 'succeeded', ttl, seconds - started)
  elseif status == 'scheduled' then
    if err ~= '' then
      redis.call('HSET', job, 'error', err)
      redis.call('HINCRBY', job, 'failures', 1)
      count_attempt(uid, 'retried')
    else
      redis.call('HINCRBY', job, 'attempt', -1)
    end
    keep_run(job)
    redis.call('HDEL', job, 'unknown_since')
    schedule(queue, uid, ms + pause)
  elseif status == 'unknown' then
    redis.call('HSETNX', job, 'unknown_since', ms)
    redis.call('HINCRBY', job, 'attempt', -1)
    redis.call('HDEL', job, 'started_at')
    schedule(queue, uid, ms + pause)
  else
    fail(queue, uid, status, err, exc, worker, run, started)
  end
  return 1
end

local function read(job)
  return redis.call('HMGET', job, unpack(FIELDS))
end

-- The uid and the fields of a job that is now this worker's; nil when nothing waits.
local function take(run, err, exc)
  for _ = 1, 100 do
    local uid = redis.call('LINDEX', list, 0)
    if not uid then
      return
    end
    local job = job_key(uid)
    if not is_job(uid) then
      redis.call('LPOP', list)
      redis.call('ZREM', waiting, uid)
      if redis.call('SREM', DROPPED .. queue, uid) == 0 then -- else it was cancelled, and its record is gone
        poison(uid, 'the queue names a job that does not exist')
      end
    else
      local status, timeout, data, attempt = unpack(redis.call('HMGET', job, 'status', 'timeout', 'data', 'attempt'))
      if FINAL[status] then
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('SREM', DROPPED .. queue, uid)
      elseif status == 'started' or status == 'scheduled' or status == 'deferred' then
        -- Its execution goes on elsewhere, and this entry stands in the list a second time. Whatever else has come to
        -- pass, the ledger has it: if nobody does it, it will be taken back.
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('ZADD', leased, 'NX', ms, uid)
      elseif status ~= 'queued' or not data or (whole(timeout) or 0) < 1 or (attempt and not whole(attempt)) then
        poison(uid, 'a field of its job can not be read')
        redis.call('LPOP', list)
        fail(queue, uid, 'failed', err, exc, worker, '', '')
      else
        local at, moment = iso(), string.format('%.6f', seconds)
        redis.call('HSET', job, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker,
          'execution', run, 'attempt', (attempt or 0) + 1)
        redis.call('LPOP', list)
        redis.call('ZREM', waiting, uid)
        redis.call('ZADD', leased, ms + lease, uid)
        redis.call('PERSIST', job)
        -- The lease is ours. RQ's own score must never run out, or whoever counts its registry would fail the job.
        local score, composite = math.floor(seconds) + timeout + 86400, uid .. ':' .. run
        redis.call('ZADD', 'rq:wip:' .. queue, score, composite)
        redis.call('HSET', 'rq:execution:' .. composite, 'id', run, 'job_id', uid, 'created_at', moment,
          'last_heartbeat', moment, 'worker_name', worker)
        redis.call('ZADD', 'rq:executions:' .. uid, score, run)
        redis.call('SADD', held, composite)
        announce(uid, 'status')
        return uid, read(job)
      end
    end
  end
end

ended = ended == '' and 0 or finish(ended, its_run, status, value, its_err, its_exc, why, pause)
poisoned = {} -- whoever has ended it knows

local taken, uid, hash = false, nil, nil
if run ~= '' then
  if again == '1' then
    for _, composite in ipairs(redis.call('SMEMBERS', held)) do
      local found = string.match(composite, '^([%w_-]+):' .. run .. '$')
      if found and redis.call('HGET', job_key(found), 'execution') == run then
        uid, hash = found, read(job_key(found))
      end
    end
  end
  if not uid and redis.call('EXISTS', 'rq:suspended') == 1 then
    taken = 'suspended'
  else
    if not uid then
      uid, hash = take(run, err, exc)
    end
    if uid or #poisoned > 0 then
      taken = {uid or '', hash or {}, poisoned}
    end
  end
end

local state = uid and 'busy' or 'idle'
local told = 0
if tell == '1' or state ~= shown then
  told = 1
  local key = 'rq:worker:' .. worker
  if redis.call('EXISTS', key) == 1 then -- else it is not registered (any more)
    redis.call('HSET', key, 'state', state)
    if succeeded ~= '0' then
      redis.call('HINCRBY', key, 'successful_job_count', succeeded)
    end
    if failed ~= '0' then
      redis.call('HINCRBY', key, 'failed_job_count', failed)
    end
    if tonumber(worked) > 0 then
      redis.call('HINCRBYFLOAT', key, 'total_working_time', worked)
    end
  end
end
return {ended, told, taken}
