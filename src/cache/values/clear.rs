//! Invalidation of all entries, all pages or all values in a namespace.

use crate::cache::invalidation::ScopeKind;
use crate::cache::{Cache, Delivery, Invalidation};
use crate::entry::Scope;
use crate::store::Strength;

impl Cache {
    /// Invalidates all pages, values and counters in this namespace at once. Other namespaces are
    /// not affected.
    ///
    /// It calls [`invalidate`](Self::invalidate) with [`Invalidation::all`]. A response or value
    /// that is being made during the call is not stored afterwards. The cost does not depend on the
    /// number of entries: the store frees their memory when they expire or are evicted.
    ///
    /// If the store fails, the invalidation is queued: see [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll and before it completes, the invalidation is
    /// queued.
    #[doc(alias = "flush")]
    pub async fn clear(&self) -> Delivery {
        self.invalidate(Invalidation::all()).await
    }

    /// Invalidates all pages in this namespace at once, and the values that were made from pages.
    /// Other values, counters and other namespaces are not affected. See [`clear`](Self::clear).
    ///
    /// If the store fails, the invalidation is queued: see [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll and before it completes, the invalidation is
    /// queued.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// let _ = cache.clear_pages().await;
    /// assert!(cache.contains("greeting").await?);
    /// let _ = cache.clear_values().await;
    /// assert!(!cache.contains("greeting").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clear_pages(&self) -> Delivery {
        // The root subtree contains every path.
        self.invalidate(Invalidation::subtree("/")).await
    }

    /// Invalidates all values, fragments and counters in this namespace at once, and the dependents
    /// of the values. Pages that were made without values, and other namespaces, are not affected.
    /// See [`clear`](Self::clear).
    ///
    /// If the store fails, the invalidation is queued: see [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll and before it completes, the invalidation is
    /// queued.
    pub async fn clear_values(&self) -> Delivery {
        event!("clear all values");
        let _write = self.begin_write();
        self.0.counters.count_invalidation([ScopeKind::Values]);
        self.advance(vec![Scope::VALUES], Strength::Hard).await
    }
}
