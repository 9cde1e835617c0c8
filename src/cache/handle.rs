//! The handle that all layers and handlers share.

mod background;
mod budget;
mod builder;
mod contradictions;
mod dependency_relay;
mod entry_write;
mod generations;
mod invalidation;
mod namespaces;
mod outdated;
mod poll;
mod split_mix64;
mod storing;
mod tracking;
mod values;
mod warm;

pub(crate) use background::RefreshEnd;
pub use background::Refreshes;
pub(crate) use budget::{Budget, Reservation};
pub use builder::CacheBuilder;
pub(crate) use contradictions::UnkeyedFields;
pub(crate) use dependency_relay::{DependencyRelay, PendingRead};
pub use invalidation::{Dependents, Invalidate, Invalidation};
pub(crate) use outdated::{Outdated, UnstoredAction};
pub(crate) use poll::poll_now;
pub(crate) use storing::{LastRecording, PendingStore, RefreshOutcome};
pub(crate) use tracking::{
    AnswerDependencies, DependencyGuard, Tracker, inherit_response, is_tracked, mark_untrackable,
};
pub use tracking::{Propagated, propagate_dependencies};
pub use warm::{Warmed, WarmedPage};

use crate::clock::Clock;
use crate::entry::{Entry, StoredResponse};
use crate::error::{ConfigError, ConfigErrorKind, StoreError};
use crate::flight::{Flights, HitForMiss, Remembered};
use crate::key::{CacheKey, KeyRef, ValueDigests};
use crate::store::{Generations, Store, StoreErrorKind, StoreFuture};
use background::Background;
use namespaces::Namespaces;
use split_mix64::SplitMix64;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use values::Computed;
pub use values::{ComputeError, Value};

/// The cache: a store, its invalidations, and the calls under way. Cheap to clone; clones are one cache.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, Invalidation, MemoryStore};
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_capacity(256 << 20));
/// cache.invalidate(Invalidation::path("/flavours/vanilla")).await?;
/// # Ok::<_, tower_response_cache::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Cache(Arc<CacheInner>);

#[derive(Clone)]
struct CacheInner {
    store: Arc<dyn Store>,
    is_local: bool,
    generations: Arc<dyn Generations>,
    namespaces: Arc<Namespaces>,
    namespace: String,
    version: u32,
    clock: Clock,
    store_timeout: Duration,
    flights: Flights,
    hit_for_miss: Arc<HitForMiss>,
    last_recordings: Arc<Remembered<LastRecording>>,
    recording: Arc<Budget>,
    store_errors: Arc<AtomicU64>,
    background: Arc<Background>,
    dice: Arc<SplitMix64>,
    value_ttl: Duration,
    key_function: Option<Arc<builder::KeyFunction>>,
    key_secret: Arc<[u8]>,
    computations: Flights<Computed>,
}

impl Cache {
    /// Creates a cache over a store, with the defaults of [`builder`](Self::builder).
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::from_builder(Self::builder(store))
    }

    /// Returns a builder: namespace, version, clock, limits.
    pub fn builder(store: impl Store) -> CacheBuilder {
        CacheBuilder::new(Arc::new(store))
    }

    /// Does what nobody waits for: at once over a store inside the process, whose futures are all ready,
    /// else in a task of its own. Outside of a runtime it can't be done, which counts as a failure of the store; then
    /// this returns `false`.
    pub(crate) fn spawn_or_run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        if self.is_local() {
            poll_now(pin!(work));
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let counted = self.0.background.begin_write();
            runtime.spawn(async move {
                let _counted = counted;
                work.await;
            });
        } else {
            // Nobody is left who could do it.
            self.0.store_errors.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Returns leave to read a body for the store alone, if not too many are.
    pub(crate) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.background.drain_permit()
    }

    /// Returns leave to make a response anew in the background, if not too many are.
    pub(crate) fn refresh_permit(&self, key: KeyRef<'_>) -> Option<OwnedSemaphorePermit> {
        self.0.background.refresh_permit(key, self.clock().now())
    }

    /// Returns leave to carry a call on without its client, if not too many are and there is a runtime.
    pub(crate) fn carry_permit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::runtime::Handle::try_current().ok()?;
        self.0.background.carry_permit()
    }

    /// Counts one more refresh.
    pub(crate) fn begin_refresh(&self) {
        self.0.background.begin_refresh();
    }

    /// Returns leave to confirm an answer that is not stored, if not too many are and none was confirmed for this key
    /// a moment ago.
    pub(crate) fn confirmation_permit(&self, key: KeyRef<'_>) -> Option<OwnedSemaphorePermit> {
        self.0.background.confirmation_permit(key, self.clock().now())
    }

    /// Returns `true` if the next refresh of a key carries keyed fields alone.
    pub(crate) fn is_bare_next(&self, key: KeyRef<'_>) -> bool {
        self.0.background.is_bare_next(key, self.clock().now())
    }

    /// Counts what came of a refresh.
    pub(crate) fn refreshed(&self, key: KeyRef<'_>, end: RefreshEnd) {
        self.0.background.refreshed(key, end, self.clock().now());
    }

    /// Draws a number from [0, 1).
    pub(crate) fn draw(&self) -> f64 {
        self.0.dice.draw()
    }

    /// Returns how many responses were, and are being, made anew in the background
    /// ([`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate)).
    #[must_use]
    pub fn refreshes(&self) -> Refreshes {
        self.0.background.counts()
    }

    /// Waits until nothing is under way in the background any more, what a store outside the process is being
    /// told included, and makes nothing anew from then on: for the end of a graceful shutdown, after the last
    /// request. The cache goes on answering.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has changed nothing that lasts.
    pub async fn shutdown(&self) {
        self.0.background.shut_down().await;
    }

    /// Removes a response from the store, if it is there still, whoever leaves meanwhile. A failure is counted.
    pub(crate) fn forget(&self, key: CacheKey, outdated: Arc<StoredResponse>) {
        let cache = self.clone();
        self.spawn_or_run(async move {
            let outdated = Entry::Response(outdated);
            let (new, zero) = (outdated.clone(), Some(Duration::ZERO));
            let removed = cache.store().compare_and_set(key.as_ref(), Some(&outdated), new, zero);
            let _ = cache.within_limit(removed).await;
        });
    }

    /// Returns a handle to the same cache in another namespace, which shares no pages and no values with this
    /// one: the store, the limits and what is counted are the same. What is made from values of another namespace
    /// is not stored.
    ///
    /// Make handles from one cache, not a cache for each request: the handles and clones of a cache share the newest
    /// invalidation that one of them has seen, for about 1,024 namespaces. By that they notice a store that has lost
    /// invalidations.
    ///
    /// A store inside the process drops a namespace without a handle if namespaces that were used since take 24 MiB
    /// ([`LocalGenerations`](crate::store::LocalGenerations)): some thousands of small ones. This invalidates every
    /// entry stored in it, including counters and locks. To keep a namespace, keep a handle to it.
    ///
    /// # Errors
    /// If the namespace is empty.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_capacity(1 << 20));
    /// let blog = cache.with_namespace("blog")?;
    /// assert_eq!(blog.namespace(), "blog");
    /// # Ok::<_, tower_response_cache::ConfigError>(())
    /// ```
    pub fn with_namespace(&self, namespace: impl Into<String>) -> Result<Self, ConfigError> {
        let namespace = namespace.into();
        if namespace.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyNamespace, namespace));
        }
        let generations = self.0.namespaces.generations(&namespace);
        Ok(Self(Arc::new(CacheInner { generations, namespace, ..CacheInner::clone(&self.0) })))
    }

    /// Returns a handle to the same cache for another version of the application's pages and values: those of
    /// others are not seen. They are invalidated together.
    #[must_use]
    pub fn with_version(&self, version: u32) -> Self {
        Self(Arc::new(CacheInner { version, ..CacheInner::clone(&self.0) }))
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Returns how often the store failed or was too slow. The layers forwarded the request then.
    #[must_use]
    pub fn store_errors(&self) -> u64 {
        self.0.store_errors.load(Ordering::Relaxed)
    }

    /// Returns how many calls of wrapped services other requests may be waiting for.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }

    /// Returns how many bytes of bodies are being recorded now.
    #[must_use]
    pub fn recording_bytes(&self) -> u64 {
        self.0.recording.used()
    }

    fn from_builder(builder: CacheBuilder) -> Self {
        let namespaces = Namespaces::new(Arc::clone(&builder.store));
        Self(Arc::new(CacheInner {
            is_local: builder.store.is_local(),
            store: builder.store,
            generations: namespaces.generations(&builder.namespace),
            namespaces: Arc::new(namespaces),
            namespace: builder.namespace,
            version: builder.version,
            clock: builder.clock,
            store_timeout: builder.store_timeout,
            flights: Flights::new(builder.max_flights),
            hit_for_miss: Arc::default(),
            last_recordings: Arc::new(Remembered::lasting(LastRecording::TTL)),
            recording: Budget::new(builder.recording_bytes),
            store_errors: Arc::default(),
            background: Arc::new(Background::new(builder.max_refreshes)),
            dice: Arc::new(SplitMix64::new(builder.seed)),
            value_ttl: builder.value_ttl,
            key_function: builder.key_function,
            key_secret: builder.key_secret,
            computations: Flights::new(builder.max_flights),
        }))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn is_local(&self) -> bool {
        self.0.is_local
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn version(&self) -> u32 {
        self.0.version
    }

    /// Returns what makes digests of the secret values in keys and entries.
    pub(crate) fn value_digests(&self) -> ValueDigests {
        ValueDigests::new(&self.0.namespace, &self.0.key_secret)
    }

    pub(crate) fn flight_table(&self) -> &Flights {
        &self.0.flights
    }

    /// Returns why the last responses under some keys were not stored, though their heads could be.
    pub(crate) fn last_recordings(&self) -> &Remembered<LastRecording> {
        &self.0.last_recordings
    }

    pub(crate) fn hit_for_miss(&self) -> &HitForMiss {
        &self.0.hit_for_miss
    }

    pub(crate) fn reservation(&self) -> Reservation {
        Reservation::new(&self.0.recording)
    }

    /// Waits for the store no longer than the limit, and counts its failures.
    ///
    /// A store inside the process is not made to pay for a timer. Outside a tokio runtime there is
    /// no timer to ask.
    pub(crate) async fn within_limit<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        let result = match future.now() {
            Ok(result) => result,
            Err(future) if tokio::runtime::Handle::try_current().is_err() => future.await,
            Err(future) => match tokio::time::timeout(self.0.store_timeout, future).await {
                Ok(result) => result,
                Err(elapsed) => Err(StoreError::new(StoreErrorKind::TimedOut).with_source(elapsed)),
            },
        };
        if result.is_err() {
            self.0.store_errors.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.0.namespace)
            .field("version", &self.0.version)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
