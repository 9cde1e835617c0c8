//! A store that keeps nothing, like the `DummyCache` of Django.

use super::{
    Entry, Generations, InitialCounter, KeyRef, LocalGenerations, PutMode, Store, StoreError, StoreErrorKind,
    StoreFuture,
};
use std::sync::Arc;
use std::time::Duration;

/// A store that keeps nothing: every look-up is a miss.
///
/// Use it in development, and in tests of an application. It is like a store that evicts each entry
/// at once: a put returns `true` unless its TTL is zero.
///
/// # Example
/// ```
/// use tower_response_cache::Cache;
/// use tower_response_cache::store::NullStore;
///
/// let cache = Cache::new(NullStore::new());
/// # let _ = cache;
/// ```
#[doc(alias = "dummy")]
#[doc(alias = "no-op")]
#[derive(Debug, Clone, Default)]
pub struct NullStore {
    generations: LocalGenerations,
}

impl NullStore {
    /// Creates the store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for NullStore {
    fn get(&self, _: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        StoreFuture::ready(Ok(None))
    }

    fn put(&self, _: KeyRef<'_>, _: Entry, ttl: Option<Duration>, _: PutMode) -> StoreFuture<bool> {
        StoreFuture::ready(Ok(ttl != Some(Duration::ZERO)))
    }

    fn remove(&self, _: KeyRef<'_>) -> StoreFuture<bool> {
        StoreFuture::ready(Ok(false))
    }

    fn increment(&self, _: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        StoreFuture::ready(match initial {
            Some(initial) => {
                initial.value().checked_add(delta).ok_or_else(|| StoreError::new(StoreErrorKind::Overflow))
            }
            None => Err(StoreError::new(StoreErrorKind::Missing)),
        })
    }

    fn compare_and_set(
        &self,
        _: KeyRef<'_>,
        expected: Option<&Entry>,
        _: Entry,
        _: Option<Duration>,
    ) -> StoreFuture<bool> {
        StoreFuture::ready(Ok(expected.is_none()))
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        Some(self.generations.namespace(namespace))
    }

    fn is_local(&self) -> bool {
        true
    }
}
