//! Reads, TTL changes and removal of one value.

use super::encoding::decode_or_report;
use super::state::{ValueSnapshot, ValueState};
use super::value::{MAX_ATTEMPTS, Value};
use crate::entry::{Encoding, Entry, EntryKind, StoredValue};
use crate::error::StoreError;
use crate::error::StoreErrorKind;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

impl Value<'_> {
    /// Returns the value, or `None` if it is absent. See [`Cache::get`](crate::cache::Cache::get).
    ///
    /// A stale value counts as absent. So does a value that can't be read as `T`.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let greeting = cache.value("greeting").ttl(Duration::from_secs(60));
    /// greeting.set("hello").await?;
    /// assert_eq!(greeting.get::<String>().await?.as_deref(), Some("hello"));
    /// assert!(greeting.touch().await? && greeting.delete().await? && !greeting.contains().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        let seen = self.cache.read(&self.name).await?;
        Ok(seen.live().and_then(|entry| decode_or_report(self.cache, entry)))
    }

    /// Returns the bytes that [`set_bytes`](Self::set_bytes) stored, or `None` if they are absent.
    ///
    /// A value that [`set`](Self::set) or [`get_or_set`](Self::get_or_set) stored counts as absent.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn get_bytes(&self) -> Result<Option<Bytes>, StoreError> {
        let seen = self.cache.read(&self.name).await?;
        Ok(match seen.live() {
            Some(Entry(EntryKind::Value(value))) if value.encoding() == Encoding::Raw => {
                Some(value.bytes().clone())
            }
            Some(_) => {
                self.cache.count_unreadable_value();
                event!("a value can't be read as bytes");
                None
            }
            None => None,
        })
    }

    /// Returns `true` if there is a counter or a fresh value of any type.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn contains(&self) -> Result<bool, StoreError> {
        let seen = match self.cache.read(&self.name).await {
            Ok(seen) => seen,
            // The failed `read` has made the page untrackable, so a look-up without a dependency
            // suffices.
            Err(_) => self.cache.load(&self.name).await?,
        };
        Ok(seen.state == ValueState::Live)
    }

    /// Sets the TTL of the value to the [TTL of this handle](Self::ttl), counted from now. Returns
    /// `true` if there is a value.
    ///
    /// A TTL of zero removes the value. The expiry of a value that was computed from other values
    /// can only move earlier. The [window of this handle](Self::stale_while_revalidate) replaces
    /// the stale window of the value.
    ///
    /// # Errors
    /// - [`StoreErrorKind::Contended`] if other tasks changed the value during each of 64 attempts.
    /// - Any other kind if the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the change may or may not have taken effect.
    pub async fn touch(&self) -> Result<bool, StoreError> {
        let lifetime = self.lifetime();
        if lifetime == Some(Duration::ZERO) {
            return self.delete().await;
        }
        let cache = self.cache;
        let _write = cache.begin_write();
        for _ in 0..MAX_ATTEMPTS {
            let ValueSnapshot { key, entry, state } = cache.load(&self.name).await?;
            let (ValueState::Live, Some(entry)) = (state, entry) else { return Ok(false) };
            let touched = match &entry {
                Entry(EntryKind::Value(value)) => {
                    let fresh_until = cache.fresh_until(lifetime);
                    // A value must not outlive its dependencies, so its expiry must not move
                    // later.
                    let fresh_until = match value.dependencies.is_empty() {
                        true => fresh_until,
                        false => fresh_until.min(value.fresh_until),
                    };
                    Entry(EntryKind::Value(Arc::new(StoredValue {
                        fresh_until,
                        ..StoredValue::clone(value)
                    })))
                }
                // The entry of a counter does not contain its expiry, so the store must set the new
                // TTL. If it does not support `touch`, the counter is stored again.
                other => match cache.await_write(cache.store().touch(key.as_ref(), lifetime)).await {
                    Err(error) if error.kind() == StoreErrorKind::Unsupported => other.clone(),
                    touched => return touched,
                },
            };
            let put = cache.store().compare_and_set(key.as_ref(), Some(&entry), touched, self.retention());
            if cache.await_write(put).await? {
                return Ok(true);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Removes the value or counter, and returns `true` if it was present and fresh. Invalidates
    /// the pages and values that depend on the value.
    ///
    /// # Errors
    /// If the store fails. The removal is then queued: until it is delivered, this process reads no
    /// value under the key, unless the value was set meanwhile.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the removal may or may not have taken effect.
    pub async fn delete(&self) -> Result<bool, StoreError> {
        let deleted = self.try_delete().await;
        self.cache.queue_removals(std::slice::from_ref(&self.name), &deleted);
        deleted
    }

    async fn try_delete(&self) -> Result<bool, StoreError> {
        let cache = self.cache;
        let _write = cache.begin_write();
        let seen = cache.load(&self.name).await?;
        let write = cache.guard_write(vec![self.scope()]).await?;
        let removed = cache.await_write(cache.store().remove(seen.key.as_ref())).await;
        // Even if the store reports a failure, the value may be removed. So its dependents are
        // always invalidated.
        write.finish().await?;
        Ok(removed? && seen.state == ValueState::Live)
    }
}
