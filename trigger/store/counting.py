"""Figures of APIs, of workflows and of the whole service, as Lua scripts write them; `counters` reads them.

Each API and each workflow has a hash, and so have all executions together. Figures of an hour have a name that ends in
"@" and the number of that hour since 1970, those of a day (and how long executions took) that of its first hour; all
others are totals that only grow. When something begins in a hash, an hour most often, what is too old is taken out of
it. A hash in which nothing has begun for LIFE goes, and its name leaves the index: an API that vanishes leaves nothing
for ever.
"""

from __future__ import annotations

import math

from trigger.store.keys import FAILING, FIGURES, JOB

LIFE = 30 * 86_400  # seconds

# For how many hours the figures of an hour, or a day, are kept.
HOURS, DAYS = 24, 7

# How long executions took is counted in classes, from 0.1 ms on: one is a fifth longer than the one before, so that its
# middle is less than a tenth off.
SHORTEST, GROWTH, CLASSES = 1e-4, 1.2, 126
# The total of the same is kept in fewer classes, for Prometheus: up to so many seconds each.
EDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

COUNTING = f"""
local FIGURES, LIFE, HOURS, DAYS = '{FIGURES}', {LIFE}, {HOURS}, {DAYS}
"""
COUNTING += """
-- Adds to a figure of the API, workflow or service (`kind`) `name`; `hour` is the present one. A figure that can't be
-- written must keep nothing from being accepted or ended: so all of this is pcall.
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
"""

# Needs `count`, and `seconds` of CLOCK.
COUNTING_ENDS = f"""
local JOB, FAILING = '{JOB}', '{FAILING}'
local SHORTEST, STEP, LAST = {SHORTEST}, {math.log(GROWTH)}, {CLASSES - 1}
local EDGES = {{{", ".join(map(str, EDGES))}}}
"""
COUNTING_ENDS += """
-- The API and the workflow of an execution, nil for what is not ours; and the present hour.
local function counted_as(uid)
  local api, meta = unpack(redis.call('HMGET', JOB .. uid, 'description', 'meta'))
  api = api and #api < 200 and string.match(api, '^[%w_.-]+/[%w_.-]+$')
  local ok, about = pcall(cjson.decode, meta or '')
  local workflow = ok and type(about) == 'table' and about.workflow
  workflow = type(workflow) == 'string' and #workflow < 500 and workflow
  return api, workflow, math.floor(seconds / 3600)
end

-- Counts the end of an execution: 'succeeded' with the seconds its last run took, or 'failed' or 'cancelled', which it
-- may have done before a run began (`early`).
local function count_end(uid, status, took, early)
  local api, workflow, hour = counted_as(uid)
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
  local class = math.min(math.floor(math.log(took / SHORTEST) / STEP), LAST)
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
  local api, _, hour = counted_as(uid)
  if api then
    count('api', api, how, 1, hour)
  end
end
"""
