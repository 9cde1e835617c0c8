//! The eviction policies of a server, and whether they suit a cache.
//!
//! The record of the invalidations must outlive the entries. If the server evicts it earlier, a new
//! incarnation begins: the cache stays correct, but all older entries are lost with it.
//!
//! | Policy | Suitable | Reason |
//! |---|---|---|
//! | `allkeys-lru`, `allkeys-lfu`, `volatile-lru`, `volatile-lfu` | yes | each hit reads the record |
//! | `volatile-ttl` | yes | the record expires after every entry |
//! | `allkeys-random`, `volatile-random` | no | the record is evicted like any entry |
//! | `allkeys-lrm`, `volatile-lrm` | no | the record is changed by invalidations alone |
//! | `noeviction` | no | a full server refuses new entries |
//!
//! Without a memory limit, nothing is evicted, and every policy is suitable.

use redis::Value;

/// The reason why the eviction policy of a server does not suit a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnsuitablePolicy {
    /// The server evicts any key.
    Random,
    /// The server evicts the key that was changed least recently.
    LeastRecentlyModified,
    /// A full server refuses new entries.
    NoEviction,
}

impl UnsuitablePolicy {
    /// Returns the first problem that the replies to `INFO memory` show: of one server, or of each
    /// primary of a cluster. An unknown policy is no problem.
    pub(super) fn find(reply: &Value) -> Option<Self> {
        match reply {
            Value::Map(all) => all.iter().find_map(|(_, reply)| Self::find(reply)),
            Value::VerbatimString { text, .. } => Self::of(text),
            Value::BulkString(text) => Self::of(std::str::from_utf8(text).ok()?),
            _ => None,
        }
    }

    fn of(info: &str) -> Option<Self> {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if field("maxmemory")?.trim() == "0" {
            return None;
        }
        match field("maxmemory_policy")?.trim() {
            "noeviction" => Some(Self::NoEviction),
            "allkeys-random" | "volatile-random" => Some(Self::Random),
            "allkeys-lrm" | "volatile-lrm" => Some(Self::LeastRecentlyModified),
            _ => None,
        }
    }

    /// Emits a warning that names the policy.
    pub(super) fn warn(self) {
        match self {
            Self::Random => {
                warning!("eviction policy random: the server may evict all entries of a namespace at once")
            }
            Self::LeastRecentlyModified => {
                warning!("eviction policy lrm: the server may evict all entries of a namespace at once")
            }
            Self::NoEviction => warning!("eviction policy noeviction: a full server stores no new entries"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(limit: u64, policy: &str) -> Value {
        let text = format!(
            "# Memory\r\nused_memory:1\r\nmaxmemory:{limit}\r\nmaxmemory_human:1M\r\nmaxmemory_policy:{policy}\r\n"
        );
        Value::BulkString(text.into())
    }

    #[test]
    fn policies_that_evict_the_record_before_entries_are_unsuitable() {
        use UnsuitablePolicy::{LeastRecentlyModified, NoEviction, Random};
        let table = [
            ("noeviction", Some(NoEviction)),
            ("allkeys-lru", None),
            ("allkeys-lfu", None),
            ("allkeys-random", Some(Random)),
            ("allkeys-lrm", Some(LeastRecentlyModified)),
            ("volatile-lru", None),
            ("volatile-lfu", None),
            ("volatile-ttl", None),
            ("volatile-random", Some(Random)),
            ("volatile-lrm", Some(LeastRecentlyModified)),
            ("a-policy-of-the-future", None),
        ];
        for (policy, expected) in table {
            assert_eq!(UnsuitablePolicy::find(&info(1 << 20, policy)), expected, "{policy}");
            assert_eq!(UnsuitablePolicy::find(&info(0, policy)), None, "{policy} without a limit");
        }
    }

    #[test]
    fn one_primary_of_a_cluster_may_be_unsuitable() {
        let reply = |policy| (Value::BulkString(b"a:1".to_vec()), info(1, policy));
        let all = Value::Map(vec![reply("allkeys-lru"), reply("noeviction")]);
        assert_eq!(UnsuitablePolicy::find(&all), Some(UnsuitablePolicy::NoEviction));
        assert_eq!(UnsuitablePolicy::find(&Value::Map(vec![reply("allkeys-lru")])), None);
        assert_eq!(UnsuitablePolicy::find(&Value::Nil), None);
    }
}
