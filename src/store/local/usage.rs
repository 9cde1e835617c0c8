//! The memory use of a namespace's invalidations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that a namespace takes. Each allocation is counted when it is made.
#[derive(Debug)]
pub(super) struct Usage {
    bytes: AtomicUsize,
    /// The bytes by which all namespaces have grown since the last search for idle ones.
    growth: Arc<AtomicUsize>,
}

impl Usage {
    pub(super) fn new(bytes: usize, growth: &Arc<AtomicUsize>) -> Self {
        Self { bytes: AtomicUsize::new(bytes), growth: Arc::clone(growth) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Allocates this many default items, and counts their bytes.
    pub(super) fn allocate<T: Default>(&self, items: usize) -> Box<[T]> {
        let bytes = items * size_of::<T>();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.growth.fetch_add(bytes, Ordering::Relaxed);
        (0..items).map(|_| T::default()).collect()
    }
}
