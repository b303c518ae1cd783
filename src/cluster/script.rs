//! The scripts, which Redis runs atomically, and the names of the keys.
//!
//! * `octroi:ended`, a sorted set: each revocation once, as the bytes of the journal's record. The score is
//!   its end, in milliseconds since 1970.
//! * `octroi:epochs`, a hash: the largest epoch that was assigned, by tenant.
//! * `octroi:state`, a hash. `id`: a name of the data, made by the node that found none. `seq`: how many
//!   messages were published. `began`: since when all nodes together know every revocation. `lost`: when a
//!   loss was found that no operator has accepted. Both are milliseconds since 1970.
//! * `octroi:nodes`, a hash: when each node last visited, by the clock of Redis, and which process of it.
//!
//! Messages go through the channels `octroi:DATABASE:news` and `octroi:DATABASE:heard:PROCESS`, because
//! channels are not separated by database.

use redis::Script;

pub(super) const ENDED: &str = "octroi:ended";
pub(super) const EPOCHS: &str = "octroi:epochs";
pub(super) const STATE: &str = "octroi:state";
pub(super) const NODES: &str = "octroi:nodes";

/// The end of records that are kept for good: larger than any time, and exact as a number in Redis.
pub(super) const FOR_GOOD: u64 = 1 << 53;

/// A node that has not visited for so long, four rounds, is not waited for any more.
pub(super) const LIVES_MILLIS: u32 = 4_000;

/// The scripts.
pub(super) struct Scripts {
    /// Puts revocations in, and publishes them. Keys: ended, epochs, state. Arguments: the channel, the head
    /// of the message, `strict` or `merge`, then of each revocation its end, its bytes, its tenant and its
    /// epoch where it is one, else two empty words.
    ///
    /// `strict` refuses an epoch that is not larger than every other of its tenant: the answer is then -1 and
    /// the largest. It publishes everything; `merge` publishes what was not there. Otherwise the answer is
    /// the number of the message, and how many were new.
    pub(super) put: Script,
    /// Says that a node lives, and what there is; forgets some of what has ended. Keys: state, nodes, ended.
    /// Arguments: the node, its process, a name for what is here should it have none, and a time that has
    /// passed. Returns the name, the number of the last message, how many revocations there are, and who was
    /// here last in the name of the node: when, which process, the time now, since when all is known, or
    /// nothing, and the name of each node with when it was last here, unless there are too many.
    pub(super) visit: Script,
    /// Settles since when all nodes together know every revocation: the earliest time of any node, because
    /// each has what the others have. Keys: state. Arguments: since when this node knows, when it found a
    /// loss, or 0. Returns the settled times.
    pub(super) began: Script,
    /// Lists the live nodes. Keys: nodes.
    pub(super) who: Script,
    /// Removes a node that shuts down. Keys: nodes. Arguments: the node, its process.
    pub(super) leave: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(PUT),
            visit: Script::new(VISIT),
            began: Script::new(BEGAN),
            who: Script::new(&WHO.replace("LIVES_MILLIS", &LIVES_MILLIS.to_string())),
            leave: Script::new(LEAVE),
        }
    }
}

/// A value that is not a number counts as none, so that foreign data stops no node.
const PUT: &str = r"
local strict = ARGV[3] == 'strict'
local function largest(tenant)
  return tonumber(redis.call('HGET', KEYS[2], tenant) or '') or 0
end
if strict then
  for i = 4, #ARGV, 4 do
    local tenant = ARGV[i + 2]
    if tenant ~= '' and tonumber(ARGV[i + 3]) <= largest(tenant) and not redis.call('ZSCORE', KEYS[1], ARGV[i + 1]) then
      return {-1, largest(tenant)}
    end
  end
end
local told, new = {}, 0
for i = 4, #ARGV, 4 do
  local added = redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  new = new + added
  if strict or added == 1 then told[#told + 1] = ARGV[i + 1] end
  local tenant = ARGV[i + 2]
  if tenant ~= '' and tonumber(ARGV[i + 3]) > largest(tenant) then redis.call('HSET', KEYS[2], tenant, ARGV[i + 3]) end
end
if #told == 0 then return {0, 0} end
local seq = redis.call('HINCRBY', KEYS[3], 'seq', 1)
redis.call('PUBLISH', ARGV[1], string.format('%.0f', seq) .. ':' .. ARGV[2] .. ':' .. table.concat(told))
return {seq, new}
";

const VISIT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSETNX', KEYS[1], 'id', ARGV[3])
local before = redis.call('HGET', KEYS[2], ARGV[1]) or ''
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
local past = redis.call('ZCOUNT', KEYS[3], '-inf', ARGV[4])
if past > 0 then redis.call('ZREMRANGEBYRANK', KEYS[3], 0, math.min(past, 2000) - 1) end
local state = redis.call('HMGET', KEYS[1], 'id', 'seq', 'began')
local nodes = {}
if redis.call('HLEN', KEYS[2]) <= 100 then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if #all[i] <= 128 then
      nodes[#nodes + 1] = all[i]
      nodes[#nodes + 1] = string.match(string.sub(all[i + 1], 1, 15), '^%d+') or '0'
    end
  end
end
return {state[1], state[2] or '0', redis.call('ZCARD', KEYS[3]), before, string.format('%.0f', now), state[3] or '', nodes}
";

/// Nodes write numbers of at most 15 digits.
const BEGAN: &str = r"
local began = redis.call('HGET', KEYS[1], 'began') or ''
if not string.match(began, '^%d+$') or #began > 15 or tonumber(began) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'began', ARGV[1], 'lost', ARGV[2])
end
local state = redis.call('HMGET', KEYS[1], 'began', 'lost')
local lost = state[2] or '0'
if not string.match(lost, '^%d+$') or #lost > 15 then lost = '0' end
return {state[1], lost}
";

/// A node that has not visited for a day is forgotten. A table that was flooded is deleted; live nodes are
/// back within a second.
const WHO: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HLEN', KEYS[1]) > 1000 then
  redis.call('DEL', KEYS[1])
  return {}
end
local all, lives = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local age = now - (tonumber(string.match(all[i + 1], '^%d+')) or 0)
  if age <= LIVES_MILLIS then lives[#lives + 1] = all[i] end
  if age > 86400000 then redis.call('HDEL', KEYS[1], all[i]) end
end
return lives
";

const LEAVE: &str = r"
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if string.match(before, '%S+$') == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
";
