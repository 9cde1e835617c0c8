//! Invalidation of all entries, all pages or all values in a namespace.

use crate::cache::{Cache, Invalidation};
use crate::entry::Scope;
use crate::error::StoreError;
use crate::store::Strength;

impl Cache {
    /// Invalidates all pages, values and counters in this namespace at once. Other namespaces are
    /// not affected.
    ///
    /// This is an invalidation of [`Invalidation::all`]. Responses and values whose production
    /// began before it are not stored. The cost does not depend on the number of entries: the store
    /// frees their memory when they expire or are evicted.
    ///
    /// # Errors
    /// If the store fails. The old entries may then still be used.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the invalidation may or may not have taken
    /// effect.
    #[doc(alias = "flush")]
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.invalidate(Invalidation::all()).await
    }

    /// Invalidates all pages in this namespace at once, and their dependents. Values, counters and
    /// other namespaces are not affected. See [`clear`](Self::clear).
    ///
    /// # Errors
    /// If the store fails. The old pages may then still be used.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the invalidation may or may not have taken
    /// effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// cache.clear_pages().await?;
    /// assert!(cache.contains("greeting").await?);
    /// cache.clear_values().await?;
    /// assert!(!cache.contains("greeting").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clear_pages(&self) -> Result<(), StoreError> {
        // The root subtree contains every path.
        self.invalidate(Invalidation::subtree("/")).await
    }

    /// Invalidates all values, fragments and counters in this namespace at once, and the dependents
    /// of the values. Pages that were made without values, and other namespaces, are not affected.
    /// See [`clear`](Self::clear).
    ///
    /// # Errors
    /// If the store fails. The old values may then still be used.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the invalidation may or may not have taken
    /// effect.
    pub async fn clear_values(&self) -> Result<(), StoreError> {
        event!("clear all values");
        let _write = self.begin_write();
        self.within_limit(self.0.generations.advance(&[Scope::VALUES], Strength::Hard)).await
    }
}
