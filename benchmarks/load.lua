-- Sends one OPERATION after the other for the tokens, ids and cursors in the lines of CALLS, and prints the results.
local operation, path = os.getenv("OPERATION"), "/api/v1/generations"
local requests, number = {}, 0

function init()
  for line in io.lines(os.getenv("CALLS")) do
    local token, id, cursor = line:match("(%S+) (%S+) (%S+)")
    local headers = { Authorization = "Bearer " .. token }
    local name, value = (os.getenv("HEADER") or ""):match("(%S+): (.+)")
    if name then headers[name] = value end
    local count = #requests + 1
    if operation == "get" then
      requests[count] = wrk.format("GET", path .. "/" .. id, headers)
    elseif operation == "list" then -- a first and a later page in turn
      requests[count] = wrk.format("GET", path .. (count % 2 == 0 and "?cursor=" .. cursor or ""), headers)
    else
      headers["Content-Type"] = "application/json"
      requests[count] = wrk.format("POST", path, headers, '{"prompt": "a lighthouse at dusk, rain, long exposure"}')
    end
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\nRESULT {"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
