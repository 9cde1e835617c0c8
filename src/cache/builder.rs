//! The options of a [`Cache`].

use super::background::Background;
use super::budget::Budget;
use super::guard::{StoreGuard, StoreLimits, guarded_generations, guarded_store};
use super::handle::{Cache, CacheInner, KeyFunction};
use super::last_recording::LastRecording;
use super::namespaces::Namespaces;
use super::split_mix64::SplitMix64;
use super::stats::CacheCounters;
use crate::clock::Clock;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::flight::{Flights, RecentKeys};
use crate::key::KeyRef;
use crate::policy::{Policy, Ttl};
use crate::store::Store;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A builder of a [`Cache`]. [`Cache::builder`] creates it.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, MemoryStore};
///
/// let cache = Cache::builder(MemoryStore::with_max_bytes(64 << 20))
///     .namespace("shop")
///     .version(2)
///     .build()?;
/// assert_eq!(cache.namespace(), "shop");
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[must_use]
pub struct CacheBuilder {
    store: Arc<dyn Store>,
    namespace: String,
    version: u32,
    clock: Clock,
    recording_bytes: u64,
    limits: StoreLimits,
    max_refreshes: u32,
    max_flights: usize,
    top_paths: usize,
    seed: u64,
    value_ttl: Option<Duration>,
    key_function: Option<Arc<KeyFunction>>,
    key_secret: Arc<[u8]>,
    policy: Policy,
}

const DEFAULT_RECORDING: u64 = 64 << 20;
const DEFAULT_MAX_REFRESHES: u32 = 64;
const DEFAULT_MAX_FLIGHTS: usize = 100_000;
/// The most paths that [`CacheBuilder::top_paths`] counts.
const MAX_TOP_PATHS: usize = 100_000;
const DEFAULT_VALUE_TTL: Duration = Duration::from_secs(300);
const DEFAULT_LIMITS: StoreLimits = StoreLimits {
    lookup: Duration::from_millis(50),
    write: Duration::from_millis(250),
    invalidation: Duration::from_millis(250),
};

impl Cache {
    /// Creates a cache over a store, with the default of each option of [`CacheBuilder`].
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::from_builder(Self::builder(store))
    }

    /// Returns a builder with the options of a cache: its namespace, version, clock, policy and
    /// limits.
    pub fn builder(store: impl Store) -> CacheBuilder {
        CacheBuilder::new(Arc::new(store))
    }

    fn from_builder(builder: CacheBuilder) -> Self {
        let namespaces = Namespaces::new(Arc::clone(&builder.store));
        let guard = StoreGuard::new(builder.store, builder.limits);
        let unguarded_generations = namespaces.generations(&builder.namespace);
        let counters = Arc::new(CacheCounters::new(&builder.namespace, builder.top_paths));
        Self(Arc::new(CacheInner {
            is_local: guard.is_local(),
            store: guarded_store(&guard),
            generations: guarded_generations(&guard, &unguarded_generations),
            unguarded_generations,
            namespaces: Arc::new(namespaces),
            namespace: builder.namespace,
            version: builder.version,
            clock: builder.clock,
            guard,
            flights: Flights::new(builder.max_flights),
            hit_for_miss: Arc::default(),
            last_recordings: Arc::new(RecentKeys::with_ttl(LastRecording::TTL)),
            recording: Budget::new(builder.recording_bytes),
            background: Arc::new(Background::new(builder.max_refreshes)),
            random: Arc::new(SplitMix64::new(builder.seed)),
            value_ttl: builder.value_ttl,
            key_function: builder.key_function,
            key_secret: builder.key_secret,
            policy: Arc::new(builder.policy),
            computations: Flights::new(builder.max_flights),
            number_locks: Arc::default(),
            switches: Arc::default(),
            layers: Arc::default(),
            counters,
        }))
    }
}

impl CacheBuilder {
    fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            namespace: String::from("default"),
            version: 1,
            clock: Clock::system(),
            recording_bytes: DEFAULT_RECORDING,
            limits: DEFAULT_LIMITS,
            max_refreshes: DEFAULT_MAX_REFRESHES,
            max_flights: DEFAULT_MAX_FLIGHTS,
            top_paths: 0,
            seed: KeyRef::new(b"dice").process_hash(),
            value_ttl: Some(DEFAULT_VALUE_TTL),
            key_function: None,
            key_secret: Arc::default(),
            policy: Policy::default(),
        }
    }

    /// Sets the namespace. Caches with different namespaces share no entries and no invalidations,
    /// even in the same store. The default is `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the version of the application's pages and values. The cache ignores entries of other
    /// versions. The default is 1.
    ///
    /// Change it in a deployment that changes templates or the types of values. To move one value
    /// to another version, use [`Cache::incr_version`].
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the clock, for tests. Give the store the same clock. The default is [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the recording budget: the most bytes of response bodies that the cache records at a
    /// time, over all requests. The default is 64 MiB.
    ///
    /// If the budget is exhausted, responses pass through and are not stored. A quarter of the
    /// budget is reserved for bodies of up to 256 KiB, so that slow readers of large bodies cannot
    /// use up the whole budget.
    ///
    /// If a recording exceeds the budget, the cache ends all recordings that have made no progress for
    /// ten seconds. The response of an ended recording is stored only if its body already has the
    /// length that `Content-Length` declares. Its client still receives the whole body. There is
    /// one exception: if several clients share the body, clients that are more than 256 KiB behind
    /// may be cut off.
    ///
    /// [`Cache::recording_bytes`] returns the bytes in use.
    pub fn recording_bytes(mut self, bytes: u64) -> Self {
        self.recording_bytes = bytes;
        self
    }

    /// Sets how long a look-up waits for a store outside the process. The default is 50 ms.
    ///
    /// The limit applies to each read of the store. After this time, the layers forward the
    /// request, and calls that read values return
    /// [`StoreErrorKind::TimedOut`](crate::error::StoreErrorKind::TimedOut). If the store fails or
    /// times out too often, its [circuit](crate::cache::CircuitState) opens. While the circuit is
    /// open, no request waits for the store.
    ///
    /// No time limit applies to a store inside the process, because its operations complete at
    /// once. Outside a tokio runtime, there is no timer and no time limit. In a tokio runtime whose
    /// timer is not enabled, an operation that waits for the store panics.
    pub fn lookup_timeout(mut self, limit: Duration) -> Self {
        self.limits.lookup = limit;
        self
    }

    /// Sets how long a write waits for a store outside the process. The default is 250 ms. A write
    /// that times out may have taken effect.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write = limit;
        self
    }

    /// Sets how long an invalidation waits for a store outside the process before it is
    /// [queued](crate::invalidation::Delivery::Queued). The default is 250 ms.
    pub fn invalidation_timeout(mut self, limit: Duration) -> Self {
        self.limits.invalidation = limit;
        self
    }

    /// Sets how many background refreshes run at a time
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate)).
    /// Beyond this limit, stale responses are served without a refresh. The default is 64. Zero
    /// disables background refreshes.
    pub fn max_refreshes(mut self, most: u32) -> Self {
        self.max_refreshes = most;
        self
    }

    /// Sets how many flights may be in progress at a time. The default is 100,000.
    ///
    /// A flight is a forwarded request whose response other requests for the key may wait for.
    /// While the limit is reached, further misses do not collapse: each request is forwarded.
    /// Computations of values have a separate limit of the same size.
    pub fn max_flights(mut self, most: usize) -> Self {
        self.max_flights = most;
        self
    }

    /// Sets how many paths [`Cache::stats`] counts for its [top
    /// paths](crate::cache::CacheStats::paths), at most 100,000. The default is zero: no path is
    /// counted.
    ///
    /// The cache knows at most twice as many paths, or four if that is more. A path has at most 512
    /// bytes. A forwarded request takes a lock for a moment to count its path. Of 128 hits, one
    /// takes the lock.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let cache = Cache::builder(MemoryStore::with_max_bytes(64 << 20)).top_paths(1000).build()?;
    /// let mut paths = cache.stats().paths().to_vec();
    /// paths.sort_unstable_by_key(|path| std::cmp::Reverse(path.handler_time()));
    /// for path in paths.iter().take(10) {
    ///     println!("{}: {} misses, {:?}", path.path(), path.misses(), path.handler_time());
    /// }
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn top_paths(mut self, number: usize) -> Self {
        self.top_paths = number.min(MAX_TOP_PATHS);
        self
    }

    /// Sets the seed of random decisions, for tests. By default, each process has a random seed.
    ///
    /// [`PolicyBuilder::early_refresh`](crate::policy::PolicyBuilder::early_refresh) and
    /// [`PolicyBuilder::ttl_jitter`](crate::policy::PolicyBuilder::ttl_jitter) decide at random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the TTL of values that are set with [`Ttl::Default`]. The default is five minutes. To
    /// restore it, pass `Ttl::Default`.
    ///
    /// With [`Ttl::Forever`], values live until they are invalidated or evicted. With a TTL of
    /// zero, they are not stored.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore, Ttl};
    ///
    /// let cache = Cache::builder(MemoryStore::with_max_bytes(64 << 20)).value_ttl(Ttl::Forever).build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn value_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.value_ttl = match ttl.into() {
            Ttl::Default => Some(DEFAULT_VALUE_TTL),
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => None,
        };
        self
    }

    /// Sets a function that transforms the keys of values, for example to fold their case or to add
    /// a prefix per tenant. By default, keys are used unchanged.
    ///
    /// Keys for which the function returns the same bytes name the same value. The function does
    /// not apply to fragments.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let builder = Cache::builder(MemoryStore::with_max_bytes(64 << 20));
    /// let cache = builder.key_function(|key| key.to_ascii_lowercase()).build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn key_function(mut self, function: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.key_function = Some(Arc::new(function));
        self
    }

    /// Sets the secret for the digests of private values in keys and entries. Use the same secret
    /// in every process that shares the store.
    ///
    /// A store never holds these values in plain text:
    ///
    /// - the values of keyed cookies
    /// - identities
    ///   ([`PolicyBuilder::vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity))
    /// - the values of fields that identify a visitor, if they are in `Vary` or in the key
    /// - key parts that the application computes
    ///   ([`PolicyBuilder::vary_by`](crate::policy::PolicyBuilder::vary_by))
    ///
    /// After a change of the secret, look-ups no longer find the entries with such values.
    ///
    /// # Security
    /// Without a secret, the digests depend only on the namespace. Anyone who can read the store
    /// can then guess values that are short or well known, such as e-mail addresses. If others can
    /// read the store, set a secret of at least 32 random bytes.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # let secret_from_environment = [7; 32];
    /// let store = MemoryStore::with_max_bytes(64 << 20);
    /// let cache = Cache::builder(store).key_secret(secret_from_environment).build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn key_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.key_secret = secret.as_ref().into();
        self
    }

    /// Sets the policy of each layer over this cache for which you set no policy. The default is
    /// [`Policy::app`] without options.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
    ///
    /// let policy = Policy::app().default_ttl(Duration::from_secs(600)).build()?;
    /// let cache = Cache::builder(MemoryStore::with_max_bytes(64 << 20)).policy(policy).build()?;
    /// let layer = SiteCacheLayer::new(&cache);
    /// # let _ = layer;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// - [`ConfigErrorKind::EmptyNamespace`] if the namespace is empty.
    /// - [`ConfigErrorKind::ZeroLimit`] if [`recording_bytes`](Self::recording_bytes) is zero.
    /// - [`ConfigErrorKind::ZeroTimeout`] if the limit of look-ups, writes or invalidations is zero.
    pub fn build(self) -> Result<Cache, ConfigError> {
        if self.namespace.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyNamespace, self.namespace));
        }
        if self.recording_bytes == 0 {
            return Err(ConfigError::new(ConfigErrorKind::ZeroLimit, self.recording_bytes));
        }
        let limits = [self.limits.lookup, self.limits.write, self.limits.invalidation];
        if limits.iter().any(Duration::is_zero) {
            return Err(ConfigError::new(ConfigErrorKind::ZeroTimeout, "0 ms"));
        }
        Ok(Cache::from_builder(self))
    }
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("namespace", &self.namespace)
            .field("version", &self.version)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
