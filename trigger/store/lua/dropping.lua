-- Ending an execution that has not begun, or that waits for its next attempt.
-- USES: ending

-- Cancels it, which has this status and queue; `ttl` is its failure_ttl. Its entry in a list longer than `short_list`
-- is left to be dropped when its turn comes.
local function drop(uid, status, queue, ttl, short_list, err)
  -- What RQ's Job.cancel writes, and our own of an execution that has ended. Removing comes first: it needs no memory.
  redis.call('ZREM', WAITING .. queue, uid)
  redis.call('ZREM', LEASED .. queue, uid)
  redis.call('ZREM', 'rq:scheduled:' .. queue, uid)
  redis.call('ZREM', 'rq:deferred:' .. queue, uid)
  if status == 'queued' then -- others are in no list
    if redis.call('LLEN', 'rq:queue:' .. queue) <= short_list then
      redis.call('LREM', 'rq:queue:' .. queue, 0, uid)
    else
      redis.call('SADD', DROPPED .. queue, uid)
    end
  end
  redis.call('HSET', job_key(uid), 'status', 'canceled', 'ended_at', iso(), 'error', err)
  redis.call('ZADD', 'rq:canceled:' .. queue, math.floor(seconds), uid)
  ttl = whole(ttl) or 604800
  conclude(uid, 'cancelled', ttl, nil, true)
  redis.call('EXPIRE', RESULTS .. uid, ttl) -- of the attempts before
end
