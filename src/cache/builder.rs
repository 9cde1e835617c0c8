//! How a [`Cache`] is configured.

use super::background::Background;
use super::budget::Budget;
use super::handle::{Cache, CacheInner, KeyFunction};
use super::last_recording::LastRecording;
use super::namespaces::Namespaces;
use super::split_mix64::SplitMix64;
use crate::clock::Clock;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::flight::{Flights, Remembered};
use crate::key::KeyRef;
use crate::policy::{Policy, Ttl};
use crate::store::Store;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Configures a [`Cache`].
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
    store_timeout: Duration,
    max_refreshes: u32,
    max_flights: usize,
    seed: u64,
    value_ttl: Option<Duration>,
    key_function: Option<Arc<KeyFunction>>,
    key_secret: Arc<[u8]>,
    policy: Policy,
}

const DEFAULT_RECORDING: u64 = 64 << 20;
const DEFAULT_MAX_REFRESHES: u32 = 64;
const DEFAULT_MAX_FLIGHTS: usize = 100_000;
const DEFAULT_VALUE_TTL: Duration = Duration::from_secs(300);
const DEFAULT_STORE_TIMEOUT: Duration = Duration::from_millis(250);

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
            policy: Arc::new(builder.policy),
            computations: Flights::new(builder.max_flights),
            number_locks: Arc::default(),
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
            store_timeout: DEFAULT_STORE_TIMEOUT,
            max_refreshes: DEFAULT_MAX_REFRESHES,
            max_flights: DEFAULT_MAX_FLIGHTS,
            seed: KeyRef::new(b"dice").process_hash(),
            value_ttl: Some(DEFAULT_VALUE_TTL),
            key_function: None,
            key_secret: Arc::default(),
            policy: Policy::default(),
        }
    }

    /// Sets the namespace: caches with different ones share nothing, though they share a store.
    /// The default is `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the version of the application's pages: entries of another one are not seen. The default is 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the clock. Give the store the same one.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many bytes of bodies may be recorded at a time, all requests together. Past it,
    /// responses pass through unrecorded. The default is 64 MiB. A quarter of it is kept for bodies
    /// of up to 256 KiB, which slow readers of large ones can't use up.
    ///
    /// If a recording finds no room, recordings without progress for ten seconds are ended. Such a response is stored if
    /// its body has the length that `Content-Length` declares; otherwise it is not. Its client still receives the whole
    /// body, with one exception: if several clients share the body, those more than 256 KiB behind may be cut off.
    pub fn recording_bytes(mut self, bytes: u64) -> Self {
        self.recording_bytes = bytes;
        self
    }

    /// Sets how long the layers wait for the store before they forward the request. The default is
    /// 250 ms. A store inside the process is never waited for.
    pub fn store_timeout(mut self, limit: Duration) -> Self {
        self.store_timeout = limit;
        self
    }

    /// Sets how many responses are made anew in the background at a time
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate)). While so many are, stale ones
    /// go on being answered with. The default is 64; zero makes none.
    pub fn max_refreshes(mut self, most: u32) -> Self {
        self.max_refreshes = most;
        self
    }

    /// Sets how many calls of wrapped services may be under way that others wait for; beyond it, requests
    /// call by themselves. The default is 100,000.
    pub fn max_flights(mut self, most: usize) -> Self {
        self.max_flights = most;
        self
    }

    /// Sets the seed of random decisions
    /// ([`PolicyBuilder::early_refresh`](crate::policy::PolicyBuilder::early_refresh),
    /// [`PolicyBuilder::ttl_jitter`](crate::policy::PolicyBuilder::ttl_jitter)), for tests. By default, each
    /// process has its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the TTL of values that are set with [`Ttl::Default`]. With [`Ttl::Forever`], they live until they are
    /// invalidated or evicted. The default is five minutes; `Ttl::Default` means the same. With zero, such values
    /// are not stored.
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

    /// Sets a function that all keys of values go through, those of fragments aside: to fold their case, say, or to
    /// put a tenant before each. By default they are as they are. Keys that it makes the same are one key.
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

    /// Sets the secret that keys the digests of credentials, identities, keyed cookies and computed parts of keys. Use the same secret in every
    /// process that shares the store. A store never holds their plain values: the values of keyed cookies, of identities
    /// ([`PolicyBuilder::vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity)), of the fields in `Vary` or in the key that
    /// identify a visitor, and of parts of the key that the application computes
    /// ([`PolicyBuilder::vary_by`](crate::policy::PolicyBuilder::vary_by)).
    ///
    /// Without a secret, the digests depend on the namespace alone: whoever can read the store can guess values that are
    /// short or well known, such as e-mail addresses. So set one if others can read the store. It should have at least 32
    /// random bytes. A new secret makes these entries misses.
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

    /// Sets the policy of the layers over this cache that have none of their own. The default is
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
    /// If the namespace is empty, or nothing could ever be recorded or waited for.
    pub fn build(self) -> Result<Cache, ConfigError> {
        if self.namespace.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyNamespace, self.namespace));
        }
        if self.recording_bytes == 0 {
            return Err(ConfigError::new(ConfigErrorKind::ZeroLimit, self.recording_bytes));
        }
        if self.store_timeout.is_zero() {
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
