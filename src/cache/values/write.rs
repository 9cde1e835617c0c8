//! Writes of one value.

use super::encoding::encode;
use super::state::{ValueSnapshot, ValueState};
use super::value::{MAX_ATTEMPTS, Value};
use crate::cache::guard::QueuePosition;
use crate::entry::{Encoding, Entry, EntryKind, Generation, StoredValue, body_for_storage};
use crate::error::{StoreError, ValueError};
use crate::store::{PutMode, StoreErrorKind};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

impl Value<'_> {
    /// Stores the value, and returns `true` if the store accepts the value. Invalidates the
    /// dependents of the previous value.
    ///
    /// The value is not accepted if its TTL is zero or if it is too large for the store. The
    /// previous value is removed even then. A store may evict an accepted value at any time;
    /// [`NullStore`](crate::store::NullStore) accepts values, but keeps none.
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
    /// the value.
    ///
    /// Of concurrent calls, one returns `true`. A [`NullStore`](crate::store::NullStore) never has
    /// a value, so with it each call returns `true`. A stale value counts as absent. With a TTL of
    /// zero, stores nothing and returns `false`.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Store`] if the store fails. The error has the kind
    ///   [`StoreErrorKind::Contended`] if other tasks changed a stale value during each of 64
    ///   attempts.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    pub async fn add<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encode(value)?, PutMode::IfAbsent).await?)
    }

    /// Stores bytes without encoding them, for [`get_bytes`](Self::get_bytes), and returns `true`
    /// if the store accepts them. In all other respects, this method works like [`set`](Self::set).
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

    /// Puts an entry into the store, which keeps it for the TTL and the stale window. `begun` is the
    /// queue position at the start of the write.
    pub(super) async fn put(
        &self,
        entry: Entry,
        mode: PutMode,
        begun: QueuePosition,
    ) -> Result<bool, StoreError> {
        let (cache, ttl) = (self.cache, self.retention());
        if mode == PutMode::Always {
            let key = cache.value_key(&self.name).await?;
            cache.spare(&self.name, begun, &entry);
            return cache.await_write(cache.store().put(key.as_ref(), entry, ttl, mode)).await;
        }
        if ttl == Some(Duration::ZERO) {
            return Ok(false);
        }
        for _ in 0..MAX_ATTEMPTS {
            let seen = cache.load(&self.name).await?;
            if seen.state == ValueState::Live {
                return Ok(false);
            }
            // The delivery of the invalidation would also remove the new value. Callers of `add` may use
            // the value as a lock, so it must not vanish.
            if cache.has_undelivered_removal(&self.name) {
                return Err(StoreError::new(StoreErrorKind::CircuitOpen));
            }
            let is_put = self.replace(&seen, entry.clone()).await?;
            // If no entry was seen, a failed put needs no retry: another writer has set the value,
            // or the new entry is too large.
            if is_put || seen.entry.is_none() {
                return Ok(is_put);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Stores an entry if the key still has the entry of `seen`, or still has none. Returns `false`
    /// if another write came first, or if the new entry is too large for the store.
    pub(super) async fn replace(&self, seen: &ValueSnapshot, entry: Entry) -> Result<bool, StoreError> {
        let (store, key, ttl) = (self.cache.store(), seen.key.as_ref(), self.retention());
        let put = match &seen.entry {
            None => store.put(key, entry, ttl, PutMode::IfAbsent),
            // Callers have checked that the new value may replace this entry.
            Some(_) => store.compare_and_set(key, seen.entry.as_ref(), entry, ttl),
        };
        self.cache.await_write(put).await
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
        let begun = cache.queue_position();
        let write = cache.guard_write(vec![self.scope()]).await?;
        let since = write.since;
        let entry = Entry(EntryKind::Value(Arc::new(self.new_stored_value(bytes, encoding, since))));
        let put = self.put(entry, mode, begun).await;
        event!(?mode, stored = matches!(put, Ok(true)), "set a value");
        // A failed put may have removed the previous value (`Always`) or stored the new one
        // (`IfAbsent`). So dependents are invalidated after a failure, too.
        match mode == PutMode::Always || !matches!(put, Ok(false)) {
            true => write.finish().await?,
            false => write.cancel(),
        }
        put
    }
}
