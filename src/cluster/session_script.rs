//! The scripts for the sessions of users, which Redis runs atomically. [`entry`](super::entry) describes the
//! data.

use redis::Script;

use super::entry::VALUE_BYTES;

/// How many sessions of a user are listed: more than the largest limit. Beyond it, the oldest leave the list
/// but stay valid.
pub(super) const MOST_OF_USER: usize = 128;

/// More entries than this are not from nodes: all are deleted, and nodes put back those that they know.
const MOST_ENTRIES: usize = 1_000;

/// How many words a script takes for each session.
pub(super) const WORDS: usize = 8;

/// The scripts.
pub(super) struct SessionScripts {
    /// Lists sessions. Keys: the user's. Returns the time, how many invalid entries were deleted, and field
    /// and value of each other one.
    pub(super) list: Script,
    /// Counts sessions, and grants a new one. Keys: the user's. Arguments: the limit, `oldest` or `refuse`,
    /// the identifier that is replaced or an empty word, how many entries are dead, these, the new session,
    /// and others that the caller knows to be live.
    ///
    /// Returns `granted` or `refused`, how many other sessions there are, how many entries were invalid and,
    /// if granted, the sessions over the limit, the oldest first. They stay until a caller reports them dead.
    pub(super) grant: Script,
    /// Announces sessions. Keys: for each, its user's. Arguments: a channel, the head of a message, then for
    /// each `put` or `end` and its words.
    ///
    /// Returns the time, how many entries were invalid, then for each session of which another node knows a
    /// newer token, or the same one for longer: its place, from 1, the generation, and since when. A new
    /// generation is also sent as a message.
    pub(super) tell: Script,
}

impl Default for SessionScripts {
    fn default() -> Self {
        let bounds =
            [("MOST_ENTRIES", MOST_ENTRIES), ("MOST_OF_USER", MOST_OF_USER), ("VALUE_BYTES", VALUE_BYTES)];
        let common = bounds
            .iter()
            .fold(COMMON.to_owned(), |text, (name, bound)| text.replace(name, &bound.to_string()));
        let script = |text: &str| Script::new(&format!("{common}{text}"));
        Self { list: script(LIST), grant: script(GRANT), tell: script(TELL) }
    }
}

/// The words of a session are: identifier, granted, ends, seen, generation, epoch, client, node.
const COMMON: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local strange = 0
local function text(number) return string.format('%.0f', number) end
local function read(field, value)
  if #field ~= 32 or #value > VALUE_BYTES or string.find(field, '[^0-9a-f]') then return nil end
  local words = {string.match(value, '^1 (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([0-9a-f]+) ([!-~]+)$')}
  if #words ~= 8 then return nil end
  for i = 1, 6 do
    if #words[i] > 15 then return nil end
    words[i] = tonumber(words[i])
  end
  return {id = field, value = value, granted = words[1], ends = words[2], seen = words[3], generation = words[4], since = words[5],
    epoch = words[6], client = words[7], node = words[8]}
end
local function given(at)
  return {id = ARGV[at], granted = tonumber(ARGV[at + 1]), ends = tonumber(ARGV[at + 2]), seen = tonumber(ARGV[at + 3]),
    generation = tonumber(ARGV[at + 4]), since = now, epoch = tonumber(ARGV[at + 5]), client = ARGV[at + 6], node = ARGV[at + 7]}
end
local function older(a, b)
  if a.granted ~= b.granted then return a.granted < b.granted end
  return a.id < b.id
end
local function held(key)
  if redis.call('HLEN', key) > MOST_ENTRIES then
    redis.call('DEL', key)
    strange = strange + 1
    return {}
  end
  local all, found = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    local entry = read(all[i], all[i + 1])
    if entry then
      found[#found + 1] = entry
    else
      redis.call('HDEL', key, all[i])
      strange = strange + 1
    end
  end
  return found
end
local function merge(key, entry)
  local value, was, is_news = redis.call('HGET', key, entry.id), nil, false
  if value then
    was = read(entry.id, value)
    if not was then strange = strange + 1 end
  end
  if was then
    entry.granted, entry.ends, entry.epoch = was.granted, was.ends, was.epoch
    if string.find(was.client, '[^0]') then entry.client = was.client end
    if was.seen > entry.seen then entry.seen, entry.node = was.seen, was.node end
    if was.generation >= entry.generation then
      entry.generation, entry.since = was.generation, was.since
    else
      is_news = true
    end
  end
  redis.call('HSET', key, entry.id, table.concat({'1', text(entry.granted), text(entry.ends), text(entry.seen), text(entry.generation),
    text(entry.since), text(entry.epoch), entry.client, entry.node}, ' '))
  local last = math.max(entry.ends, now) + 60000
  if redis.call('PTTL', key) < last - now then redis.call('PEXPIREAT', key, text(last)) end
  return was, is_news
end
local function forget_the_oldest(key)
  if redis.call('HLEN', key) <= MOST_OF_USER then return end
  local found = held(key)
  table.sort(found, older)
  for i = 1, #found - MOST_OF_USER do redis.call('HDEL', key, found[i].id) end
end
";

const LIST: &str = r"
local found = held(KEYS[1])
local answer = {text(now), text(strange)}
for i = 1, #found do
  answer[#answer + 1] = found[i].id
  answer[#answer + 1] = found[i].value
end
return answer
";

const GRANT: &str = r"
local limit, replaced, dead = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4])
for i = 5, 4 + dead do redis.call('HDEL', KEYS[1], ARGV[i]) end
local new = given(5 + dead)
for at = 13 + dead, #ARGV, 8 do merge(KEYS[1], given(at)) end
local found, others = held(KEYS[1]), {}
for i = 1, #found do
  if found[i].id ~= new.id and found[i].id ~= replaced then others[#others + 1] = found[i] end
end
if ARGV[2] == 'refuse' and #others >= limit then return {'refused', #others, strange, {}} end
merge(KEYS[1], new)
table.sort(others, older)
local surplus = {}
for i = 1, #others + 1 - limit do
  surplus[#surplus + 1] = others[i].id
  surplus[#surplus + 1] = others[i].value
end
forget_the_oldest(KEYS[1])
return {'granted', #others, strange, surplus}
";

const TELL: &str = r"
local answer = {now, 0}
for i = 1, #KEYS do
  local at = 3 + (i - 1) * 9
  if ARGV[at] == 'end' then
    redis.call('HDEL', KEYS[i], ARGV[at + 1])
  else
    local entry = given(at + 1)
    local generation = entry.generation
    local was, is_news = merge(KEYS[i], entry)
    if was and generation > 0 and was.generation == generation or was and was.generation > generation then
      answer[#answer + 1] = i
      answer[#answer + 1] = was.generation
      answer[#answer + 1] = was.since
    end
    if is_news then redis.call('PUBLISH', ARGV[1], ARGV[2] .. ':' .. entry.id .. ':' .. text(generation)) end
    if not was then forget_the_oldest(KEYS[i]) end
  end
end
answer[2] = strange
return answer
";
