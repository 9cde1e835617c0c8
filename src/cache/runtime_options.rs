//! What an operator changes at run time: whether the cache answers requests.

use super::handle::Cache;

impl Cache {
    /// Turns the cache layers off or on, for all requests that begin from now on.
    ///
    /// Use it to find out whether the cache causes a problem, without a restart. While the cache is
    /// disabled, all its layers act as if they had [`enabled(false)`]: each request is forwarded
    /// (`detail=disabled`), and no response is stored. A response whose fetch is under way is not
    /// stored either, but the requests that wait for it receive it.
    ///
    /// Invalidations still count, those by unsafe requests too. So after `set_enabled(true)`, the
    /// layers serve no response that was invalidated in the meantime. A response that changed
    /// without an invalidation is served until it expires; if in doubt, invalidate
    /// [everything](crate::Invalidation::all) first.
    ///
    /// The switch applies to all clones of the handle, and to the handles of other
    /// [namespaces](Self::with_namespace) and [versions](Self::with_version) that are derived from
    /// it. It applies to this process alone. [Values](crate::values) are not affected: counters and
    /// locks are data of the application.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// cache.set_enabled(false);
    /// assert!(!cache.is_enabled());
    /// cache.set_enabled(true);
    /// ```
    ///
    /// [`enabled(false)`]: crate::response_cache::SiteCacheLayer::enabled
    #[doc(alias = "kill switch")]
    #[doc(alias = "bypass")]
    pub fn set_enabled(&self, on: bool) {
        if self.0.switches.set_enabled(on) {
            event!(enabled = on, "cache switched");
        }
    }

    /// Returns `false` while the cache is turned off by [`set_enabled`](Self::set_enabled).
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.switches.is_enabled()
    }

    /// Returns `true` if layers have to look at the switches.
    #[inline]
    pub(crate) fn has_switches(&self) -> bool {
        self.0.switches.is_any_set()
    }
}
