//! The cache handle, and the state that its clones share.

use super::background::Background;
use super::budget::{Budget, Reservation};
use super::compute_outcome::ComputeOutcome;
use super::guard::{CircuitState, GuardedOperation, StoreGuard, guarded_generations};
use super::last_recording::LastRecording;
use super::layer_registry::LayerRegistry;
use super::namespaces::Namespaces;
use super::number_locks::NumberLocks;
use super::split_mix64::SplitMix64;
use super::stats::CacheCounters;
use super::switches::Switches;
use crate::clock::Clock;
use crate::error::{ConfigError, ConfigErrorKind, StoreError};
use crate::flight::{Flights, HitForMiss, RecentKeys};
use crate::key::ValueDigests;
use crate::policy::Policy;
use crate::store::{Generations, Store, StoreFuture};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A handle to a cache: a store with its entries, invalidations and flights.
///
/// A handle is cheap to clone. All clones are the same cache. See the [module docs](crate::cache)
/// for the rules.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, Invalidation, MemoryStore};
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_max_bytes(256 << 20));
/// let _ = cache.invalidate(Invalidation::path("/flavors/vanilla")).await;
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Cache(pub(super) Arc<CacheInner>);

/// The state that the clones of a handle share.
#[derive(Clone)]
pub(super) struct CacheInner {
    pub(super) store: Arc<dyn Store>,
    pub(super) is_local: bool,
    pub(super) generations: Arc<dyn Generations>,
    /// The generations without time limits and without the circuit breaker. The delivery of queued
    /// invalidations uses these generations, because it applies the limits and the breaker itself.
    pub(super) unguarded_generations: Arc<dyn Generations>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) namespace: String,
    pub(super) version: u32,
    pub(super) clock: Clock,
    pub(super) guard: Arc<StoreGuard>,
    pub(super) flights: Flights,
    pub(super) hit_for_miss: Arc<HitForMiss>,
    /// The outcomes of the last recordings, by key.
    pub(super) last_recordings: Arc<RecentKeys<LastRecording>>,
    /// The budget of recordings.
    pub(super) recording: Arc<Budget>,
    pub(super) background: Arc<Background>,
    pub(super) random: Arc<SplitMix64>,
    /// The TTL of values that are set with `Ttl::Default`. With `None`, they never expire.
    pub(super) value_ttl: Option<Duration>,
    pub(super) key_function: Option<Arc<KeyFunction>>,
    pub(super) key_secret: Arc<[u8]>,
    pub(super) policy: Arc<Policy>,
    /// The flights of values that are being computed.
    pub(super) computations: Flights<ComputeOutcome>,
    pub(super) number_locks: Arc<NumberLocks>,
    pub(super) switches: Arc<Switches>,
    pub(super) layers: Arc<LayerRegistry>,
    pub(super) counters: Arc<CacheCounters>,
}

/// The function that transforms the keys of values.
pub(super) type KeyFunction = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl Cache {
    /// Returns the policy of each layer for which no policy is set.
    pub(crate) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Draws a random number from [0, 1).
    pub(crate) fn draw(&self) -> f64 {
        self.0.random.draw()
    }

    /// Returns a handle to the same cache in another namespace.
    ///
    /// The two namespaces share no pages, values or invalidations. They share the store, the limits
    /// and the statistics of the cache. A page that is made from values of another namespace is not
    /// stored.
    ///
    /// Derive handles from one cache, rather than building a cache for each request. Handles that
    /// are derived from one cache share the newest generation of a namespace that any of them has
    /// seen, for about 1,024 namespaces. If a store later returns an older generation, the cache
    /// knows that the store has lost invalidations.
    ///
    /// # Caveats
    /// A namespace without a handle is idle. A store inside the process keeps only the most
    /// recently used idle namespaces: at most 16,384, which take at most 24 MiB (see
    /// [`LocalGenerations`](crate::store::LocalGenerations)). The store drops the others. This
    /// invalidates every entry of a dropped namespace, including counters and locks. To prevent
    /// that, keep a handle.
    ///
    /// # Errors
    /// [`ConfigErrorKind::EmptyNamespace`] if the namespace is empty.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// let blog = cache.with_namespace("blog")?;
    /// assert_eq!(blog.namespace(), "blog");
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn with_namespace(&self, namespace: impl Into<String>) -> Result<Self, ConfigError> {
        let namespace = namespace.into();
        if namespace.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyNamespace, namespace));
        }
        let unguarded_generations = self.0.namespaces.generations(&namespace);
        let generations = guarded_generations(&self.0.guard, &unguarded_generations);
        Ok(Self(Arc::new(CacheInner {
            generations,
            unguarded_generations,
            namespace,
            ..CacheInner::clone(&self.0)
        })))
    }

    /// Returns a handle to the same cache for another version of the application's pages and
    /// values.
    ///
    /// The handle does not see entries of other versions. An invalidation covers all versions of a
    /// namespace.
    #[must_use]
    pub fn with_version(&self, version: u32) -> Self {
        Self(Arc::new(CacheInner { version, ..CacheInner::clone(&self.0) }))
    }

    /// Returns the namespace of this handle.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Returns how many operations of the store have failed or exceeded their [time
    /// limit](crate::cache::CacheBuilder::lookup_timeout), over all namespaces and versions. If a
    /// look-up fails, the layers forward the request.
    #[must_use]
    pub fn store_errors(&self) -> u64 {
        self.store_errors_by_operation().iter().map(|(_, errors)| errors).sum()
    }

    /// Returns the number of these failures for each operation, with the name of the operation.
    pub(super) fn store_errors_by_operation(&self) -> [(&'static str, u64); 3] {
        self.0.guard.failures()
    }

    /// Returns the number of flights in progress: forwarded requests whose responses other requests
    /// may wait for.
    #[doc(alias = "single-flight")]
    #[must_use]
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }

    /// Returns how many bytes of response bodies are being recorded now
    /// ([`CacheBuilder::recording_bytes`](crate::cache::CacheBuilder::recording_bytes)).
    #[must_use]
    pub fn recording_bytes(&self) -> u64 {
        self.0.recording.used()
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

    /// Returns the hasher that digests private values in keys and entries.
    pub(crate) fn value_digests(&self) -> ValueDigests {
        ValueDigests::new(&self.0.namespace, &self.0.key_secret)
    }

    /// Returns the layers over this cache and over handles that are derived from it.
    pub(crate) fn layer_registry(&self) -> &LayerRegistry {
        &self.0.layers
    }

    pub(crate) fn flight_table(&self) -> &Flights {
        &self.0.flights
    }

    pub(crate) fn last_recordings(&self) -> &RecentKeys<LastRecording> {
        &self.0.last_recordings
    }

    pub(crate) fn hit_for_miss(&self) -> &HitForMiss {
        &self.0.hit_for_miss
    }

    pub(crate) fn reservation(&self) -> Reservation {
        Reservation::new(&self.0.recording)
    }

    /// Awaits a look-up in the store. A failure is counted.
    pub(crate) async fn await_lookup<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        self.await_counted(GuardedOperation::Lookup, future).await
    }

    /// Awaits a write to the store. A failure is counted.
    pub(crate) async fn await_write<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        self.await_counted(GuardedOperation::Write, future).await
    }

    /// Awaits an invalidation in the store. A failure is counted.
    pub(crate) async fn await_invalidation<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        self.await_counted(GuardedOperation::Invalidation, future).await
    }

    /// Awaits an operation of the store, and counts a failure of a store inside the process. For a
    /// store outside the process, the guard sets a time limit and counts failures.
    async fn await_counted<T>(
        &self,
        operation: GuardedOperation,
        future: StoreFuture<T>,
    ) -> Result<T, StoreError> {
        let result = future.await;
        if self.0.is_local && result.as_ref().is_err_and(|error| error.kind().is_failure()) {
            self.0.guard.count_failure(operation);
        }
        result
    }

    /// Returns the state of the circuit breaker of the store. The circuit of a store inside the
    /// process is always closed.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::cache::CircuitState;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// assert_eq!(cache.circuit(), CircuitState::Closed);
    /// ```
    #[must_use]
    #[doc(alias = "circuit breaker")]
    pub fn circuit(&self) -> CircuitState {
        self.0.guard.circuit()
    }

    /// Returns the number of scopes, such as paths and tags, whose invalidation the store has not
    /// confirmed. It covers all namespaces. See
    /// [`Delivery::Queued`](crate::invalidation::Delivery::Queued).
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.0.guard.undelivered()
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
