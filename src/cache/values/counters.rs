//! Counters, and atomic changes of numbers.

use super::encoding::{decode, encode};
use super::state::{ValueSnapshot, ValueState};
use super::value::{MAX_ATTEMPTS, Value};
use crate::cache::{Cache, tracking};
use crate::entry::{Entry, EntryKind, StoredValue};
use crate::error::StoreError;
use crate::policy::Ttl;
use crate::store::{InitialCounter, PutMode, StoreErrorKind};
use std::sync::Arc;
use std::time::Duration;

impl Cache {
    /// Stores a counter under a key with a TTL, and returns `true` if the store accepts the
    /// counter.
    ///
    /// A counter is a number that the store itself increments, so that many tasks may change the
    /// number at the same time. An increment invalidates nothing, because no page depends on a
    /// counter. For a number on which pages depend, use [`set`](Self::set).
    ///
    /// If the key had a value, the dependents of that value are invalidated.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    pub async fn set_counter(
        &self,
        key: impl AsRef<[u8]>,
        number: i64,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, StoreError> {
        let value = self.value(key).ttl(ttl);
        let set = async {
            let begun = self.queue_position();
            let write = self.guard_write(vec![value.scope()]).await?;
            let put = value.put(Entry(EntryKind::Counter(number)), PutMode::Always, begun).await;
            write.finish().await?;
            put
        };
        let result = set.await;
        self.queue_removals(std::slice::from_ref(&value.name), &result);
        result
    }

    /// Adds to a number atomically, and returns the sum. The expiry of the number does not change.
    ///
    /// The number is a counter, or an integer that [`set`](Self::set), [`add`](Self::add) or
    /// [`get_or_set`](Self::get_or_set) stored as a value. An `Option` or a newtype of an integer
    /// counts as an integer. [`get`](Self::get) reads the number as any integer type that can hold
    /// it.
    ///
    /// If the number was stored as a value, its dependents are invalidated. The number keeps its
    /// tags and dependencies, but loses its stale window. A change of a counter invalidates
    /// nothing.
    ///
    /// # Errors
    /// - [`StoreErrorKind::Missing`] if there is no number.
    /// - [`StoreErrorKind::NotANumber`] if there is a value of another type, including `i128` and
    ///   `u128`.
    /// - [`StoreErrorKind::Overflow`] if the number or the sum is out of the range of `i64`. The number does not
    ///   change.
    /// - [`StoreErrorKind::Contended`] if other tasks changed the number during each of many
    ///   attempts. This error is possible for numbers that were stored as values. For counters, it
    ///   is possible only if the store has no atomic addition.
    /// - Any other kind if the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the change may or may not have taken effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// assert!(cache.incr("visits", 1).await.is_err());
    /// assert_eq!(cache.incr_or("visits", 1, 0, Duration::from_secs(60)).await?, 1);
    /// assert_eq!(cache.incr("visits", 2).await?, 3);
    /// cache.set("stock", &10_u8, Duration::from_secs(60)).await?;
    /// assert_eq!(cache.decr("stock", 1).await?, 9);
    /// assert_eq!(cache.get::<u16>("stock").await?, Some(9));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn incr(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, StoreError> {
        self.value(key).increment(delta, None).await
    }

    /// Subtracts from a number atomically, and returns the difference. See [`incr`](Self::incr).
    ///
    /// # Errors
    /// The same as for [`incr`](Self::incr). A `delta` of `i64::MIN` also fails with
    /// [`StoreErrorKind::Overflow`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the change may or may not have taken effect.
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, StoreError> {
        let delta = delta.checked_neg().ok_or_else(|| StoreError::new(StoreErrorKind::Overflow))?;
        self.value(key).increment(delta, None).await
    }

    /// Adds to a number atomically, and returns the sum. If there is no number, creates a counter
    /// of `initial` with a TTL of `ttl`, and adds to that counter.
    ///
    /// For example, use it to limit how often a client may log in within a minute.
    ///
    /// # Errors
    /// The same as for [`incr`](Self::incr), except [`StoreErrorKind::Missing`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the change may or may not have taken effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let attempts = cache.incr_or("attempts:192.0.2.1", 1, 0, Duration::from_secs(60)).await?;
    /// assert!(attempts <= 5, "429 Too Many Requests");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "rate limit")]
    pub async fn incr_or(
        &self,
        key: impl AsRef<[u8]>,
        delta: i64,
        initial: i64,
        ttl: impl Into<Ttl>,
    ) -> Result<i64, StoreError> {
        let value = self.value(key).ttl(ttl);
        value.increment(delta, Some(InitialCounter::new(initial, value.lifetime()))).await
    }
}

/// The result of one attempt to change a number that the store could not increment itself.
enum IncrementAttempt {
    Counted(i64),
    /// Another task changed the entry, or an unusable entry was removed.
    Retry,
}

impl Value<'_> {
    async fn increment(&self, delta: i64, initial: Option<InitialCounter>) -> Result<i64, StoreError> {
        let cache = self.cache;
        let _write = cache.begin_write();
        let mut lock = None;
        for _ in 0..MAX_ATTEMPTS {
            // The store may still have the old number. The delivery of the queued removal would also
            // remove a new number.
            if cache.has_undelivered_removal(&self.name) {
                return Err(StoreError::new(StoreErrorKind::CircuitOpen));
            }
            let place = cache.value_key(&self.name).await?;
            let changed = cache.await_write(cache.store().increment(place.as_ref(), delta, initial)).await;
            match changed {
                Err(error) if error.kind() == StoreErrorKind::NotANumber => {}
                changed => return changed,
            }
            if lock.is_none() {
                lock = cache.0.number_locks.lock(place.as_ref(), cache.0.guard.limits().write).await;
            }
            let seen = cache.load(&self.name).await?;
            let tried = match seen.live() {
                Some(Entry(EntryKind::Value(value))) => self.count(&seen, value, delta).await?,
                Some(_) => IncrementAttempt::Retry,
                None if initial.is_none() => return Err(StoreError::new(StoreErrorKind::Missing)),
                None => self.make_room(&seen).await?,
            };
            if let IncrementAttempt::Counted(number) = tried {
                return Ok(number);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Adds `delta` to a number that is stored as a value, not as a counter. The sum replaces the
    /// value, and expires when the value would have expired.
    async fn count(
        &self,
        seen: &ValueSnapshot,
        value: &StoredValue,
        delta: i64,
    ) -> Result<IncrementAttempt, StoreError> {
        let not_a_number = || StoreError::new(StoreErrorKind::NotANumber);
        let overflow = || StoreError::new(StoreErrorKind::Overflow);
        let entry = seen.entry.as_ref().ok_or_else(not_a_number)?;
        let number: i64 = match decode(entry) {
            Some(number) => number,
            // An integer beyond the range of `i64`.
            None if decode::<u64>(entry).is_some() => return Err(overflow()),
            None => return Err(not_a_number()),
        };
        let sum = number.checked_add(delta).ok_or_else(overflow)?;
        let (bytes, encoding) = encode(&sum).map_err(|error| not_a_number().with_source(error))?;
        let own = self.scope();
        // A computed value has its own scope among its scopes. The write below invalidates that
        // scope, so the new entry must not have it.
        let scopes = value.scopes.iter().copied().filter(|scope| *scope != own).collect();
        let new = StoredValue { bytes, encoding, scopes, ..value.clone() };
        let cache = self.cache;
        let write = cache.guard_write(vec![own]).await?;
        let (new, ttl) = (Arc::new(new), cache.ttl_until(value.fresh_until));
        let counted = Entry(EntryKind::Value(Arc::clone(&new)));
        let put = cache.store().compare_and_set(seen.key.as_ref(), Some(entry), counted, ttl);
        if cache.await_write(put).await? {
            write.finish().await?;
            // A page that is made from the sum inherits the tags of the number. `finish` has
            // already recorded a dependency on the number itself.
            tracking::inherit(&new);
            return Ok(IncrementAttempt::Counted(sum));
        }
        write.cancel();
        Ok(IncrementAttempt::Retry)
    }

    /// Removes a stale or invalidated value, so that a counter can take its key.
    async fn make_room(&self, seen: &ValueSnapshot) -> Result<IncrementAttempt, StoreError> {
        if let Some(entry) = &seen.entry
            && seen.state != ValueState::Live
        {
            let store = self.cache.store();
            let zero = Some(Duration::ZERO);
            let removed = store.compare_and_set(seen.key.as_ref(), Some(entry), entry.clone(), zero);
            self.cache.await_write(removed).await?;
        }
        Ok(IncrementAttempt::Retry)
    }
}
