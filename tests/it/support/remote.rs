//! A slow remote store without `Generations`.

use std::time::Duration;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{MemoryStore, Store};

/// A remote store without `Generations`. Each operation takes five milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Remote(pub(crate) MemoryStore);

pub(crate) fn later<T: Send + 'static>(
    work: impl FnOnce() -> StoreFuture<T> + Send + 'static,
) -> StoreFuture<T> {
    StoreFuture::new(async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let done = work().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        done
    })
}

impl Store for Remote {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.get(key.as_ref()))
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.put(key.as_ref(), entry, ttl, mode))
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.remove(key.as_ref()))
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.increment(key.as_ref(), delta, initial))
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (this, key, expected) = (self.0.clone(), key.to_key(), expected.cloned());
        later(move || this.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl))
    }
}
