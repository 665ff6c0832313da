-- job_submit.lua: Slurm looks at the `asbx:` hints of a job when it is submitted, so that a slip of the finger is told
-- to its user at once and not to the log of a daemon when the nodes come.
--
-- Put it beside slurm.conf on every controller, say what your partitions are below, add
--
--     JobSubmitPlugins=lua
--
-- to slurm.conf and run `scontrol reconfigure`. slurmctld holds its locks while this runs, so it only looks at the
-- job's own words: it reads no file, starts no program and asks nobody.
--
-- What it does for jobs of the partitions below, whichever of Slurm's commands they come from:
--   * spells hints as the product reads them (`Market=OnDemand` -> `market=on-demand`)
--   * refuses hints nobody understands, values out of range, and hints that contradict each other or the partition
--   * adds the partition's market where a job names none
-- Jobs of other partitions, and texts without `asbx:`, are left as they are.

-- ---------------------------------------------------------------------------------------------------- for the site

-- partition -> markets: what its node groups buy (purchasing_option); market: for jobs that name none, nil for no word;
-- extra_nodes: the most its groups allow (most_extra_nodes); default: of slurm.conf, for jobs that name no partition.
local partitions = {
  aws = { markets = { "spot", "on-demand" }, market = nil, extra_nodes = 0, default = true },
}

-- ------------------------------------------------------------------------------------------------- for the product

-- hint -> its values (src/asbx/decide/hints.py; a test holds the two against each other).
local values = {
  efa = { "required", "preferred", "optional", "disabled" },
  placement = { "cluster", "partition", "spread", "none" },
  strategy = { "gang", "greedy", "best-effort" },
  market = { "spot", "on-demand" },
}
-- Limits a job sets itself, in USD or hours.
local amounts = {
  ["max-cost"] = true, ["max-cost-per-hour"] = true, ["max-hours"] = true, ["cost-alert"] = true,
  ["auto-terminate-hours"] = true,
}
-- What people write instead.
local meant = {
  efa = { yes = "required", ["true"] = "required", on = "required", no = "disabled", ["false"] = "disabled",
          off = "disabled" },
  placement = { no = "none", off = "none" },
  strategy = { ["all-or-nothing"] = "gang", besteffort = "best-effort" },
  market = { ondemand = "on-demand", od = "on-demand" },
}
-- EC2 puts at most seven instances of a spread group into one zone (EC2 user guide, "Placement strategies").
local spread_most = 7
-- As much of a comment is read as the product reads.
local longest = 4096

local function shown(text)
  text = text:gsub("[^%w%p ]", "?")
  if #text > 60 then text = text:sub(1, 58) .. ".." end
  return text
end

local function listed(words)
  return table.concat(words, ", ")
end

local function has(words, word)
  for _, one in ipairs(words) do
    if one == word then return true end
  end
  return false
end

local function keys_known()
  local names = { "plan", "extra-nodes" }
  for name in pairs(values) do names[#names + 1] = name end
  for name in pairs(amounts) do names[#names + 1] = name end
  table.sort(names)
  return listed(names)
end

-- Return the hint as the product reads it, or nil and what is wrong with it.
local function spelled(key, value, where)
  key, value = key:lower():gsub("_", "-"), value:lower()
  if values[key] then
    value = value:gsub("_", "-")
    value = meant[key][value] or value
    if not has(values[key], value) then
      return nil, key .. "=" .. shown(value) .. " is not understood; " .. key .. " is one of: " .. listed(values[key])
    end
  elseif key == "plan" then
    if not value:match("^[a-z0-9][a-z0-9_-]*$") or #value > 64 then
      return nil, "plan=" .. shown(value) .. " is no name of a plan: letters, digits, - and _, at most 64"
    end
  elseif key == "extra-nodes" then
    local most = where.extra_nodes or 0
    if not value:match("^%d+$") or #value > 4 or tonumber(value) > most then
      return nil, "extra-nodes=" .. shown(value) .. " is not allowed: at most " .. most .. " in this partition"
    end
  elseif amounts[key] then
    local whole, part = value:match("^(%d+)%.?(%d*)$")
    if not whole or #whole > 7 or #part > 6 or value:sub(-1) == "." or tonumber(value) <= 0 then
      return nil, key .. "=" .. shown(value) .. " is no amount: digits, with a point, more than 0"
    end
  else
    return nil, shown(key) .. " is no hint; there are: " .. keys_known()
  end
  return key, value
end

-- Read the words of a text. Return the text with its hints spelled right, what they say, and what is wrong with them.
local function read(text, where)
  local said, wrong = {}, {}
  local head, tail = text:sub(1, longest), text:sub(longest + 1)
  local fixed = (" " .. head):gsub("(%s)[aA][sS][bB][xX]:(%S*)", function(space, words)
    local kept = {}
    for word in words:gmatch("[^,]+") do
      local key, value = word:match("^([^=]*)=?(.*)$")
      local good, what = spelled(key, value, where)
      if not good then
        wrong[#wrong + 1] = what
      elseif said[good] and said[good] ~= what then
        wrong[#wrong + 1] = good .. " is " .. said[good] .. " and " .. what .. " at once"
      else
        if not said[good] then kept[#kept + 1] = good .. "=" .. what end
        said[good] = what
      end
    end
    return space .. "asbx:" .. listed(kept):gsub(", ", ",")
  end)
  return fixed:sub(2) .. tail, said, wrong
end

-- What the words of a job say that this partition, or EC2, cannot do.
local function impossible(said, job, where)
  local wrong = {}
  if said.market and where.markets and not has(where.markets, said.market) then
    wrong[#wrong + 1] = "market=" .. said.market .. ": this partition buys " .. listed(where.markets) .. " only"
  end
  local nodes = job.min_nodes or 0
  if nodes >= slurm.NO_VAL then nodes = 0 end
  if said.placement == "spread" and said.strategy == "gang" and nodes > spread_most then
    wrong[#wrong + 1] = "placement=spread has at most " .. spread_most .. " nodes of a gang, the job wants " .. nodes
  end
  if said.efa == "required" and (said.placement == "spread" or said.placement == "partition") then
    wrong[#wrong + 1] = "efa=required wants its nodes close together, placement=" .. said.placement .. " apart"
  end
  return wrong
end

-- The partition of ours a job goes to: the first one it names, nil where it names others.
local function place_of(named)
  if not named or named == "" then
    for _, one in pairs(partitions) do
      if one.default then return one end
    end
    return nil
  end
  for name in named:gmatch("[^,]+") do
    if partitions[name] then return partitions[name] end
  end
  return nil
end

-- Look at the words of a job. Return slurm.SUCCESS, or slurm.ERROR when its user must change them.
local function look(job)
  local where = place_of(job.partition)
  if not where then return slurm.SUCCESS end
  local said, wrong = {}, {}
  for _, field in ipairs({ "comment", "extra" }) do
    local text = job[field]
    if type(text) == "string" and text:lower():find("asbx:", 1, true) then
      local fixed, more, bad = read(text, where)
      for key, value in pairs(more) do said[key] = said[key] or value end
      for _, what in ipairs(bad) do wrong[#wrong + 1] = what end
      if fixed ~= text and #bad == 0 then job[field] = fixed end
    end
  end
  for _, what in ipairs(impossible(said, job, where)) do wrong[#wrong + 1] = what end
  if #wrong > 0 then
    slurm.log_user("asbx: %s", table.concat(wrong, "\nasbx: "))
    return slurm.ERROR
  end
  -- A plan says what to buy itself.
  if where.market and not said.market and not said.plan then
    local before = type(job.comment) == "string" and job.comment ~= "" and job.comment .. " " or ""
    job.comment = before .. "asbx:market=" .. where.market
  end
  return slurm.SUCCESS
end

function slurm_job_submit(job_desc, part_list, submit_uid)
  return look(job_desc)
end

-- A job that is changed is looked at where its comment is; what it said at first stays.
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
  if type(job_desc.comment) ~= "string" then return slurm.SUCCESS end
  local where = place_of(job_desc.partition or job_rec.partition)
  if not where then return slurm.SUCCESS end
  local fixed, said, wrong = read(job_desc.comment, where)
  for _, what in ipairs(impossible(said, job_desc, where)) do wrong[#wrong + 1] = what end
  if #wrong > 0 then
    slurm.log_user("asbx: %s", table.concat(wrong, "\nasbx: "))
    return slurm.ERROR
  end
  if fixed ~= job_desc.comment then job_desc.comment = fixed end
  return slurm.SUCCESS
end

return slurm.SUCCESS
