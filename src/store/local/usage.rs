//! The memory use of one namespace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that a namespace takes. [`allocate`](Self::allocate) counts each allocation.
#[derive(Debug)]
pub(super) struct Usage {
    bytes: AtomicUsize,
    /// The bytes by which all namespaces together have grown since the last search for idle
    /// namespaces.
    growth: Arc<AtomicUsize>,
}

impl Usage {
    pub(super) fn new(bytes: usize, growth: &Arc<AtomicUsize>) -> Self {
        Self { bytes: AtomicUsize::new(bytes), growth: Arc::clone(growth) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Allocates a slice of default items, and counts its bytes.
    pub(super) fn allocate<T: Default>(&self, items: usize) -> Box<[T]> {
        let bytes = items * size_of::<T>();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.growth.fetch_add(bytes, Ordering::Relaxed);
        (0..items).map(|_| T::default()).collect()
    }
}
