//! Invalidation of everything, of all pages or of all values in a namespace.

use crate::cache::{Cache, Invalidation};
use crate::entry::Scope;
use crate::error::StoreError;
use crate::store::Strength;

impl Cache {
    /// Invalidates everything in this namespace at once: pages, values and counters. Other namespaces are left alone. The same
    /// as an invalidation of [`Invalidation::all`].
    ///
    /// Like every [invalidation](Self::invalidate), it cannot be outrun: responses and values that are being made meanwhile are
    /// not stored. It takes the same time however many entries there are.
    ///
    /// # Errors
    /// If the store fails: then the old entries may still be used.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.invalidate(Invalidation::all()).await
    }

    /// Invalidates all pages in this namespace at once, and what was made from them. Values, counters and other namespaces are
    /// left alone. See [`clear`](Self::clear).
    ///
    /// # Errors
    /// If the store fails: then the old pages may still be used.
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
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// cache.clear_pages().await?;
    /// assert!(cache.contains("greeting").await?);
    /// cache.clear_values().await?;
    /// assert!(!cache.contains("greeting").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clear_pages(&self) -> Result<(), StoreError> {
        // Every path is in it.
        self.invalidate(Invalidation::subtree("/")).await
    }

    /// Removes all values, fragments and counters in this namespace at once, and invalidates what was made from the values. Pages
    /// that were made without values, and other namespaces, are left alone. See [`clear`](Self::clear).
    ///
    /// # Errors
    /// If the store fails: then the old values may still be used.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn clear_values(&self) -> Result<(), StoreError> {
        event!("clear the values");
        let _write = self.begin_write();
        self.within_limit(self.0.generations.advance(&[Scope::VALUES], Strength::Hard)).await
    }
}
