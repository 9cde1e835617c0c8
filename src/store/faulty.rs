//! A store with faults that a test switches on and off.
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
//! 2. The store counts as one outside the process, even around a
//!    [`MemoryStore`](super::MemoryStore). So its cache has time limits and a [circuit
//!    breaker](crate::cache::CircuitState). [`FaultyStore::local`] changes that.
//! 3. A fault applies to operations that begin while it is set. An operation that hangs never
//!    completes, even if its fault is cleared.
//! 4. Clones share their inner store and their faults. Two caches over clones are like two
//!    processes that share a store. To break the store for only one of the processes, give each its
//!    own `FaultyStore` around a clone of the same inner store.
//!
//! # Caveats
//! [`Fault::Delay`] needs a tokio runtime with a timer.

mod earlier_entries;
mod operation;

pub use self::operation::Operation;

use self::earlier_entries::EarlierEntries;
use super::{
    CacheKey, Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, Store,
    StoreError, StoreErrorKind, StoreFuture, Strength, Validity,
};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // Tests get new faults.
pub enum Fault {
    /// The operation fails with [`StoreErrorKind::Unavailable`], without an effect.
    Error,
    /// The operation takes effect and then fails with [`StoreErrorKind::Unavailable`], as if the
    /// reply of the backend were lost.
    ErrorAfter,
    /// The operation never completes and has no effect.
    Hang,
    /// The operation takes effect and never completes.
    HangAfter,
    /// The operation has no effect, but is reported as done. A look-up finds nothing. An increment
    /// returns the sum of the delta and the initial value, which is 0 if the call passes none. A
    /// `check` finds every entry valid;
    /// `current`, `cleared` and `depend` return [`Generation::new(0, 0)`](Generation::new).
    ///
    /// The cache cannot notice this fault for an invalidation, and serves the old entries.
    Lost,
    /// A look-up returns an outdated entry: the one before the last write under the key. If no such
    /// entry is known, the look-up returns the current entry. Operations other than look-ups have
    /// no fault.
    ///
    /// Only a `put` or `put_many` through this wrapper counts as a write, even if it fails. The
    /// wrapper remembers the entries of 256 keys. For each further key, it forgets the one that it
    /// has known longest.
    Outdated,
    /// The operation is delayed before and after its effect.
    Delay {
        /// The time before the effect.
        before: Duration,
        /// The time from the effect to the completion.
        after: Duration,
    },
}

/// A handle that switches the faults of a [`FaultyStore`]. Clones switch the same faults.
///
/// # Example
/// ```
/// use tower_response_cache::store::faulty::{Fault, FaultyStore, Operation};
/// use tower_response_cache::store::{Entry, KeyRef, MemoryStore, PutMode, Store};
///
/// # futures::executor::block_on(async {
/// let store = FaultyStore::new(MemoryStore::with_max_bytes(1 << 20));
/// let (faults, key) = (store.faults(), KeyRef::new(b"flavours"));
/// faults.set(Operation::Write, Fault::Lost);
/// assert!(store.put(key, Entry::raw("vanilla"), None, PutMode::Always).await?);
/// assert_eq!(store.get(key).await?, None);
/// faults.set_all(Fault::Error);
/// assert!(store.get(key).await.is_err());
/// faults.clear();
/// assert_eq!(store.get(key).await?, None);
/// assert_eq!((faults.calls(Operation::Write), faults.calls(Operation::Lookup)), (1, 3));
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<FaultTable>>);

#[derive(Debug, Default)]
struct FaultTable {
    /// The fault of each operation, at the index `operation as usize`.
    faults: [Option<Fault>; Operation::ALL.len()],
    calls: [u64; Operation::ALL.len()],
}

impl Faults {
    /// Sets the fault of an operation, in place of its earlier fault.
    pub fn set(&self, operation: Operation, fault: Fault) {
        self.lock().faults[operation as usize] = Some(fault);
    }

    /// Sets the same fault for every operation.
    pub fn set_all(&self, fault: Fault) {
        Operation::ALL.into_iter().for_each(|operation| self.set(operation, fault));
    }

    /// Ends the fault of an operation.
    pub fn unset(&self, operation: Operation) {
        self.lock().faults[operation as usize] = None;
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.lock().faults = Default::default();
    }

    /// Returns the fault of an operation.
    #[must_use]
    pub fn get(&self, operation: Operation) -> Option<Fault> {
        self.lock().faults[operation as usize]
    }

    /// Returns how often an operation was called, with and without a fault. An operation on several
    /// entries counts once.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls[operation as usize]
    }

    /// Counts a call and returns its fault.
    fn begin(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.lock();
        state.calls[operation as usize] += 1;
        state.faults[operation as usize]
    }

    /// Runs an operation with its fault. `lost` is the result to report for [`Fault::Lost`].
    fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        lost: T,
        work: impl FnOnce() -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        match self.begin(operation) {
            None | Some(Fault::Outdated) => work(),
            Some(Fault::Error) => StoreFuture::ready(Err(unavailable())),
            Some(Fault::Lost) => StoreFuture::ready(Ok(lost)),
            Some(Fault::Hang) => StoreFuture::new(pending()),
            Some(Fault::ErrorAfter) => match work().now() {
                Ok(result) => StoreFuture::ready(result.and_then(|_| Err(unavailable()))),
                Err(future) => StoreFuture::new(async move { future.await.and_then(|_| Err(unavailable())) }),
            },
            Some(Fault::HangAfter) => StoreFuture::new(async move {
                let _ = work().await;
                pending().await
            }),
            Some(Fault::Delay { before, after }) => StoreFuture::new(async move {
                tokio::time::sleep(before).await;
                let result = work().await;
                tokio::time::sleep(after).await;
                result
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, FaultTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable)
}

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
    /// The operations of such a store must complete at once, so use only [`Fault::Error`],
    /// [`Fault::ErrorAfter`], [`Fault::Lost`] and [`Fault::Outdated`].
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
        Some(Arc::new(FaultyGenerations { inner, faults: self.faults.clone() }))
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn largest_entry(&self) -> Option<u64> {
        self.inner.largest_entry()
    }
}

/// The generations of a [`FaultyStore`].
#[derive(Debug)]
struct FaultyGenerations {
    inner: Arc<dyn Generations>,
    faults: Faults,
}

impl FaultyGenerations {
    fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        lost: T,
        work: impl FnOnce(&dyn Generations) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let inner = Arc::clone(&self.inner);
        self.faults.run(operation, lost, move || work(&*inner))
    }
}

impl Generations for FaultyGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), |inner| inner.current())
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), |inner| inner.cleared())
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let (scopes, dependencies) = (scopes.to_vec(), dependencies.to_vec());
        self.run(Operation::Generation, Validity::Valid, move |inner| {
            inner.check(since, &scopes, &dependencies)
        })
    }

    fn known_cleared(&self) -> Option<Generation> {
        self.inner.known_cleared()
    }

    fn cleared_at(&self, read: Generation) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), move |inner| inner.cleared_at(read))
    }

    fn check_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let (scopes, dependencies) = (scopes.to_vec(), dependencies.to_vec());
        self.run(Operation::Generation, Validity::Valid, move |inner| {
            inner.check_at(read, since, &scopes, &dependencies)
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let scopes = scopes.to_vec();
        self.run(Operation::Invalidation, (), move |inner| inner.advance(&scopes, strength))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), move |inner| inner.depend(value))
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.run(Operation::Invalidation, Some(since), move |inner| inner.written(value, since))
    }
}
