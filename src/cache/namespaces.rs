//! The generations of each namespace that a cache and its clones use. A generation is the version
//! of a namespace: each invalidation advances it.

use crate::store::{Generations, RecordGenerations, Store};
use quick_cache::sync::Cache as Quick;
use std::fmt;
use std::sync::Arc;

/// The most namespaces whose [`RecordGenerations`] the handles of a cache share.
const MAX_NAMESPACES: usize = 1024;

/// The generations of the namespaces of one store.
pub(super) struct Namespaces {
    store: Arc<dyn Store>,
    /// The generations of each namespace, if the store provides none. One entry of the store then
    /// holds the generations of a namespace.
    records: Quick<String, Arc<RecordGenerations>>,
}

impl Namespaces {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, records: Quick::new(MAX_NAMESPACES) }
    }

    /// Returns the store, without the guard.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Returns the generations of a namespace. All handles of the cache share them.
    pub(super) fn generations(&self, namespace: &str) -> Arc<dyn Generations> {
        self.store.generations(namespace).unwrap_or_else(|| self.record(namespace))
    }

    /// Returns the generations of a namespace for a store that provides none itself. One entry of
    /// the store holds them.
    fn record(&self, namespace: &str) -> Arc<dyn Generations> {
        let new = || {
            Ok::<_, std::convert::Infallible>(Arc::new(RecordGenerations::new(
                Arc::clone(&self.store),
                namespace,
            )))
        };
        let Ok(record) = self.records.get_or_insert_with(namespace, new);
        record
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").field("records", &self.records.len()).finish_non_exhaustive()
    }
}
