-- Writes lines of one run of an execution.
-- KEYS: stream, job
-- ARGV: run, by, number, keep, dropped, …
--   `by` numbers its batches; `keep` is in bytes; `dropped` lines came before these and were cut. Then comes of each
--   line: age in ms, stream, level, step, attempt, text.
-- USES: announce
-- Answers 1, or 0 when the run is over: what ended stays as it was read.
local status, holder, log, timeout, retention = unpack(
  redis.call('HMGET', job, 'status', 'execution', 'log', 'timeout', 'result_ttl'))
if status ~= 'started' or holder ~= run then
  return 0
end
local bytes, cut, upto, writer, batch = string.match(log or '', '^(%d+) (%d+) (%d+%-%d+) (%w+) (%d+)$')
if writer == by and batch == number then
  return 1 -- it was written, and the reply was lost
end
bytes, cut, upto = tonumber(bytes or 0), tonumber(cut or 0), upto or '0-0'
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
if not newest then
  bytes = 0
end
local function parts(id)
  local high, low = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(high), tonumber(low)
end
local last, serial = parts(upto)
if newest then
  local high, low = parts(newest[1])
  if high > last or (high == last and low > serial) then
    last, serial = high, low
  end
end
if tonumber(dropped) > 0 then
  -- They came before these lines and after all that is there.
  cut, serial = cut + dropped, serial + 1
  upto = string.format('%.0f-%.0f', last, serial)
end
for i = first_more, #ARGV, 6 do
  local at = ms - ARGV[i]
  if at > last then
    last, serial = at, 0
  else
    serial = serial + 1
  end
  redis.call('XADD', stream, string.format('%.0f-%.0f', last, serial), 's', ARGV[i + 1], 'l', ARGV[i + 2],
    'p', ARGV[i + 3], 'a', ARGV[i + 4], 'm', ARGV[i + 5])
  bytes = bytes + #ARGV[i + 3] + #ARGV[i + 5] + ENTRY
end
local kept = tonumber(keep)
while bytes > kept do
  local gone = 0
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 200)
  for _, entry in ipairs(oldest) do
    if bytes <= kept then
      break
    end
    bytes = bytes - #entry[2][6] - #entry[2][10] - ENTRY
    upto = entry[1]
    gone = gone + 1
  end
  if gone == 0 then
    break
  end
  redis.call('XTRIM', stream, 'MAXLEN', redis.call('XLEN', stream) - gone)
  cut = cut + gone
end
redis.call('HSET', job, 'log', string.format('%.0f %.0f %s %s %s', bytes, cut, upto, by, number))
-- The end of the execution sets the time for real; this is for streams that somebody's DEL of the job leaves behind.
redis.call('EXPIRE', stream, (tonumber(retention or '') or 604800) + (tonumber(timeout or '') or 0) + 86400)
announce(string.sub(stream, #LOG + 1), 'log')
return 1
