//! The options that an operator can change at run time: the switch that disables the cache layers,
//! and the policy table.

use super::handle::Cache;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::policy::PolicyTable;
use std::sync::Arc;

impl Cache {
    /// Turns the cache layers off or on, for all requests that begin from now on.
    ///
    /// Use it to find out without a restart whether the cache causes a problem. While the cache is
    /// disabled, all its layers act as if they had [`enabled(false)`]: each request is forwarded
    /// (`detail=disabled`), and no response is stored. A response whose fetch is in progress is not
    /// stored either, but its followers receive it.
    ///
    /// Invalidations still count, those by unsafe requests too. So after `set_enabled(true)`, the
    /// layers serve no response that was invalidated in the meantime. A response that changed
    /// without an invalidation is served until it expires; if in doubt, invalidate
    /// [everything](crate::Invalidation::all) first.
    ///
    /// The switch applies to all clones of the handle, and to the handles of other
    /// [namespaces](Self::with_namespace) and [versions](Self::with_version) that are derived from
    /// it. It applies to this process alone. [Values](crate::values) are not affected: computed
    /// values are still stored and returned, and counters and locks are data of the application.
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
            notice!(enabled = on, "cache switched");
        }
    }

    /// Returns `false` while the cache is turned off by [`set_enabled`](Self::set_enabled).
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.switches.is_enabled()
    }

    /// Puts a [`PolicyTable`] into effect for all requests that begin from now on. It replaces the
    /// previous table. An empty table, [`PolicyTable::new`], changes no policy.
    ///
    /// Call it after the layers are created: the names of layers in the table must exist. A new
    /// `ttl`, stale window or `client_max_age` applies to responses that are fetched from now on; to
    /// apply it to stored ones, invalidate them. Fetches that are in flight store their responses under
    /// the options with which they began, even if a new entry has `enabled: false`. Only
    /// [`set_enabled`](Self::set_enabled) prevents that.
    ///
    /// Like [`set_enabled`](Self::set_enabled), the table applies to all handles that are derived
    /// from one cache, in this process.
    ///
    /// # Errors
    /// [`ConfigErrorKind::UnknownLayer`] for each entry that names a layer which does not exist, or
    /// is not among the first 256 layers over the cache. The previous table then stays in effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::policy::PolicyTable;
    /// use tower_response_cache::{Cache, MemoryStore, RouteCacheLayer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// let layer = RouteCacheLayer::new(&cache, Duration::from_secs(60));
    ///
    /// let table: PolicyTable =
    ///     serde_json::from_str(r#"{ "entries": [{ "layer": "route", "path": "/news/*", "ttl": 5 }] }"#)?;
    /// cache.set_policy_table(table)?;
    ///
    /// cache.set_policy_table(PolicyTable::new())?; // The policies apply again.
    /// # drop(layer);
    /// # Ok(()) }
    /// ```
    pub fn set_policy_table(&self, table: PolicyTable) -> Result<(), ConfigError> {
        let unknown = table.named_layers().filter(|(layer, _)| !self.0.layers.has(layer));
        let unknown = unknown.map(|(_, entry)| ConfigError::new(ConfigErrorKind::UnknownLayer, entry));
        if let Some(error) = ConfigError::join(unknown.collect()) {
            return Err(error);
        }
        notice!(entries = table.len(), "policy table set");
        let is_empty = table.is_empty();
        drop(self.0.switches.set_table((!is_empty).then(|| Arc::new(table))));
        Ok(())
    }

    /// Returns the policy table in effect.
    pub(crate) fn policy_table(&self) -> Option<Arc<PolicyTable>> {
        self.0.switches.table()
    }

    /// Returns `true` if the layers must read the switches: the cache is disabled, or has a table.
    #[inline]
    pub(crate) fn has_switches(&self) -> bool {
        self.0.switches.is_any_set()
    }
}
