-- Tells whoever waits for news of an execution `what` has changed; see telling.py. A Redis user that may not publish is
-- to accept and end executions all the same, so this is pcall.
local function announce(uid, what)
  redis.pcall('PUBLISH', TOLD .. uid, what)
end
