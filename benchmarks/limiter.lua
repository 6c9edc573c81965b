-- Shows generations, each with the key it belongs to, one after the other: a token and an id in each line of CALLS.
local requests, number = {}, 0

function init()
  for line in io.lines(os.getenv("CALLS")) do
    local token, id = line:match("(%S+) (%S+)")
    requests[#requests + 1] = wrk.format("GET", "/api/v1/generations/" .. id, { Authorization = "Bearer " .. token })
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end
