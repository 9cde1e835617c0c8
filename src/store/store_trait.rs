//! The [`Store`] trait, and the argument types of its methods.

use super::{Generations, StoreFuture, StoreStats};
use crate::entry::{Entry, Generation};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::KeyRef;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The condition under which [`Store::put`] stores an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Always. The entry replaces an old one.
    Always,
    /// Only if the key is absent or expired.
    IfAbsent,
}

/// The value and the TTL of a counter that [`Store::increment`] creates.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::store::{InitialCounter, KeyRef};
/// use tower_response_cache::{MemoryStore, Store};
///
/// # futures::executor::block_on(async {
/// let store = MemoryStore::with_max_bytes(1 << 20);
/// // One minute after its creation, the counter starts from zero again.
/// let initial = Some(InitialCounter::new(0, Some(Duration::from_secs(60))));
/// assert_eq!(store.increment(KeyRef::new(b"logins"), 1, initial).await?, 1);
/// assert_eq!(store.increment(KeyRef::new(b"logins"), 1, initial).await?, 2);
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialCounter {
    value: i64,
    ttl: Option<Duration>,
}

impl InitialCounter {
    /// Creates the initial state of a counter. With a `ttl` of `None`, the counter never expires.
    #[must_use]
    pub const fn new(value: i64, ttl: Option<Duration>) -> Self {
        Self { value, ttl }
    }

    /// Returns the value before the first change.
    #[must_use]
    pub const fn value(self) -> i64 {
        self.value
    }

    /// Returns the TTL of the new counter; `None` if it never expires.
    #[must_use]
    pub const fn ttl(self) -> Option<Duration> {
        self.ttl
    }
}

/// A storage backend: keeps entries under keys, each with a time to live.
///
/// Use [`MemoryStore`](super::MemoryStore) inside one process. Implement this trait to share a
/// cache between processes. The required methods are [`get`](Self::get), [`put`](Self::put),
/// [`remove`](Self::remove), [`increment`](Self::increment) and
/// [`compare_and_set`](Self::compare_and_set). The cache works with the defaults of the other
/// methods; implement them if the backend can do better. A store outside the process keeps the
/// bytes of [`Entry::encode`].
///
/// # Contract
/// Every method may be called at any time from any number of tasks. A method that fails returns a
/// [`StoreError`]. No method panics or blocks the thread. An entry may disappear at any time, by
/// eviction or a restart: that is a miss, never an error.
///
/// The time to live counts from the put, and an expired entry is absent for every method. Atomic
/// operations are atomic among all processes that use the store.
///
/// Entries are returned exactly as they were put: a store never changes status, header lines or
/// body bytes.
///
/// The feature `testing` adds a test kit, `store::contract`, that verifies the contract.
///
/// # Errors
/// A store that cannot be reached, or that refuses an operation, fails with
/// [`StoreErrorKind::Unavailable`]. An entry that cannot be decoded is not an error: treat it as
/// absent.
///
/// # Cancel safety
/// After a future is dropped before it is ready, the store is in the state before the call or after
/// it.
///
/// # Example
/// A store that counts look-ups and delegates the work:
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use tower_response_cache::store::{
///     Entry, Generations, InitialCounter, KeyRef, PutMode, StoreFuture,
/// };
/// use tower_response_cache::{Cache, MemoryStore, Store};
///
/// #[derive(Debug, Clone)]
/// struct Counted {
///     inner: MemoryStore,
///     lookups: Arc<AtomicU64>,
/// }
///
/// impl Store for Counted {
///     fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
///         self.lookups.fetch_add(1, Ordering::Relaxed);
///         self.inner.get(key)
///     }
///
///     fn put(
///         &self,
///         key: KeyRef<'_>,
///         entry: Entry,
///         ttl: Option<Duration>,
///         mode: PutMode,
///     ) -> StoreFuture<bool> {
///         self.inner.put(key, entry, ttl, mode)
///     }
///
///     fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
///         self.inner.remove(key)
///     }
///
///     fn increment(
///         &self,
///         key: KeyRef<'_>,
///         delta: i64,
///         initial: Option<InitialCounter>,
///     ) -> StoreFuture<i64> {
///         self.inner.increment(key, delta, initial)
///     }
///
///     fn compare_and_set(
///         &self,
///         key: KeyRef<'_>,
///         expected: Option<&Entry>,
///         new: Entry,
///         ttl: Option<Duration>,
///     ) -> StoreFuture<bool> {
///         self.inner.compare_and_set(key, expected, new, ttl)
///     }
///
///     // Without this method, the invalidations would be one more entry of the store.
///     fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
///         self.inner.generations(namespace)
///     }
///
///     fn is_local(&self) -> bool {
///         self.inner.is_local()
///     }
///
///     fn largest_entry(&self) -> Option<u64> {
///         self.inner.largest_entry()
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let lookups = Arc::new(AtomicU64::new(0));
/// let inner = MemoryStore::with_max_bytes(1 << 20);
/// let store = Counted { inner, lookups: Arc::clone(&lookups) };
/// store.get(KeyRef::new(b"flavors")).await?;
/// assert_eq!(lookups.load(Ordering::Relaxed), 1);
/// let cache = Cache::new(store);
/// # let _ = cache;
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[doc(alias = "backend")]
#[doc(alias = "storage")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a response store",
    note = "use `MemoryStore`, or implement `tower_response_cache::Store`"
)]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the entry under a key, or `None` if it is absent or has expired.
    ///
    /// Keys are compared by their full bytes, not by a hash.
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>>;

    /// Returns the entry under a key, and the generation of a namespace if both are read in one
    /// round trip.
    ///
    /// The generation is the one that was current after the entry was read, for
    /// [`Generations::check_at`]. Return no generation if this process has already seen a later
    /// generation. The default calls [`get`](Self::get) and returns no generation; the cache then
    /// calls [`Generations::check`]. Implement both `get_at` and `check_at`, or neither.
    fn get_at(&self, _namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        without_generation(self.get(key))
    }

    /// Returns the same entry as [`get`](Self::get), for diagnosis.
    ///
    /// [`Cache::explain`](crate::cache::Cache::explain) calls this method. A peek should not affect
    /// eviction. The default calls [`get`](Self::get). Implement `peek` if `get` affects eviction.
    /// In a store that wraps another store, call the `peek` of the inner store.
    fn peek(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.get(key)
    }

    /// Stores an entry and returns `true` if it was stored.
    ///
    /// `ttl` is the time to live, counted from this call; `None` means that the entry never
    /// expires. A `ttl` that is too long for the store counts as `None`. A zero `ttl` stores
    /// nothing and returns `false`; it also removes the old entry, unless the mode is
    /// [`PutMode::IfAbsent`].
    ///
    /// If the put fails, or the entry is too large, the old entry must be gone: old data must not
    /// outlive a write of new data.
    ///
    /// `IfAbsent` is atomic: of many concurrent calls for an absent key, exactly one returns
    /// `true`.
    #[doc(alias = "set")]
    #[doc(alias = "insert")]
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool>;

    /// Removes an entry and returns `true` if it was present and had not expired.
    #[doc(alias = "delete")]
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool>;

    /// Adds to a counter atomically and returns its new value.
    ///
    /// An increment does not change the time to live of an existing counter. An absent counter is
    /// created from `initial`: `delta` is added to its value, and its TTL counts from this call.
    ///
    /// # Errors
    /// Fails with [`StoreErrorKind::Missing`] if there is no counter and `initial` is `None`.
    ///
    /// Fails with [`StoreErrorKind::NotANumber`] if the entry is not a counter.
    ///
    /// Fails with [`StoreErrorKind::Overflow`] if the sum is outside the range of `i64`; the
    /// counter keeps its value.
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64>;

    /// Stores `new` atomically if the current entry equals `expected`. An `expected` of `None`
    /// equals an absent key. Returns `true` if the call took effect.
    ///
    /// With a zero `ttl`, removes the current entry instead of replacing it. Entries are
    /// compared with `==`.
    #[doc(alias = "compare-and-swap")]
    #[doc(alias = "CAS")]
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool>;

    /// Returns the entries under several keys, in the order of the keys.
    ///
    /// The default calls [`get`](Self::get) for each key. Implement `get_many` if the backend can
    /// read several keys in one round trip.
    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        StoreFuture::all(keys.iter().map(|key| self.get(*key)).collect())
    }

    /// Returns the entries under several keys, and the generation of a namespace if all of them are
    /// read in one round trip.
    ///
    /// The rules of [`get_at`](Self::get_at) and [`get_many`](Self::get_many) apply. The default
    /// calls `get_many` and returns no generation.
    fn get_many_at(
        &self,
        _namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        without_generation(self.get_many(keys))
    }

    /// Stores several entries, replaces old ones, and returns `true` for each entry that was
    /// stored.
    ///
    /// The puts are not atomic together. The default calls [`put`](Self::put) for each entry.
    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        let put = |(key, entry, ttl): &(KeyRef<'_>, Entry, Option<Duration>)| {
            self.put(*key, entry.clone(), *ttl, PutMode::Always)
        };
        StoreFuture::all(entries.iter().map(put).collect())
    }

    /// Removes several entries and returns `true` for each key that had an unexpired one.
    ///
    /// The removals are not atomic together. The default calls [`remove`](Self::remove) for each
    /// key.
    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        StoreFuture::all(keys.iter().map(|key| self.remove(*key)).collect())
    }

    /// Sets the remaining time to live of an entry (`None`: it never expires) and returns `true` if
    /// it is present and has not expired.
    ///
    /// A zero `ttl` removes the entry. The default fails with [`StoreErrorKind::Unsupported`]; the
    /// cache then uses [`compare_and_set`](Self::compare_and_set).
    fn touch(&self, _key: KeyRef<'_>, _ttl: Option<Duration>) -> StoreFuture<bool> {
        StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unsupported)))
    }

    /// Returns the invalidations of a namespace, shared by all callers that pass the same name.
    ///
    /// An invalidation in one namespace does not affect other namespaces. The cache calls this
    /// method once for each new [`Cache`](crate::cache::Cache) and once for each call of
    /// [`Cache::with_namespace`](crate::cache::Cache::with_namespace).
    ///
    /// A store inside the process returns a handle from a field of type
    /// [`LocalGenerations`](super::LocalGenerations).
    ///
    /// With the default, `None`, the invalidations of a namespace are one entry of this store. Each
    /// look-up reads that entry, and each invalidation changes it by
    /// [`compare_and_set`](Self::compare_and_set). Implement the method if the backend can do
    /// better.
    fn generations(&self, _namespace: &str) -> Option<Arc<dyn Generations>> {
        None
    }

    /// Returns `true` if every future of this store and its invalidations is ready at its first
    /// poll.
    ///
    /// The default is `false`. The cache answers a hit from a local store without waiting.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the most bytes that an entry and its key may take together; `None` if there is no
    /// limit.
    ///
    /// The bytes of an entry are its [`weight`](Entry::weight). The cache does not record a
    /// response that would be larger.
    fn largest_entry(&self) -> Option<u64> {
        None
    }

    /// Returns the number of entries and other statistics, as far as the store knows them without
    /// waiting.
    ///
    /// [`Cache::stats`](crate::cache::Cache::stats) calls this method. The default is `None`.
    fn stats(&self) -> Option<StoreStats> {
        None
    }
}

/// Adds the generation `None` to entries that were read without a generation.
fn without_generation<T: Send + 'static>(found: StoreFuture<T>) -> StoreFuture<(T, Option<Generation>)> {
    match found.now() {
        Ok(found) => StoreFuture::ready(found.map(|found| (found, None))),
        Err(found) => StoreFuture::new(async move { Ok((found.await?, None)) }),
    }
}
