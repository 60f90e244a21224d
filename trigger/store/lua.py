"""What Lua scripts on executions share: Redis' clock, and RQ's words for what is over."""

from __future__ import annotations

from trigger.store.counting import COUNTING, COUNTING_ENDS
from trigger.store.keys import FAILED_INDEX, INDEX, JOB, LOG, STEPS
from trigger.store.status import FINAL_OF_RQ

# `now` is what TIME answers; `ms` and `seconds` are the same moment since 1970; iso() is RQ's text for it.
CLOCK = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local seconds = now[1] + now[2] / 1000000

-- RQ's time text; the date from the day's number by the days-to-civil method of a proleptic Gregorian calendar.
local function iso()
  local day, rest = math.floor(now[1] / 86400), now[1] % 86400
  local z = day + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month,
    doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, now[2])
end
"""

_WORDS = ", ".join(f"{word} = true" for word in sorted(FINAL_OF_RQ))

# FINAL[word] is true for RQ's words of what is over.
FINAL_WORDS = f"""
local FINAL = {{{_WORDS}}}
"""

# What becomes of the rest of an execution that has ended, and how long that is kept; needs CLOCK.
ENDING = COUNTING + COUNTING_ENDS
ENDING += f"""
-- A field's number where it is a whole one that can be counted with, else nil.
local function whole(text)
  return text and string.find(text, '^%d+$') and #text <= 9 and tonumber(text) or nil
end

-- What else is kept of an execution goes with its record.
local function expire(uid, ttl)
  for _, prefix in ipairs({{'{JOB}', '{STEPS}', '{LOG}'}}) do
    redis.call('EXPIRE', prefix .. uid, ttl)
  end
end

-- Those that have failed or were cancelled are in an index of their own.
local function index_failed(uid)
  local accepted = redis.call('ZSCORE', '{INDEX}', uid)
  if accepted then
    redis.call('ZADD', '{FAILED_INDEX}', accepted, uid)
  end
end

-- The last of what every way to end an execution does, once: `status` is our word for it, `ttl` how long it is kept in
-- s; see count_end for the others.
local function conclude(uid, status, ttl, took, early)
  if status ~= 'succeeded' then
    index_failed(uid)
  end
  expire(uid, ttl)
  count_end(uid, status, took, early)
end
"""

# The error of an execution that the operator `by` has cancelled.
CANCELLED_ERROR = """
local function cancelled_error(by)
  return cjson.encode({class = 'Cancelled', message = 'Cancelled by ' .. by})
end
"""
