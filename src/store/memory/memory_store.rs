//! The [`MemoryStore`], and its implementation of [`Store`].

use super::inner::MemoryInner;
use super::key_write_lock::KeyWriteLock;
use super::slot::StoredSlot;
use crate::entry::EntryKind;
use crate::store::{
    Entry, Generations, InitialCounter, KeyRef, PutMode, Store, StoreError, StoreErrorKind, StoreFuture,
    StoreStats,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A store in the memory of this process, with a capacity in bytes.
///
/// Clones share the entries. Other processes do not see them, and a restart loses them.
///
/// # Memory
/// The weight of an entry counts its key, header lines and body. When the weights of all entries
/// reach the capacity, the store evicts the least used entries. New entries are on probation: they
/// are evicted first unless they are used again. So a flood of requests for rare pages does not
/// evict the popular ones.
///
/// Each thread keeps replicas (copies) of the hottest entries, so that threads that serve the same
/// page do not slow each other down. Replicas take memory in addition to the capacity: a thread has
/// at most 32 replicas, each of at most 128 KiB. Invalidations also take memory in addition: see
/// [`LocalGenerations`](crate::store::LocalGenerations).
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, MemoryStore};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
/// ```
#[doc(alias = "in-memory")]
#[doc(alias = "LRU")]
#[derive(Clone)]
pub struct MemoryStore(pub(super) Arc<MemoryInner>);

impl MemoryStore {
    /// Returns the bytes that all entries take now.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.0.entries.weight()
    }

    /// Returns the number of entries, including expired entries that are not yet removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Returns `true` if the store has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

impl MemoryInner {
    fn incremented(
        &self,
        key: KeyRef<'_>,
        delta: i64,
        initial: Option<InitialCounter>,
    ) -> Result<i64, StoreError> {
        let mut lock = KeyWriteLock::acquire(self, key);
        let (value, expires) = match (lock.get_unexpired(), initial) {
            (Some(StoredSlot { entry: Entry(EntryKind::Counter(value)), expires }), _) => (*value, *expires),
            (Some(_), _) => return Err(StoreError::new(StoreErrorKind::NotANumber)),
            (None, Some(initial)) => (initial.value(), self.expiry(initial.ttl())),
            (None, None) => return Err(StoreError::new(StoreErrorKind::Missing)),
        };
        let value = value.checked_add(delta).ok_or_else(|| StoreError::new(StoreErrorKind::Overflow))?;
        lock.write(Entry(EntryKind::Counter(value)), expires);
        Ok(value)
    }
}

impl Store for MemoryStore {
    #[inline]
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let inner = &*self.0;
        let entry = inner.replicas.get(key, &inner.clock, || inner.get_unexpired(key, &mut Vec::new()));
        StoreFuture::ready(Ok(entry))
    }

    fn peek(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let slot = self.0.entries.peek(&key).filter(|slot| self.0.is_unexpired(slot));
        StoreFuture::ready(Ok(slot.map(|slot| slot.entry)))
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        // Locals are dropped before parameters, so the lock is released before `entry` is dropped.
        // The drop may run foreign code that uses the store (`Bytes::from_owner`).
        let mut lock = KeyWriteLock::acquire(&self.0, key);
        if mode == PutMode::IfAbsent && lock.get_unexpired().is_some() {
            return StoreFuture::ready(Ok(false));
        }
        if ttl == Some(Duration::ZERO) {
            if mode == PutMode::Always {
                lock.remove();
            }
            return StoreFuture::ready(Ok(false));
        }
        StoreFuture::ready(Ok(lock.write(entry, self.0.expiry(ttl))))
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let mut lock = KeyWriteLock::acquire(&self.0, key);
        let was_there = lock.get_unexpired().is_some();
        lock.remove();
        StoreFuture::ready(Ok(was_there))
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        StoreFuture::ready(self.0.incremented(key, delta, initial))
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        // As in `put`, the lock is released before the parameters are dropped.
        let mut lock = KeyWriteLock::acquire(&self.0, key);
        let equal = match (lock.get_unexpired(), expected) {
            (Some(slot), Some(expected)) => slot.entry == *expected,
            (None, None) => true,
            _ => false,
        };
        StoreFuture::ready(Ok(match (equal, ttl) {
            (false, _) => false,
            (true, Some(Duration::ZERO)) => {
                lock.remove();
                true
            }
            (true, _) => lock.write(new, self.0.expiry(ttl)),
        }))
    }

    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        let mut lock = KeyWriteLock::acquire(&self.0, key);
        let Some(entry) = lock.get_unexpired().map(|slot| slot.entry.clone()) else {
            return StoreFuture::ready(Ok(false));
        };
        match ttl {
            Some(Duration::ZERO) => lock.remove(),
            ttl => drop(lock.write(entry, self.0.expiry(ttl))),
        }
        StoreFuture::ready(Ok(true))
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        Some(self.0.generations.namespace(namespace))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn largest_entry(&self) -> Option<u64> {
        Some(self.0.largest_entry)
    }

    fn stats(&self) -> Option<StoreStats> {
        let stats = StoreStats::new().with_entries(self.len() as u64).with_bytes(self.weight());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let inner = &*self.0;
        Some(stats.with_evictions(read(&inner.evictions)).with_expirations(read(&inner.expirations)))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("entries", &self.len()).field("weight", &self.weight()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStoreBuilder;
    use super::super::slot::SLOT_WEIGHT;
    use super::*;
    use crate::error::ConfigErrorKind;

    fn put(store: &MemoryStore, key: &[u8], size: usize) -> bool {
        let entry = Entry::raw(vec![0; size]);
        let put = store.put(KeyRef::new(key), entry, None, PutMode::Always);
        put.now().expect("a ready result").expect("no error")
    }

    fn has(store: &MemoryStore, key: &[u8]) -> bool {
        store.get(KeyRef::new(key)).now().expect("local").expect("read").is_some()
    }

    #[test]
    fn weight_never_exceeds_the_capacity() {
        let store = MemoryStore::with_max_bytes(1 << 20);
        for i in 0..5000_u32 {
            put(&store, &i.to_le_bytes(), 700 + i as usize % 5000);
            assert!(store.weight() <= 1 << 20, "{} after {i}", store.weight());
        }
    }

    #[test]
    fn flood_of_rare_keys_does_not_evict_a_popular_one() {
        let store = MemoryStore::with_max_bytes(1 << 20);
        put(&store, b"hot", 2000);
        for i in 0..20_000_u32 {
            put(&store, &i.to_le_bytes(), 2000);
            if i % 50 == 0 {
                assert!(has(&store, b"hot"), "evicted after {i} other keys");
            }
        }
    }

    #[test]
    fn peeked_entry_is_evicted_like_an_unused_one() {
        let store = MemoryStore::with_max_bytes(1 << 20);
        let peek = |key| store.peek(KeyRef::new(key)).now().expect("local").expect("read").is_some();
        for i in 0..4000_u32 {
            put(&store, &i.to_le_bytes(), 2000);
            if i == 1000 {
                // The store is full, and evicts new entries first unless they are looked up.
                put(&store, b"peeked", 2000);
                put(&store, b"used", 2000);
                assert!(peek(b"peeked") && !peek(b"none"));
            }
            peek(b"peeked");
            has(&store, b"used");
        }
        assert!(!peek(b"peeked") && peek(b"used"));
    }

    #[test]
    fn entry_of_the_largest_configurable_size_is_stored() {
        for capacity in [64 << 10, 1 << 20, 40 << 20] {
            let store = MemoryStore::builder()
                .max_bytes(capacity)
                .largest_entry(capacity / 4)
                .build()
                .expect("valid");
            let size = capacity / 4 - SLOT_WEIGHT - Entry::raw("").weight() - 1;
            assert!(put(&store, b"k", size as usize), "{capacity}");
            assert!(has(&store, b"k"), "{capacity}");
        }
    }

    #[test]
    fn put_of_a_too_large_entry_removes_the_old_one() {
        let store = MemoryStore::with_max_bytes(1 << 20);
        put(&store, b"k", 10);
        assert!(!put(&store, b"k", 1 << 20));
        assert!(!has(&store, b"k"));
    }

    #[test]
    fn build_rejects_unusable_limits() {
        let kind = |builder: MemoryStoreBuilder| builder.build().expect_err("refused").kind();
        assert_eq!(kind(MemoryStore::builder().max_bytes(0)), ConfigErrorKind::CapacityTooSmall);
        assert_eq!(kind(MemoryStore::builder().largest_entry(0)), ConfigErrorKind::ZeroLimit);
        assert_eq!(
            kind(MemoryStore::builder().largest_entry(1 << 40)),
            ConfigErrorKind::LargestEntryTooLarge
        );
    }
}
