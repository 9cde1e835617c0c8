//! Writes of one value.

use super::encoding::encode;
use super::state::{ValueSnapshot, ValueState};
use super::value::{MAX_ATTEMPTS, Value};
use crate::entry::{Encoding, Entry, EntryKind, Generation, StoredValue, body_for_storage};
use crate::error::{StoreError, ValueError};
use crate::store::{PutMode, StoreErrorKind};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

impl Value<'_> {
    /// Stores the value, and returns `true` if the store accepts it. Invalidates the dependents of
    /// the previous value.
    ///
    /// The value is not accepted if its TTL is zero or if it is too large for the store. The
    /// previous value is removed even then. A store may evict an accepted value at any time;
    /// [`NullStore`](crate::store::NullStore) accepts every value and keeps none.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack. Nothing has
    ///   changed then.
    /// - [`ValueError::Store`] if the store fails. The previous value may be lost.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    /// The dependents of the previous value are then invalidated in the background.
    pub async fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encode(value)?, PutMode::Always).await?)
    }

    /// Stores the value atomically if the key has no value, and returns `true` if the store accepts
    /// it.
    ///
    /// Of concurrent calls, one returns `true`. Over a [`NullStore`](crate::store::NullStore), no
    /// key has a value, so each call does. A stale value counts as absent. With a TTL of zero,
    /// nothing is stored.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Store`] if the store fails, or with [`StoreErrorKind::Contended`] if other
    ///   tasks changed a stale value in each of 64 tries.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    pub async fn add<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encode(value)?, PutMode::IfAbsent).await?)
    }

    /// Stores bytes without encoding them, for [`get_bytes`](Self::get_bytes), and returns `true`
    /// if the store accepts them. Otherwise like [`set`](Self::set).
    ///
    /// # Errors
    /// If the store fails. The previous value may be lost.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    pub async fn set_bytes(&self, bytes: impl Into<Bytes>) -> Result<bool, StoreError> {
        // The bytes may be a slice of a larger buffer, which the store must not keep alive.
        let (bytes, _) = body_for_storage(bytes.into());
        self.write((bytes, Encoding::Raw), PutMode::Always).await
    }

    /// Puts an entry into the store, for the TTL and the stale window.
    pub(super) async fn put(&self, entry: Entry, mode: PutMode) -> Result<bool, StoreError> {
        let (cache, ttl) = (self.cache, self.retention());
        if mode == PutMode::Always {
            let key = cache.value_key(&self.name).await?;
            return cache.await_counted(cache.store().put(key.as_ref(), entry, ttl, mode)).await;
        }
        if ttl == Some(Duration::ZERO) {
            return Ok(false);
        }
        for _ in 0..MAX_ATTEMPTS {
            // The delivery of the removal would remove the new value, which its caller takes as a lock.
            if cache.has_undelivered_removal(&self.name) {
                return Err(StoreError::new(StoreErrorKind::CircuitOpen));
            }
            let seen = cache.load(&self.name).await?;
            if seen.state == ValueState::Live {
                return Ok(false);
            }
            let is_put = self.replace(&seen, entry.clone()).await?;
            // If no entry was seen, a failed put is final: another write was first, or the entry is
            // too large.
            if is_put || seen.entry.is_none() {
                return Ok(is_put);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Replaces the entry that was seen. Returns `false` if another write came first, or if the new
    /// entry is too large for the store.
    pub(super) async fn replace(&self, seen: &ValueSnapshot, entry: Entry) -> Result<bool, StoreError> {
        let (store, key, ttl) = (self.cache.store(), seen.key.as_ref(), self.retention());
        let put = match &seen.entry {
            None => store.put(key, entry, ttl, PutMode::IfAbsent),
            // The entry that was seen is stale, invalidated or, for `get_or_set`, unreadable. So a
            // new value may replace it.
            Some(_) => store.compare_and_set(key, seen.entry.as_ref(), entry, ttl),
        };
        self.cache.await_counted(put).await
    }

    /// Returns the value in the form that the store keeps.
    pub(super) fn new_stored_value(
        &self,
        bytes: Bytes,
        encoding: Encoding,
        since: Generation,
    ) -> StoredValue {
        StoredValue {
            bytes,
            encoding,
            generation: Some(since),
            scopes: self.shared_scopes().collect(),
            dependencies: Box::default(),
            fresh_until: self.cache.fresh_until(self.lifetime()),
        }
    }

    async fn write(&self, bytes: (Bytes, Encoding), mode: PutMode) -> Result<bool, StoreError> {
        let result = self.try_write(bytes, mode).await;
        if mode == PutMode::Always {
            self.cache.queue_removals(std::slice::from_ref(&self.name), &result);
        }
        result
    }

    async fn try_write(
        &self,
        (bytes, encoding): (Bytes, Encoding),
        mode: PutMode,
    ) -> Result<bool, StoreError> {
        let cache = self.cache;
        let write = cache.guard_write(vec![self.scope()]).await?;
        let since = write.since;
        let entry = Entry(EntryKind::Value(Arc::new(self.new_stored_value(bytes, encoding, since))));
        let put = self.put(entry, mode).await;
        event!(?mode, stored = matches!(put, Ok(true)), "set a value");
        // Also after a failure: the previous value may be lost.
        match mode == PutMode::Always || !matches!(put, Ok(false)) {
            true => write.finish().await?,
            false => write.cancel(),
        }
        put
    }
}
