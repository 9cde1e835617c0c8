//! Writes of one value.

use super::encoding::encoded;
use super::state::{ValueSnapshot, ValueState};
use super::value::{TRIES, Value};
use crate::entry::{Encoding, Entry, EntryKind, Generation, StoredValue, body_for_storage};
use crate::error::{StoreError, ValueError};
use crate::store::{PutMode, StoreErrorKind};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

impl Value<'_> {
    /// Sets the value, and returns whether it is stored: with a time to live of zero, or in a store that it is
    /// too large for, it is not. What was made from the value that was there before is invalidated.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encoded(value)?, PutMode::Always).await?)
    }

    /// Sets the value if there is none, and returns whether it did. Of many who do, one does.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn add<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encoded(value)?, PutMode::IfAbsent).await?)
    }

    /// Sets the value to bytes as they are, which [`get_bytes`](Self::get_bytes) returns.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set_bytes(&self, bytes: impl Into<Bytes>) -> Result<bool, StoreError> {
        // Not the buffer that they may be a slice of.
        let (bytes, _) = body_for_storage(bytes.into());
        self.write((bytes, Encoding::Raw), PutMode::Always).await
    }

    /// Stores an entry as long as it may be of use.
    pub(super) async fn put(&self, entry: Entry, mode: PutMode) -> Result<bool, StoreError> {
        let (cache, ttl) = (self.cache, self.kept());
        if mode == PutMode::Always {
            let key = cache.value_key(&self.name).await?;
            return cache.within_limit(cache.store().put(key.as_ref(), entry, ttl, mode)).await;
        }
        if ttl == Some(Duration::ZERO) {
            return Ok(false);
        }
        for _ in 0..TRIES {
            let seen = cache.load(&self.name).await?;
            if seen.state == ValueState::Live {
                return Ok(false);
            }
            let is_put = self.replace(&seen, entry.clone()).await?;
            // Of what was absent, the first answer is the last: another one was first, or it is too large.
            if is_put || seen.entry.is_none() {
                return Ok(is_put);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Puts an entry in the place of what was seen there, and tells whether it did.
    pub(super) async fn replace(&self, seen: &ValueSnapshot, entry: Entry) -> Result<bool, StoreError> {
        let (store, key, ttl) = (self.cache.store(), seen.key.as_ref(), self.kept());
        let put = match &seen.entry {
            None => store.put(key, entry, ttl, PutMode::IfAbsent),
            // What is there may be past its use, and then it is as good as absent.
            Some(_) => store.compare_and_set(key, seen.entry.as_ref(), entry, ttl),
        };
        self.cache.within_limit(put).await
    }

    /// Returns the value as it is stored.
    pub(super) fn stored(&self, bytes: Bytes, encoding: Encoding, since: Generation) -> StoredValue {
        StoredValue {
            bytes,
            encoding,
            generation: Some(since),
            scopes: self.shared_scopes().collect(),
            dependencies: Box::default(),
            fresh_until: self.cache.fresh_until(self.lifetime()),
        }
    }

    async fn write(&self, (bytes, encoding): (Bytes, Encoding), mode: PutMode) -> Result<bool, StoreError> {
        let cache = self.cache;
        let changing = cache.changing(vec![self.scope()]).await?;
        let since = changing.since;
        let entry = Entry(EntryKind::Value(Arc::new(self.stored(bytes, encoding, since))));
        let put = self.put(entry, mode).await;
        event!(?mode, stored = matches!(put, Ok(true)), "set a value");
        // Where it failed, too: what was there before may be gone.
        match mode == PutMode::Always || !matches!(put, Ok(false)) {
            true => changing.done().await?,
            false => changing.nothing(),
        }
        put
    }
}
