//! The scripts that run in the server. Each touches one key.

use redis::{Cmd, Script};
use std::sync::LazyLock;

/// A script, with the digest by which the server knows it.
pub(super) struct ServerScript {
    code: String,
    digest: String,
}

/// A call of a script with its key and arguments.
pub(super) struct ScriptCall {
    pub(super) script: &'static ServerScript,
    pub(super) key: Vec<u8>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl ServerScript {
    fn new(parts: &[&str]) -> Self {
        let code = parts.concat();
        let digest = Script::new(&code).get_hash().to_owned();
        Self { code, digest }
    }
}

impl ScriptCall {
    /// Returns the command that calls the script by its digest.
    pub(super) fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", &self.script.digest)
    }

    /// Returns the command that sends the code of the script. The server then knows the script.
    pub(super) fn by_code(&self) -> Cmd {
        self.command("EVAL", &self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(&self.key);
        for argument in &self.arguments {
            command.arg(argument);
        }
        command
    }
}

/// Verifies that the server has the commands of the store, and that the user may run them.
///
/// The script writes nothing, because it has the flag `no-writes`: the server verifies the command
/// and the permission first, and then refuses the write.
pub(super) static PROBE: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        "#!lua flags=allow-oom,no-writes\n",
        r"
local commands = {
    {'GET'}, {'GETRANGE', 0, 1}, {'SET', '1'}, {'DEL'}, {'INCRBY', 1}, {'PEXPIRE', 1}, {'HGET', 'g'},
    {'HSET', 'g', '1'},
}
for _, command in ipairs(commands) do
    local reply = redis.pcall(command[1], KEYS[1], unpack(command, 2))
    local message = type(reply) == 'table' and reply.err or ''
    if string.find(message, 'Unknown') then
        return redis.error_reply('ERR ' .. command[1] .. ': ' .. message)
    end
    if string.find(message, 'ACL failure') or string.find(message, 'this command or subcommand') then
        return redis.error_reply('NOPERM ' .. command[1] .. ': ' .. message)
    end
end
return 1
",
    ])
});

/// The start of all scripts for entries. `ARGV[1]` is the start of a value under this key,
/// `ARGV[2]` the kind of an entry, `ARGV[3]` the start of a frame. Counters have the kind `n`.
const ENTRY: &str = r"
local start, size = ARGV[1], #ARGV[1]
local found = redis.pcall('GETRANGE', KEYS[1], 0, size + 20)
local kind = ''
if type(found) == 'string' and string.sub(found, 1, size) == start then
    kind = string.sub(found, size + 1, size + 1)
end
local frame = #ARGV[3]
local is_counter = kind == 'n' and ARGV[2] == 'e'
local is_entry = kind == ARGV[2] and string.sub(found, size + 18, size + 17 + frame) == ARGV[3]
local is_present = is_counter or is_entry
local function set(value, ttl)
    redis.call('SET', KEYS[1], value, 'PX', ttl)
end
";

/// Stores `ARGV[4]` for `ARGV[5]` milliseconds if the key is absent.
pub(super) static PUT_IF_ABSENT: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
if is_present then return 0 end
set(ARGV[4], ARGV[5])
return 1
",
    ])
});

/// Stores `ARGV[4]` if the stored value has the stamp `ARGV[6]`, or if the key is absent and the stamp
/// is empty. `ARGV[5]` is the time in milliseconds, `keep` for the remaining time, or zero to remove
/// the key.
pub(super) static COMPARE_AND_SET: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
local stamp = ARGV[6]
if stamp == '' then
    if is_present then return 0 end
elseif is_counter then
    if string.sub(found, size + 1) ~= stamp then return 0 end
elseif not is_entry or string.sub(found, size + 1, size + #stamp) ~= stamp then
    return 0
end
if ARGV[5] == '0' then
    redis.call('DEL', KEYS[1])
elseif ARGV[5] == 'keep' then
    redis.call('SET', KEYS[1], ARGV[4], 'KEEPTTL')
else
    set(ARGV[4], ARGV[5])
end
return 1
",
    ])
});

/// Removes the key. Returns 1 if it had an entry.
pub(super) static REMOVE: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
redis.call('DEL', KEYS[1])
return is_present and 1 or 0
",
    ])
});

/// Removes the key if its value still starts with `ARGV[4]`, the start of an undecodable value.
pub(super) static REMOVE_UNREADABLE: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
if found == ARGV[4] then redis.call('DEL', KEYS[1]) end
return 1
",
    ])
});

/// Sets the remaining time to live to `ARGV[4]` milliseconds, or removes the key if `ARGV[4]` is
/// zero.
pub(super) static TOUCH: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
if not is_present then return 0 end
if ARGV[4] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
",
    ])
});

/// Adds `ARGV[4]` to a counter. `ARGV[5]` is the initial value, or empty. `ARGV[6]` is the time to
/// live of a new counter, in milliseconds. `INCRBY` computes with 64 bits, unlike Lua.
pub(super) static INCREMENT: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        ENTRY,
        r"
local number
if is_counter then
    number = string.sub(found, size + 2)
    redis.call('SET', KEYS[1], number, 'KEEPTTL')
elseif is_present then
    return 'not-a-number'
elseif ARGV[5] == '' then
    return 'missing'
else
    set(ARGV[5], ARGV[6])
end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[4])
if type(sum) == 'table' then
    if is_counter then redis.call('SET', KEYS[1], found, 'KEEPTTL') else redis.call('DEL', KEYS[1]) end
    return string.find(sum.err, 'overflow') and 'overflow' or 'not-a-number'
end
sum = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], start .. 'n' .. sum, 'KEEPTTL')
return sum
",
    ])
});

/// The start of all scripts for records. Other programs can write any hash, so numbers are bounded:
/// Lua computes exactly up to 2^52, and a loop to a larger number never ends.
const RECORD: &str = r"
local function integer(text)
    if not text or #text > 16 or not string.find(text, '^%d+$') then return nil end
    local number = tonumber(text)
    if number < 4503599627370496 then return number end
end
-- A head has at most 41 bytes. Longer ones are malformed, and are not returned whole.
local function short(head)
    return string.sub(head, 1, 64)
end
local function counter_of(head)
    return integer(string.sub(head, 26, 64))
end
";

/// Returns the head of a record. If the log has the generation of the caller, also returns the
/// advances after that generation. Otherwise, also returns the snapshot and the advances after the
/// snapshot. `ARGV[1]` is the incarnation of the generation, `ARGV[2]` the counter, `ARGV[3]` the
/// stamp. A reply is much shorter than 4 MiB unless the record is damaged.
const LOG: &str = r"
local function log(head)
    local now = counter_of(head)
    head = short(head)
    if not now or string.sub(head, 1, 1) ~= '1' then return {head} end
    local reply, from, bytes = {head}, nil, 0
    if string.sub(head, 2, 17) == ARGV[1] then
        local known = redis.call('HGET', KEYS[1], ARGV[2])
        if known and string.sub(known, 1, 4) == ARGV[3] then from = integer(ARGV[2]) end
    end
    if from and from <= now then
        reply[2] = false
    else
        reply[2] = redis.call('HGET', KEYS[1], 's')
        from = integer(redis.call('HGET', KEYS[1], 'S'))
        bytes = reply[2] and #reply[2] or 0
    end
    if not from or now - from > 4096 or bytes > 4194304 then return {head} end
    for counter = from + 1, now do
        local advance = redis.call('HGET', KEYS[1], string.format('%.0f', counter))
        bytes = bytes + (advance and #advance or 0)
        if bytes > 4194304 then return {head} end
        reply[#reply + 1] = advance
    end
    return reply
end
";

/// Reads a record.
pub(super) static READ_RECORD: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        "#!lua flags=no-writes\n",
        RECORD,
        LOG,
        r"
local head = redis.call('HGET', KEYS[1], 'g')
return head and log(head) or {}
",
    ])
});

/// Appends the advance `ARGV[5]` with the stamp `ARGV[4]`, unless the record has another
/// incarnation or its log is full. Returns the record as `READ_RECORD` does. `ARGV[6]` is the time
/// to live of the record, `ARGV[7]` the most advances of the log, and `ARGV[8]` its most bytes. A
/// log of unknown size is full.
pub(super) static ADVANCE: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        "#!lua flags=allow-oom\n",
        RECORD,
        LOG,
        r"
local head = redis.call('HGET', KEYS[1], 'g')
local now = head and counter_of(head)
if not now or string.sub(head, 1, 17) ~= '1' .. ARGV[1] then return 'moved' end
local first = integer(redis.call('HGET', KEYS[1], 'S'))
local bytes = integer(redis.call('HGET', KEYS[1], 'b'))
if not first or not bytes or first > now then return 'full' end
if now - first >= tonumber(ARGV[7]) or bytes + #ARGV[5] > tonumber(ARGV[8]) then return 'full' end
local counter = string.format('%.0f', now + 1)
head = '1' .. ARGV[1] .. ARGV[4] .. counter
redis.call('HSET', KEYS[1], 'g', head, counter, ARGV[5], 'b', string.format('%.0f', bytes + #ARGV[5]))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return log(head)
",
    ])
});

/// Renews a record for `ARGV[4]` milliseconds if it has passed a generation. `ARGV[1]` is the
/// incarnation of the generation, `ARGV[2]` the counter, `ARGV[3]` the stamp. Returns zero if the
/// log of the record lacks the generation.
pub(super) static RENEW_PASSED: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        "#!lua flags=allow-oom\n",
        r"
local head = redis.call('HGET', KEYS[1], 'g')
if not head or string.sub(head, 1, 17) ~= '1' .. ARGV[1] then return 0 end
local known = redis.call('HGET', KEYS[1], ARGV[2])
if not known or string.sub(known, 1, 4) ~= ARGV[3] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
",
    ])
});

/// Replaces the record with the head `ARGV[1]`, or an absent record if `ARGV[1]` is empty.
/// `ARGV[2]` is the new head, `ARGV[3]` the snapshot of the counter `ARGV[4]`, and `ARGV[5]` the
/// last advance. `ARGV[6]` is the time to live in milliseconds.
pub(super) static REPLACE_RECORD: LazyLock<ServerScript> = LazyLock::new(|| {
    ServerScript::new(&[
        "#!lua flags=allow-oom\n",
        RECORD,
        r"
local head = redis.pcall('HGET', KEYS[1], 'g')
if type(head) ~= 'string' then head = '' end
if short(head) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'g', ARGV[2], 's', ARGV[3], 'S', ARGV[4], 'b', #ARGV[5], ARGV[4], ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
",
    ])
});
