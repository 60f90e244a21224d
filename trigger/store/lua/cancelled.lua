-- The error of an execution that the operator `by` has cancelled.
local function cancelled_error(by)
  return cjson.encode({class = 'Cancelled', message = 'Cancelled by ' .. by})
end
