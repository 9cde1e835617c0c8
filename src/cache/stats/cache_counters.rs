//! The counters that the handles of one cache share.

use super::layer_names::LayerNames;
use super::path_table::PathTable;
use crate::cache::invalidation::ScopeKind;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a cache, over all namespaces.
#[derive(Debug)]
pub(in crate::cache) struct CacheCounters {
    /// The namespace with which the cache was built: the label of the cache in metrics.
    #[cfg(feature = "metrics")]
    name: Arc<str>,
    /// Whether the metrics were described to the recorder.
    #[cfg(feature = "metrics")]
    are_described: AtomicBool,
    pub(super) layers: LayerNames,
    pub(super) paths: Arc<PathTable>,
    invalidations: AtomicU64,
    /// The invalidated scopes, by [`ScopeKind`].
    scopes: [AtomicU64; ScopeKind::ALL.len()],
    failed_invalidations: AtomicU64,
    unreadable_values: AtomicU64,
}

impl CacheCounters {
    /// Creates the counters of a cache that is built with a namespace. `top_paths` is the number of
    /// paths that are counted.
    #[cfg_attr(not(feature = "metrics"), expect(unused, reason = "only metrics need the namespace"))]
    pub(in crate::cache) fn new(namespace: &str, top_paths: usize) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            name: namespace.into(),
            #[cfg(feature = "metrics")]
            are_described: AtomicBool::new(false),
            layers: LayerNames::default(),
            paths: Arc::new(PathTable::new(top_paths)),
            invalidations: AtomicU64::new(0),
            scopes: Default::default(),
            failed_invalidations: AtomicU64::new(0),
            unreadable_values: AtomicU64::new(0),
        }
    }

    /// Returns the label of the cache in metrics. All namespaces share the label and the counters.
    #[cfg(feature = "metrics")]
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns `true` for the first call.
    #[cfg(feature = "metrics")]
    pub(super) fn is_first_publication(&self) -> bool {
        !self.are_described.swap(true, Ordering::Relaxed)
    }

    /// Counts an invalidation and its scopes.
    pub(in crate::cache) fn count_invalidation(&self, scopes: impl IntoIterator<Item = ScopeKind>) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        for kind in scopes {
            self.scopes[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an invalidation that the store has not confirmed, if no call reports the failure to
    /// the application.
    pub(in crate::cache) fn count_failed_invalidation(&self) {
        self.failed_invalidations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a value that could not be read as the requested type.
    pub(in crate::cache) fn count_unreadable_value(&self) {
        self.unreadable_values.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Relaxed)
    }

    /// Returns the number of invalidated scopes of each kind, with the name of the kind.
    pub(super) fn scopes(&self) -> [(&'static str, u64); ScopeKind::ALL.len()] {
        ScopeKind::ALL.map(|kind| (kind.as_str(), self.scopes[kind as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn failed_invalidations(&self) -> u64 {
        self.failed_invalidations.load(Ordering::Relaxed)
    }

    pub(super) fn unreadable_values(&self) -> u64 {
        self.unreadable_values.load(Ordering::Relaxed)
    }
}
