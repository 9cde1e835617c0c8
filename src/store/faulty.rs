//! A store whose faults a test switches on and off.
//!
//! [`FaultyStore`] wraps any store. Its [`Faults`] handle sets a [`Fault`] for each [`Operation`],
//! at any time and from any thread.
//!
//! # Example
//! ```
//! use tower_response_cache::invalidation::Delivery;
//! use tower_response_cache::store::faulty::{Fault, FaultyStore, Operation};
//! use tower_response_cache::{Cache, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let store = FaultyStore::new(MemoryStore::with_max_bytes(1 << 20));
//! let faults = store.faults();
//! let cache = Cache::new(store);
//!
//! faults.set(Operation::Invalidation, Fault::Hang);
//! assert_eq!(cache.invalidate("/flavours").await, Delivery::Queued);
//! assert_eq!(cache.undelivered(), 1);
//!
//! faults.clear();
//! while cache.undelivered() > 0 {
//!     tokio::time::sleep(std::time::Duration::from_millis(10)).await;
//! }
//! # }
//! ```
//!
//! # Rules
//! 1. An operation without a fault is passed to the inner store.
//! 2. The wrapper counts as a store outside the process, even around a
//!    [`MemoryStore`](super::MemoryStore). So its cache has time limits and a [circuit
//!    breaker](crate::cache::CircuitState). [`FaultyStore::local`] changes that.
//! 3. A fault applies to operations that begin while it is set. An operation that hangs never
//!    completes, even if its fault is cleared.
//! 4. Clones share their inner store and their faults. Two caches over clones are like two
//!    processes that share a store. To break the store for only one of the processes, give each
//!    process its own `FaultyStore` around a clone of the inner store.
//!
//! # Caveats
//! [`Fault::Delay`] needs a tokio runtime with a timer.

mod earlier_entries;
mod faults;
mod generations;
mod operation;

pub use self::faults::{Fault, Faults};
pub use self::operation::Operation;

use self::earlier_entries::EarlierEntries;
use self::generations::FaultyGenerations;
use super::{
    CacheKey, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Store, StoreFuture, StoreStats,
};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A store with faults. See the [module docs](self).
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    earlier: Arc<Mutex<EarlierEntries>>,
    is_local: bool,
    has_generations: bool,
}

impl FaultyStore {
    /// Wraps a store, without a fault.
    pub fn new(inner: impl Store) -> Self {
        Self {
            inner: Arc::new(inner),
            faults: Faults::default(),
            earlier: Arc::default(),
            is_local: false,
            has_generations: true,
        }
    }

    /// Declares that the store is inside the process. Has no effect if the inner store is outside
    /// the process.
    ///
    /// The operations of a store inside the process must complete at once. So use only
    /// [`Fault::Error`], [`Fault::ErrorAfter`], [`Fault::Lost`] and [`Fault::Outdated`] with it.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.is_local = self.inner.is_local();
        self
    }

    /// Hides the [generations](Generations) of the inner store. The cache then keeps the
    /// invalidations in an entry of the store, so an invalidation is an [`Operation::Lookup`] and
    /// an [`Operation::Write`].
    #[must_use]
    pub fn without_generations(mut self) -> Self {
        self.has_generations = false;
        self
    }

    /// Returns the handle that switches the faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        lost: T,
        work: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let inner = Arc::clone(&self.inner);
        self.faults.run(operation, lost, move || work(&*inner))
    }

    /// Returns the entry before the last write under a key. Returns `None` if look-ups do not have
    /// [`Fault::Outdated`], or if no such entry is known.
    fn earlier(&self, key: KeyRef<'_>) -> Option<Entry> {
        let is_outdated = self.faults.get(Operation::Lookup) == Some(Fault::Outdated);
        is_outdated.then(|| self.lock_earlier().get(key))?
    }

    fn lock_earlier(&self) -> MutexGuard<'_, EarlierEntries> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("inner", &self.inner)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Store for FaultyStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (earlier, key) = (self.earlier(key), key.to_key());
        self.run(Operation::Lookup, None, move |inner| match earlier {
            Some(entry) => StoreFuture::ready(Ok(Some(entry))),
            None => inner.get(key.as_ref()),
        })
    }

    fn peek(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (earlier, key) = (self.earlier(key), key.to_key());
        self.run(Operation::Lookup, None, move |inner| match earlier {
            Some(entry) => StoreFuture::ready(Ok(Some(entry))),
            None => inner.peek(key.as_ref()),
        })
    }

    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        let (earlier, key, namespace) = (self.earlier(key), key.to_key(), namespace.to_owned());
        let has_generations = self.has_generations;
        self.run(Operation::Lookup, (None, None), move |inner| {
            let found = inner.get_at(&namespace, key.as_ref());
            if earlier.is_none() && has_generations {
                return found;
            }
            StoreFuture::new(async move {
                let (found, read) = found.await?;
                Ok((earlier.or(found), read.filter(|_| has_generations)))
            })
        })
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let key = key.to_key();
        self.lock_earlier().note(&key, &entry);
        self.run(Operation::Write, true, move |inner| inner.put(key.as_ref(), entry, ttl, mode))
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let key = key.to_key();
        self.run(Operation::Write, true, move |inner| inner.remove(key.as_ref()))
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let key = key.to_key();
        let lost = initial.map_or(0, InitialCounter::value).saturating_add(delta);
        self.run(Operation::Write, lost, move |inner| inner.increment(key.as_ref(), delta, initial))
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (key, expected) = (key.to_key(), expected.cloned());
        self.run(Operation::Write, true, move |inner| {
            inner.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl)
        })
    }

    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        let earlier: Vec<_> = keys.iter().map(|key| self.earlier(*key)).collect();
        let keys: Vec<CacheKey> = keys.iter().map(|key| key.to_key()).collect();
        self.run(Operation::Lookup, vec![None; keys.len()], move |inner| {
            let refs: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            let found = inner.get_many(&refs);
            if earlier.iter().all(Option::is_none) {
                return found;
            }
            StoreFuture::new(async move {
                let found = found.await?.into_iter().zip(earlier);
                Ok(found.map(|(found, earlier)| earlier.or(found)).collect())
            })
        })
    }

    fn get_many_at(
        &self,
        namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        let earlier: Vec<_> = keys.iter().map(|key| self.earlier(*key)).collect();
        let keys: Vec<CacheKey> = keys.iter().map(|key| key.to_key()).collect();
        let (namespace, has_generations) = (namespace.to_owned(), self.has_generations);
        self.run(Operation::Lookup, (vec![None; keys.len()], None), move |inner| {
            let refs: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            let found = inner.get_many_at(&namespace, &refs);
            StoreFuture::new(async move {
                let (found, read) = found.await?;
                let found = found.into_iter().zip(earlier).map(|(found, earlier)| earlier.or(found));
                Ok((found.collect(), read.filter(|_| has_generations)))
            })
        })
    }

    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        let entries: Vec<_> =
            entries.iter().map(|(key, entry, ttl)| (key.to_key(), entry.clone(), *ttl)).collect();
        entries.iter().for_each(|(key, entry, _)| self.lock_earlier().note(key, entry));
        self.run(Operation::Write, vec![true; entries.len()], move |inner| {
            let refs: Vec<_> =
                entries.iter().map(|(key, entry, ttl)| (key.as_ref(), entry.clone(), *ttl)).collect();
            inner.put_many(&refs)
        })
    }

    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        let keys: Vec<CacheKey> = keys.iter().map(|key| key.to_key()).collect();
        self.run(Operation::Write, vec![true; keys.len()], move |inner| {
            let refs: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            inner.remove_many(&refs)
        })
    }

    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        let key = key.to_key();
        self.run(Operation::Write, true, move |inner| inner.touch(key.as_ref(), ttl))
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        let inner = self.inner.generations(namespace).filter(|_| self.has_generations)?;
        Some(Arc::new(FaultyGenerations::new(inner, self.faults.clone())))
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn largest_entry(&self) -> Option<u64> {
        self.inner.largest_entry()
    }

    fn stats(&self) -> Option<StoreStats> {
        self.inner.stats()
    }
}
