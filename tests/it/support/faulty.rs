//! A store with a fault. It is remote, except under `Fault::CantInvalidateInside`.

use super::entries::{EntryKind, entry_kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreFuture,
    Strength, Validity,
};
use tower_response_cache::{Cache, MemoryStore, Store};

/// The fault of a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Every operation fails.
    Down,
    /// Every operation hangs.
    Hangs,
    /// The operations of `Generations` fail, and all others work.
    LostGenerations,
    /// Every invalidation fails.
    CantInvalidate,
    /// Every invalidation fails, and the store is local.
    CantInvalidateInside,
    /// `put` fails. `compare_and_set` fails if the new entry is a response.
    CantPut,
    /// `put` returns `false`, as for an entry that is too large.
    RefusesPut,
    /// Every operation takes effect after 3 ms and returns after 5 ms.
    Slow,
    /// Provides no `Generations`, so the cache keeps the invalidations in an entry of the store.
    NoGenerations,
    /// Both `Slow` and `NoGenerations`.
    SlowWithoutGenerations,
}

/// A store with a fault that can be switched on and off.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: MemoryStore,
    fault: Fault,
    pub(crate) on: Arc<AtomicBool>,
}

impl Faulty {
    pub(crate) fn new(inner: MemoryStore, fault: Fault) -> Self {
        Self { inner, fault, on: Arc::new(AtomicBool::new(true)) }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault && self.on.load(Ordering::SeqCst)
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryStore) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let inner = self.inner.clone();
        if self.has(Fault::Down) {
            StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)))
        } else if self.has(Fault::Hangs) {
            StoreFuture::new(std::future::pending())
        } else if self.has(Fault::Slow) || self.has(Fault::SlowWithoutGenerations) {
            StoreFuture::new(async move {
                tokio::time::sleep(Duration::from_millis(3)).await;
                let done = work(&inner).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
                done
            })
        } else {
            work(&inner)
        }
    }
}

impl Store for Faulty {
    fn is_local(&self) -> bool {
        self.fault == Fault::CantInvalidateInside
    }
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let key = key.to_key();
        self.answer(move |inner| inner.get(key.as_ref()))
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        if self.has(Fault::CantPut) {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
        }
        let key = key.to_key();
        if self.has(Fault::RefusesPut) {
            // `put` of an entry that is too large removes the old entry.
            return match mode {
                PutMode::Always => self.inner.put(key.as_ref(), entry, Some(Duration::ZERO), mode),
                PutMode::IfAbsent => StoreFuture::ready(Ok(false)),
            };
        }
        self.answer(move |inner| inner.put(key.as_ref(), entry, ttl, mode))
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let key = key.to_key();
        self.answer(move |inner| inner.remove(key.as_ref()))
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let key = key.to_key();
        self.answer(move |inner| inner.increment(key.as_ref(), delta, initial))
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        if self.has(Fault::CantPut) && entry_kind(&new) == EntryKind::Response {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
        }
        let (key, expected) = (key.to_key(), expected.cloned());
        self.answer(move |inner| inner.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl))
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        if self.has(Fault::NoGenerations) || self.has(Fault::SlowWithoutGenerations) {
            return None;
        }
        let inner = self.inner.generations(namespace)?;
        Some(Arc::new(FaultyGenerations { inner, store: self.clone() }))
    }
}

#[derive(Debug)]
struct FaultyGenerations {
    inner: Arc<dyn Generations>,
    store: Faulty,
}

impl FaultyGenerations {
    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Generations) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        if self.store.has(Fault::LostGenerations) {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
        }
        let inner = Arc::clone(&self.inner);
        self.store.answer(move |_| work(&*inner))
    }
}

impl Generations for FaultyGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.answer(|inner| inner.current())
    }
    fn cleared(&self) -> StoreFuture<Generation> {
        self.answer(|inner| inner.cleared())
    }
    fn check(&self, since: Generation, scopes: &[Scope], made_from: &[Dependency]) -> StoreFuture<Validity> {
        let (scopes, made_from) = (scopes.to_vec(), made_from.to_vec());
        self.answer(move |inner| inner.check(since, &scopes, &made_from))
    }
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        if self.store.has(Fault::CantInvalidate) || self.store.has(Fault::CantInvalidateInside) {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
        }
        let scopes = scopes.to_vec();
        self.answer(move |inner| inner.advance(&scopes, strength))
    }
    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.answer(move |inner| inner.depend(value))
    }
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.answer(move |inner| inner.written(value, since))
    }
}

/// Creates a cache over a local store, and a cache over a slow remote store.
pub(crate) fn caches() -> Vec<(Cache, ManualClock)> {
    [None, Some(Fault::Slow)]
        .map(|fault| {
            let (clock, manual) = Clock::manual();
            let memory = MemoryStore::builder()
                .seed(3)
                .max_bytes(8 << 20)
                .clock(clock.clone())
                .build()
                .expect("valid");
            let builder = match fault {
                None => Cache::builder(memory),
                Some(fault) => Cache::builder(Faulty::new(memory, fault)),
            };
            (builder.clock(clock).build().expect("valid"), manual)
        })
        .into()
}
