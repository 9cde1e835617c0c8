//! Numbers that are changed atomically, on every store.

use super::state::ValueState;
use super::{Cache, TRIES, ValueSnapshot};
use crate::entry::Entry;
use crate::error::StoreError;
use crate::policy::Ttl;
use crate::store::{InitialCounter, PutMode, StoreErrorKind};
use std::time::Duration;

impl Cache {
    /// Sets a counter for a time, and returns whether it is stored.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn set_counter(
        &self,
        key: impl AsRef<[u8]>,
        number: i64,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, StoreError> {
        let value = self.value(key).ttl(ttl);
        let changing = self.changing(vec![value.scope()]).await?;
        let put = value.put(Entry::Counter(number), PutMode::Always).await;
        changing.done().await?;
        put
    }

    /// Adds to a counter atomically, and returns the new number. It lives as long as before.
    ///
    /// [`get`](Self::get) reads a counter as a number. What is made from one does not depend on it: a change
    /// invalidates nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::Missing`] if there is no counter, [`StoreErrorKind::NotANumber`] if there is a value,
    /// [`StoreErrorKind::Overflow`] past the range of `i64`, and whatever the store fails with.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
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
    /// assert_eq!(cache.decr("visits", 1).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn incr(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, StoreError> {
        self.increment(key.as_ref(), delta, None).await
    }

    /// Takes from a counter atomically, and returns the new number.
    ///
    /// # Errors
    /// As of [`incr`](Self::incr).
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, StoreError> {
        let delta = delta.checked_neg().ok_or_else(|| StoreError::new(StoreErrorKind::Overflow))?;
        self.increment(key.as_ref(), delta, None).await
    }

    /// Adds to a counter, which begins with a number and lives for a time where there is none yet: a limit on
    /// how often something is done in a minute, say.
    ///
    /// # Errors
    /// As of [`incr`](Self::incr), but for `Missing`.
    pub async fn incr_or(
        &self,
        key: impl AsRef<[u8]>,
        delta: i64,
        initial: i64,
        ttl: impl Into<Ttl>,
    ) -> Result<i64, StoreError> {
        let ttl = self.value(&key).ttl(ttl).lifetime();
        self.increment(key.as_ref(), delta, Some(InitialCounter::new(initial, ttl))).await
    }

    async fn increment(
        &self,
        key: &[u8],
        delta: i64,
        initial: Option<InitialCounter>,
    ) -> Result<i64, StoreError> {
        let name = self.name_of(key);
        for _ in 0..TRIES {
            let place = self.value_key(&name).await?;
            let changed = self.within_limit(self.store().increment(place.as_ref(), delta, initial)).await;
            if !matches!(&changed, Err(error) if error.kind() == StoreErrorKind::NotANumber) {
                return changed;
            }
            // A value that is past its use is as good as absent.
            let ValueSnapshot { key, entry: Some(entry), state } = self.load(&name).await? else { continue };
            if state == ValueState::Live && matches!(entry, Entry::Value(_)) {
                return changed;
            }
            let zero = Some(Duration::ZERO);
            let removed = self.store().compare_and_set(key.as_ref(), Some(&entry), entry.clone(), zero);
            self.within_limit(removed).await?;
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }
}
