//! The trait of a store, and what its methods take.

use super::{Generations, StoreFuture};
use crate::entry::Entry;
use crate::error::{StoreError, StoreErrorKind};
use crate::key::KeyRef;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// When a put takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Whatever was there before.
    Always,
    /// Only if the key is absent or expired.
    IfAbsent,
}

/// What [`Store::increment`] starts from when there is no counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialCounter {
    value: i64,
    ttl: Option<Duration>,
}

impl InitialCounter {
    /// Creates the start of a counter, which lives for a time (`None` is for ever).
    #[must_use]
    pub const fn new(value: i64, ttl: Option<Duration>) -> Self {
        Self { value, ttl }
    }

    /// Returns the value before the first change.
    #[must_use]
    pub const fn value(self) -> i64 {
        self.value
    }

    /// Returns the TTL of the new counter; `None` if it never expires.
    #[must_use]
    pub const fn ttl(self) -> Option<Duration> {
        self.ttl
    }
}

/// Where responses are kept.
///
/// # Contract
/// Every method may be called at any time from any number of tasks. A method that fails returns a
/// [`StoreError`]; it never panics and never blocks the thread. Time to live is counted from the
/// put; an expired entry is absent for every method. An entry may disappear at any time (eviction,
/// restart): that is a miss, never an error. What the contract says of atomicity holds against all
/// users of the store.
///
/// Entries are handed out as they were put: status, header lines and body bytes are never changed.
///
/// A store proves that it keeps the contract with [`contract`](crate::store), feature `testing`.
///
/// # Cancel safety
/// A future that is dropped before it is ready leaves the store as before the call or as after it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response store",
    note = "use `MemoryStore`, or implement `tower_response_cache::Store`"
)]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the entry under a key, or `None` if there is none or it has expired.
    ///
    /// The full bytes of the key decide, not a hash of them.
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>>;

    /// Stores an entry for a time (`None` is for ever) and returns whether the mode let it.
    ///
    /// A zero `ttl` stores nothing, removes what was there (unless the mode is
    /// [`PutMode::IfAbsent`]) and returns `false`. A `ttl` that is too long for the store is for ever.
    ///
    /// Whenever this fails, or the entry is too large,
    /// the entry that was there before must be gone: old data must not outlive a write of new data.
    /// `IfAbsent` is atomic: of many concurrent calls on an absent key one returns `true`.
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool>;

    /// Removes an entry and returns whether there was one that had not expired.
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool>;

    /// Adds to a counter atomically and returns its new value. The time to live stays as it is.
    ///
    /// Fails with [`StoreErrorKind::Missing`] if there is no counter and no `initial`. Fails with
    /// [`StoreErrorKind::NotANumber`] if the entry is not a counter. Fails with [`StoreErrorKind::Overflow`] past
    /// the range of `i64`, and leaves the counter unchanged.
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64>;

    /// Puts `new` if what is stored equals `expected` (`None` is absent), atomically, and returns
    /// whether it did. With a zero `ttl`, what is stored is removed instead.
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool>;

    /// Returns the entries under several keys, in their order.
    ///
    /// Without, they are asked for one by one: where the backend can do better, have it do so.
    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        StoreFuture::all(keys.iter().map(|key| self.get(*key)).collect())
    }

    /// Stores several entries, whatever was there before, and returns whether each was stored. Together they
    /// are not atomic.
    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        let put = |(key, entry, ttl): &(KeyRef<'_>, Entry, Option<Duration>)| {
            self.put(*key, entry.clone(), *ttl, PutMode::Always)
        };
        StoreFuture::all(entries.iter().map(put).collect())
    }

    /// Removes several entries and returns of each whether there was one.
    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        StoreFuture::all(keys.iter().map(|key| self.remove(*key)).collect())
    }

    /// Sets how long an entry lives from now on (`None` is for ever) and returns whether there is one that has
    /// not expired. A zero `ttl` removes it.
    ///
    /// Without, it is [`Unsupported`](StoreErrorKind::Unsupported), and done by
    /// [`compare_and_set`](Self::compare_and_set).
    fn touch(&self, _key: KeyRef<'_>, _ttl: Option<Duration>) -> StoreFuture<bool> {
        StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unsupported)))
    }

    /// Returns the invalidations of a namespace, shared by all who ask for the same one. An invalidation in one
    /// namespace leaves the other namespaces alone.
    ///
    /// Called for each new [`Cache`](crate::cache::Cache), and by each call of
    /// [`Cache::with_namespace`](crate::cache::Cache::with_namespace). A store inside the process returns what a
    /// [`LocalGenerations`](super::LocalGenerations) of its own says. Without, they are kept as one entry of the store
    /// itself, which is read with each look-up and changed by [`compare_and_set`](Self::compare_and_set): where the
    /// backend can do better, have it do so.
    fn generations(&self, _namespace: &str) -> Option<Arc<dyn Generations>> {
        None
    }

    /// Tells that every future of this store is ready at once.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the size in bytes ([`Entry::weight`] and key together) past which a put is in vain.
    fn largest_entry(&self) -> Option<u64> {
        None
    }
}
