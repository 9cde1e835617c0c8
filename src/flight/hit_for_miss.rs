//! Tables that remember a limited number of keys, each for a limited time. One table has the
//! hit-for-miss keys, whose requests do not collapse for a while. Another table has the outcome of
//! the last recording of each key.

use crate::clock::Moment;
use crate::key::{BuildPrehashed, KeyRef};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use std::fmt;
use std::time::Duration;

/// The reason why requests for a key do not collapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HitForMissReason {
    /// The last response could not be shared.
    Uncacheable,
    /// The `Cache-Control` of the last response forbade storing it in a shared cache.
    Forbidden,
    /// An inner cache layer handles requests for the key, so this layer does not.
    HandledByInner,
}

/// How long a key is hit-for-miss.
const HIT_FOR_MISS_TTL: Duration = Duration::from_secs(10);
/// The capacity of one table, in keys.
const CAPACITY: usize = 8192;

// The table holds only the hash of each key, so a long key takes no more memory than a short one.
// Keys with the same hash share an item; a shared item never leads to a wrong response.
type KeyTable<T> = Quick<u64, (T, Moment), UnitWeighter, BuildPrehashed>;

/// The keys whose requests do not collapse. Background work also uses this type, as a set of keys
/// with a TTL; the reason then has no meaning.
pub(crate) type HitForMiss = RecentKeys<HitForMissReason>;

/// A value of type `T` for each of the latest keys, for a limited time. If there are too many keys,
/// old ones are evicted.
pub(crate) struct RecentKeys<T> {
    keys: KeyTable<T>,
    /// How long a key is remembered.
    ttl: Duration,
}

impl Default for RecentKeys<HitForMissReason> {
    fn default() -> Self {
        Self::with_ttl(HIT_FOR_MISS_TTL)
    }
}

impl<T: Copy> RecentKeys<T> {
    /// Creates a table that keeps each key for at most `ttl`.
    pub(crate) fn with_ttl(ttl: Duration) -> Self {
        let (weights, lifecycle) = (UnitWeighter, DefaultLifecycle::default());
        let keys = Quick::with(CAPACITY, CAPACITY as u64, weights, BuildPrehashed::default(), lifecycle);
        Self { keys, ttl }
    }

    pub(crate) fn remember(&self, key: KeyRef<'_>, what: T, now: Moment) {
        self.keys.insert(key.process_hash(), (what, now.after(self.ttl)));
    }

    pub(crate) fn forget(&self, key: KeyRef<'_>) {
        self.keys.remove(&key.process_hash());
    }

    /// Returns the same as [`get`](Self::get), without counting as a use of the key.
    pub(crate) fn peek(&self, key: KeyRef<'_>, now: Moment) -> Option<T> {
        self.keys.peek(&key.process_hash()).filter(|(_, until)| now < *until).map(|(what, _)| what)
    }

    pub(crate) fn get(&self, key: KeyRef<'_>, now: Moment) -> Option<T> {
        self.keys.get(&key.process_hash()).filter(|(_, until)| now < *until).map(|(what, _)| what)
    }
}

impl<T: Copy> fmt::Debug for RecentKeys<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_expire_and_their_number_is_bounded() {
        let hit_for_miss = HitForMiss::default();
        let now = crate::clock::Clock::system().now();
        let key = KeyRef::new(b"k");
        hit_for_miss.remember(key, HitForMissReason::Uncacheable, now);
        assert_eq!(hit_for_miss.get(key, now), Some(HitForMissReason::Uncacheable));
        assert_eq!(hit_for_miss.get(key, now.after(HIT_FOR_MISS_TTL)), None);
        for i in 0..50_000_u32 {
            hit_for_miss.remember(KeyRef::new(&i.to_le_bytes()), HitForMissReason::Uncacheable, now);
        }
        assert!(hit_for_miss.keys.len() <= 2 * CAPACITY, "{}", hit_for_miss.keys.len());
    }
}
