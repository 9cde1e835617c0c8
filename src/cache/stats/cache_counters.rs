//! The counters that the handles of one cache share.

use super::layer_names::LayerNames;
use super::path_table::PathTable;
use crate::cache::invalidation::ScopeKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a cache, over all namespaces.
#[derive(Debug)]
pub(in crate::cache) struct CacheCounters {
    pub(super) layers: LayerNames,
    pub(super) paths: Arc<PathTable>,
    invalidations: AtomicU64,
    /// The invalidated scopes, by [`ScopeKind`].
    scopes: [AtomicU64; ScopeKind::ALL.len()],
    failed_invalidations: AtomicU64,
    unreadable_values: AtomicU64,
}

impl CacheCounters {
    /// Creates the counters. `top_paths` is the number of paths that are counted.
    pub(in crate::cache) fn new(top_paths: usize) -> Self {
        Self {
            layers: LayerNames::default(),
            paths: Arc::new(PathTable::new(top_paths)),
            invalidations: AtomicU64::new(0),
            scopes: Default::default(),
            failed_invalidations: AtomicU64::new(0),
            unreadable_values: AtomicU64::new(0),
        }
    }

    /// Counts an invalidation and its scopes.
    pub(in crate::cache) fn count_invalidation(&self, scopes: impl IntoIterator<Item = ScopeKind>) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        for kind in scopes {
            self.scopes[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an invalidation that no call of the application has asked for, and that the store has
    /// not confirmed.
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

    /// Returns the number of invalidated scopes, by the word of their kind.
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
