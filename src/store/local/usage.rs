//! How much memory the invalidations of a namespace take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that a namespace takes, each part counted when it is allocated.
#[derive(Debug)]
pub(super) struct Usage {
    own: AtomicUsize,
    /// What all namespaces have grown by since idle ones were last looked for.
    grown: Arc<AtomicUsize>,
}

impl Usage {
    pub(super) fn new(bytes: usize, grown: &Arc<AtomicUsize>) -> Self {
        Self { own: AtomicUsize::new(bytes), grown: Arc::clone(grown) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Allocates items with their defaults, and counts them.
    pub(super) fn allocate<T: Default>(&self, items: usize) -> Box<[T]> {
        let bytes = items * size_of::<T>();
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.grown.fetch_add(bytes, Ordering::Relaxed);
        (0..items).map(|_| T::default()).collect()
    }
}
