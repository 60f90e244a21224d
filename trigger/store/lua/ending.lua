-- What becomes of the rest of an execution that has ended, and how long that is kept.
-- USES: slots, count, calling_back

-- The API and the workflow of an execution, nil for what is not ours and for one that calls back; the present hour; and
-- its meta.
local function counted_as(uid)
  local api, meta = unpack(redis.call('HMGET', JOB .. uid, 'description', 'meta'))
  api = api and #api < 200 and string.match(api, '^[%w_.-]+/[%w_.-]+$')
  local ok, about = pcall(cjson.decode, meta or '')
  about = ok and type(about) == 'table' and about or {}
  local workflow = not about.to and about.workflow
  workflow = type(workflow) == 'string' and #workflow < 500 and workflow
  return api, workflow, math.floor(seconds / 3600), about
end

-- Counts the end of an execution: 'succeeded' with the seconds its last run took, or 'failed' or 'cancelled', which it
-- may have done before a run began (`early`); the others are what counted_as returns.
local function count_end(api, workflow, hour, about, status, took, early)
  if type(about.to) == 'string' then
    count('callback', about.to, status, 1, hour)
  end
  if api or workflow then
    count('service', 'all', status .. '@' .. hour, 1, hour)
  end
  if api then
    count('api', api, early and status .. '-early' or status, 1, hour)
    if status == 'failed' then
      count('api', api, 'failed@' .. hour, 1, hour)
      redis.pcall('ZADD', FAILING, hour, api)
      redis.pcall('ZREMRANGEBYSCORE', FAILING, '-inf', hour - HOURS)
      redis.pcall('EXPIRE', FAILING, LIFE)
    end
  end
  if not workflow then
    return
  end
  local day = hour - hour % 24
  if status ~= 'succeeded' then
    count('workflow', workflow, status .. '@' .. day, 1, hour)
    return
  end
  took = math.max(took, SHORTEST)
  local class = math.min(math.floor(math.log(took / SHORTEST) / math.log(GROWTH)), CLASSES - 1)
  local edge = 1
  while EDGES[edge] and took > EDGES[edge] do
    edge = edge + 1
  end
  count('workflow', workflow, 'upto' .. edge, 1, hour)
  count('workflow', workflow, 'us', math.floor(took * 1000000 + 0.5), hour)
  count('workflow', workflow, 'took@' .. day .. ':' .. class, 1, hour)
end

-- Counts an attempt that another one follows: 'retried' after it failed, 'interrupted' when its worker died or stopped.
local function count_attempt(uid, how)
  local api, _, hour, about = counted_as(uid)
  if api then
    count('api', api, how, 1, hour)
  elseif type(about.to) == 'string' then
    count('callback', about.to, how, 1, hour)
  end
end

-- A field's number where it is a whole one that can be counted with, else nil.
local function whole(text)
  return text and string.find(text, '^%d+$') and #text <= 9 and tonumber(text) or nil
end

-- What else is kept of an execution goes with its record.
local function expire(uid, ttl)
  for _, prefix in ipairs({JOB, STEPS, LOG}) do
    redis.call('EXPIRE', prefix .. uid, ttl)
  end
end

-- Those that have failed or were cancelled are in an index of their own.
local function index_failed(uid)
  local accepted = redis.call('ZSCORE', INDEX, uid)
  if accepted then
    redis.call('ZADD', FAILED_INDEX, accepted, uid)
  end
end

-- The last of what every way to end an execution does, once: `status` is our word for it, `ttl` how long it is kept in
-- s; see count_end for the others.
local function conclude(uid, status, ttl, took, early)
  pcall(leave_slot, uid) -- a broken key of a slot is to keep no end from being recorded
  announce(uid, 'end')
  if status ~= 'succeeded' then
    index_failed(uid)
  end
  expire(uid, ttl)
  local api, workflow, hour, about = counted_as(uid)
  count_end(api, workflow, hour, about, status, took, early)
  if type(about.callbacks) == 'table' then
    call_all_back(uid, status, about, api, ttl)
  end
end
