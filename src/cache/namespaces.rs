//! The generations of each namespace that a cache and its clones use.

use crate::store::{Generations, RecordGenerations, Store};
use quick_cache::sync::Cache as Quick;
use std::fmt;
use std::sync::Arc;

/// The most namespaces whose newest generation the handles of a cache share.
const MAX_NAMESPACES: usize = 1024;

/// The generations of the namespaces of one store.
pub(super) struct Namespaces {
    store: Arc<dyn Store>,
    records: Quick<String, Arc<RecordGenerations>>,
}

impl Namespaces {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, records: Quick::new(MAX_NAMESPACES) }
    }

    /// Returns the generations of a namespace, which all handles share.
    pub(super) fn generations(&self, namespace: &str) -> Arc<dyn Generations> {
        self.store.generations(namespace).unwrap_or_else(|| self.record(namespace))
    }

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
