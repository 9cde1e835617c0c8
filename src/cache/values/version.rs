//! Moves of values between versions of the application: see [`Cache::with_version`].

use super::state::ValueState;
use crate::cache::Cache;
use crate::clock::Moment;
use crate::entry::{Entry, EntryKind, StoredValue};
use crate::error::StoreError;
use crate::policy::Ttl;
use crate::store::{PutMode, StoreErrorKind};
use std::sync::Arc;
use std::time::Duration;

impl Cache {
    /// Moves the value under a key to the next version, and returns the number of that version.
    ///
    /// Afterwards, only a handle for that version ([`with_version`](Self::with_version)) finds the
    /// value. This handle does not find it.
    ///
    /// The value keeps its tags, its dependencies and the rest of its TTL, but loses its stale
    /// window. Dependents of the value are invalidated.
    ///
    /// To discard all values at once, use another version for all handles, or
    /// [`clear_values`](Self::clear_values).
    ///
    /// # Errors
    /// - [`StoreErrorKind::Missing`] if there is no value.
    /// - [`StoreErrorKind::Unsupported`] if the key holds a counter, which
    ///   [`incr_or`](Self::incr_or) or [`set_counter`](Self::set_counter) has created.
    /// - [`StoreErrorKind::Overflow`] if the version is `u32::MAX`.
    /// - [`StoreErrorKind::Unavailable`] if the store does not accept the moved value. This handle
    ///   then still finds the value. If the next version had a value under the key, that value may
    ///   be lost.
    /// - Any other kind if the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the move may or may not have taken effect, and
    /// both versions may have the value.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// let next = cache.incr_version("greeting").await?;
    /// assert_eq!((cache.get::<String>("greeting").await?, next), (None, 2));
    /// assert_eq!(cache.with_version(next).get::<String>("greeting").await?.as_deref(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn incr_version(&self, key: impl AsRef<[u8]>) -> Result<u32, StoreError> {
        self.move_to_version(key.as_ref(), self.version().checked_add(1)).await
    }

    /// Moves the value under a key to the previous version, and returns the number of that version.
    /// See [`incr_version`](Self::incr_version).
    ///
    /// # Errors
    /// The same as for [`incr_version`](Self::incr_version), with [`StoreErrorKind::Overflow`] at
    /// version 0.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the move may or may not have taken effect, and
    /// both versions may have the value.
    pub async fn decr_version(&self, key: impl AsRef<[u8]>) -> Result<u32, StoreError> {
        self.move_to_version(key.as_ref(), self.version().checked_sub(1)).await
    }

    async fn move_to_version(&self, key: &[u8], version: Option<u32>) -> Result<u32, StoreError> {
        let version = version.ok_or_else(|| StoreError::new(StoreErrorKind::Overflow))?;
        let _write = self.begin_write();
        let begun = self.queue_position();
        let from = self.value(key);
        let seen = self.load(&from.name).await?;
        let value = match (seen.state, seen.entry) {
            (ValueState::Live, Some(Entry(EntryKind::Value(value)))) => value,
            (ValueState::Live, Some(_)) => return Err(StoreError::new(StoreErrorKind::Unsupported)),
            _ => return Err(StoreError::new(StoreErrorKind::Missing)),
        };
        let own = from.scope();
        let ttl = match value.fresh_until {
            Moment::NEVER => Ttl::Forever,
            until => Ttl::For(until.since(self.clock().now())),
        };
        let next = self.with_version(version);
        let moved = next.value(key).ttl(ttl);
        let mut copy = StoredValue::clone(&value);
        // The copy has another name, so invalidations of the old name must not apply to it.
        copy.scopes = copy.scopes.iter().copied().filter(|scope| *scope != own).collect();
        let write = self.guard_write(vec![moved.scope()]).await?;
        let put = moved.put(Entry(EntryKind::Value(Arc::new(copy))), PutMode::Always, begun).await;
        self.queue_removals(std::slice::from_ref(&moved.name), &put);
        let is_moved = put?;
        // Dependents are invalidated even if no copy was stored: the put may have removed a value of
        // the other version.
        write.finish().await?;
        if !is_moved {
            let has_expired = moved.lifetime() == Some(Duration::ZERO);
            let kind = if has_expired { StoreErrorKind::Missing } else { StoreErrorKind::Unavailable };
            return Err(StoreError::new(kind));
        }
        from.delete().await?;
        Ok(next.version())
    }
}
