//! The snapshot of all statistics of a cache.

use super::layer_counters::LayerCounters;
use super::layer_names::LayerIdentity;
use super::layer_stats::LayerStats;
use super::path_stats::PathStats;
use super::path_table::PathTable;
use crate::cache::background::RefreshStats;
use crate::cache::guard::CircuitState;
use crate::cache::handle::Cache;
use crate::store::StoreStats;
use std::sync::Arc;

impl Cache {
    /// Returns the statistics of all layers over this cache, and the state of the cache.
    ///
    /// The counters are always on, and cover all namespaces. Reading them takes some microseconds,
    /// so read them at intervals, not for each request. If requests complete during the call, the
    /// counters may disagree by the number of these requests.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let stats = cache.stats();
    /// assert_eq!((stats.flights(), stats.store_errors(), stats.store().entries()), (0, 0, Some(0)));
    /// for layer in stats.layers() {
    ///     println!("{}: {} hits, {} misses", layer.name(), layer.hits(), layer.misses());
    /// }
    /// ```
    #[must_use]
    #[doc(alias = "statistics")]
    #[doc(alias = "metrics")]
    pub fn stats(&self) -> CacheStats {
        let counters = &self.0.counters;
        CacheStats {
            layers: counters.layers.all().iter().map(|layer| LayerStats::of(layer)).collect(),
            paths: counters.paths.all(),
            store: self.0.namespaces.store().stats().unwrap_or_default(),
            invalidations: counters.invalidations(),
            invalidated_scopes: counters.scopes().to_vec(),
            failed_invalidations: counters.failed_invalidations(),
            unreadable_values: counters.unreadable_values(),
            flights: self.flights(),
            followers: self.flight_table().followers(),
            refreshes: self.refreshes(),
            recordings: self.0.recording.recordings(),
            recording_bytes: self.recording_bytes(),
            store_errors: self.store_errors_by_operation().to_vec(),
            circuit: self.circuit(),
            undelivered: self.undelivered(),
        }
    }

    /// Returns the counters of the layers with a name. `identity` is the identity of the layer if
    /// its policy sets the name, and otherwise `None`.
    pub(crate) fn layer_counters(&self, name: &str, identity: Option<LayerIdentity>) -> Arc<LayerCounters> {
        self.0.counters.layers.counters(name, identity)
    }

    #[inline]
    pub(crate) fn path_table(&self) -> &Arc<PathTable> {
        &self.0.counters.paths
    }

    /// Counts a value that could not be read as the requested type.
    pub(in crate::cache) fn count_unreadable_value(&self) {
        self.0.counters.count_unreadable_value();
    }

    /// Counts an invalidation that the store has not confirmed, if no call reports the failure to
    /// the application.
    pub(crate) fn count_failed_invalidation(&self) {
        self.0.counters.count_failed_invalidation();
    }
}

/// The statistics of a cache. [`Cache::stats`] returns them.
///
/// Counters begin at zero when the cache is built, and never decrease. The numbers of operations in
/// progress, such as [`flights`](Self::flights), are from the time of the call.
#[derive(Debug, Clone)]
pub struct CacheStats {
    layers: Vec<LayerStats>,
    paths: Vec<PathStats>,
    store: StoreStats,
    invalidations: u64,
    invalidated_scopes: Vec<(&'static str, u64)>,
    failed_invalidations: u64,
    unreadable_values: u64,
    flights: usize,
    followers: usize,
    refreshes: RefreshStats,
    recordings: usize,
    recording_bytes: u64,
    store_errors: Vec<(&'static str, u64)>,
    circuit: CircuitState,
    undelivered: usize,
}

impl CacheStats {
    /// Returns the statistics of the layers that have had a request, by name and in the order of
    /// the names.
    #[must_use]
    pub fn layers(&self) -> &[LayerStats] {
        &self.layers
    }

    /// Returns the statistics of the layers with this name, if they have had a request.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&LayerStats> {
        self.layers.iter().find(|layer| layer.name() == name)
    }

    /// Returns the statistics of the top paths, in no particular order.
    ///
    /// The top paths are those with the most misses, with the most handler time, and with the most
    /// hits. The slice is empty unless
    /// [`CacheBuilder::top_paths`](crate::cache::CacheBuilder::top_paths) is set.
    ///
    /// The counts of a path begin when the cache first counts a request for the path. Hits are
    /// estimated, the other counts are exact. A path with few misses, little handler time and few
    /// hits may be forgotten. Its counts then begin again at zero.
    #[must_use]
    pub fn paths(&self) -> &[PathStats] {
        &self.paths
    }

    /// Returns the statistics that the store reports.
    #[must_use]
    pub fn store(&self) -> StoreStats {
        self.store
    }

    /// Returns the number of invalidations. It counts calls of [`Cache::invalidate`] and of
    /// [`Cache::clear`] and its variants, and invalidations by writes, handlers and purge requests.
    /// Of nested layers, each invalidates after a write, and each of these invalidations counts.
    /// [`LayerStats::invalidated`] counts their effects.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        self.invalidations
    }

    /// Returns the number of scopes in these invalidations, by kind: `path`, `uri`, `subtree`, `tag`,
    /// `all`, and `values` for [`Cache::clear_values`].
    pub fn invalidations_by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.invalidated_scopes.iter().copied()
    }

    /// Returns the number of automatic invalidations that the store did not confirm at once. Writes
    /// and handlers cause automatic invalidations, and so does a change of a value on which pages
    /// depend. Unconfirmed invalidations are [queued](crate::invalidation::Delivery::Queued).
    #[must_use]
    pub fn failed_invalidations(&self) -> u64 {
        self.failed_invalidations
    }

    /// Returns the number of reads that found a [value](crate::values) of another type, or one that
    /// could not be decoded.
    #[must_use]
    pub fn unreadable_values(&self) -> u64 {
        self.unreadable_values
    }

    /// Returns the number of flights in progress, as [`Cache::flights`] does.
    #[must_use]
    #[doc(alias = "single-flight")]
    pub fn flights(&self) -> usize {
        self.flights
    }

    /// Returns the number of followers that wait for the response of a flight to begin.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// Returns the number of background refreshes by outcome, as [`Cache::refreshes`] does.
    #[must_use]
    #[doc(alias = "SWR")]
    pub fn refreshes(&self) -> RefreshStats {
        self.refreshes
    }

    /// Returns the number of response bodies that are being recorded while they stream, with or
    /// without followers.
    #[must_use]
    pub fn recordings(&self) -> usize {
        self.recordings
    }

    /// Returns the bytes of response bodies that are being recorded, as [`Cache::recording_bytes`]
    /// does.
    #[must_use]
    pub fn recording_bytes(&self) -> u64 {
        self.recording_bytes
    }

    /// Returns the number of operations of the store that failed or timed out, as
    /// [`Cache::store_errors`] does.
    #[must_use]
    pub fn store_errors(&self) -> u64 {
        self.store_errors.iter().map(|(_, errors)| errors).sum()
    }

    /// Returns the number of operations of the store that failed or timed out, by the kind of the
    /// operation: `lookup`, `write` or `invalidation`. Each kind has its own time limit, such as
    /// [`CacheBuilder::lookup_timeout`](crate::cache::CacheBuilder::lookup_timeout).
    pub fn store_errors_by_operation(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.store_errors.iter().copied()
    }

    /// Returns the state of the circuit breaker of the store, as [`Cache::circuit`] does.
    #[must_use]
    #[doc(alias = "circuit breaker")]
    pub fn circuit(&self) -> CircuitState {
        self.circuit
    }

    /// Returns the number of scopes whose invalidation the store has not confirmed, as
    /// [`Cache::undelivered`] does.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.undelivered
    }
}
