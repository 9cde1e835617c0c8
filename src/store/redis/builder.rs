//! The builder of a [`RedisStore`].

use super::confirmation::Confirmation;
use super::connect::{Connector, Topology, connect_error};
use super::eviction::UnsuitablePolicy;
use super::frame_compression::FrameCompression;
use super::inner::RedisInner;
use super::link::Link;
use super::namespace::NamespaceRecords;
use super::read_queue::ReadQueue;
use super::recent_entries::RecentEntries;
use super::redis_store::RedisStore;
use super::tls::Authorities;
use super::value::{ValueFormat, name};
use crate::clock::Clock;
use crate::error::{ConnectError, ConnectErrorKind};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

const DEFAULT_PREFIX: &str = "trc";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_MAX_TTL: Duration = Duration::from_secs(30 * 86_400);
/// The longest TTL. A record lives twice as long, which must fit the server's milliseconds.
const LONGEST_TTL: Duration = Duration::from_secs(3650 * 86_400);
/// The size of the largest body that policies record by default, plus its head.
const DEFAULT_LARGEST_ENTRY: u64 = (8 << 20) + (64 << 10);
/// The most bytes of an entry: half of the 512 MiB that servers accept by default.
const MOST_BYTES: u64 = 256 << 20;
/// A builder for a [`RedisStore`].
///
/// # Example
/// ```no_run
/// use std::time::Duration;
/// use tower_response_cache::store::RedisStore;
///
/// # async fn example() -> Result<(), tower_response_cache::error::ConnectError> {
/// let store = RedisStore::builder("redis://:secret@cache.example:6379/2")
///     .prefix("shop")
///     .timeout(Duration::from_millis(500))
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisStoreBuilder {
    topology: Topology,
    prefix: String,
    timeout: Duration,
    max_ttl: Duration,
    largest_entry: u64,
    compression: FrameCompression,
    clock: Clock,
    secrets: Vec<Vec<u8>>,
    credentials: Option<(String, String)>,
    replicas: usize,
    authorities: Authorities,
}

impl RedisStore {
    /// Connects to a server with the default options.
    ///
    /// # Errors
    /// See [`RedisStoreBuilder::build`].
    pub async fn connect(url: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(url).build().await
    }

    /// Returns a builder for a server.
    ///
    /// The URL is `redis://[[user]:password@]host[:port][/database]`. With the feature
    /// `redis-rustls`, the scheme `rediss` connects over TLS.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Topology::Single(url.into()))
    }

    /// Returns a builder for a cluster, from the URLs of one or more of its servers.
    ///
    /// The store reads from primaries alone. An entry and the generation of its namespace are mostly
    /// on different servers; a hit reads both at the same time. A fail-over may undo the last
    /// invalidations, unless replicas [confirm](RedisStoreBuilder::confirm_by) them.
    ///
    /// # Example
    /// ```no_run
    /// use tower_response_cache::store::RedisStore;
    ///
    /// # async fn example() -> Result<(), tower_response_cache::error::ConnectError> {
    /// let urls = ["redis://cache-1.example:6379", "redis://cache-2.example:6379"];
    /// let store = RedisStore::cluster(urls).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Topology::Cluster(urls.into_iter().map(Into::into).collect()))
    }

    /// Returns a builder for the primary of a service that sentinels watch, from the URLs of one or
    /// more sentinels.
    ///
    /// After a fail-over, the store connects to the new primary. The fail-over may undo the last
    /// invalidations, unless replicas [confirm](RedisStoreBuilder::confirm_by) them.
    ///
    /// # Example
    /// ```no_run
    /// use tower_response_cache::store::RedisStore;
    ///
    /// # async fn example() -> Result<(), tower_response_cache::error::ConnectError> {
    /// let urls = ["redis://sentinel-1.example:26379", "redis://sentinel-2.example:26379"];
    /// let store = RedisStore::sentinel(urls, "cache").credentials("", "secret").build().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sentinel<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        service: impl Into<String>,
    ) -> RedisStoreBuilder {
        let urls = urls.into_iter().map(Into::into).collect();
        RedisStoreBuilder::new(Topology::Sentinels { urls, service: service.into() })
    }
}

impl RedisStoreBuilder {
    fn new(topology: Topology) -> Self {
        Self {
            topology,
            prefix: DEFAULT_PREFIX.into(),
            timeout: DEFAULT_TIMEOUT,
            max_ttl: DEFAULT_MAX_TTL,
            largest_entry: DEFAULT_LARGEST_ENTRY,
            compression: FrameCompression::default(),
            clock: Clock::system(),
            secrets: Vec::new(),
            credentials: None,
            replicas: 0,
            authorities: Authorities::default(),
        }
    }

    /// Sets the user and the password of the primary that sentinels name. The URLs contain the user
    /// and the password of the sentinels.
    ///
    /// An empty user is the default user. Only stores with sentinels use this option.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Sets the start of all keys in the server. Stores with different prefixes share nothing.
    ///
    /// The default is `trc`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the longest time of a connection attempt and of each command, at least 1 ms.
    ///
    /// A look-up may also wait this long for the look-ups before it. An operation may send several
    /// commands one after the other, for example to replace the lost
    /// invalidations of a namespace. A connection attempt to a cluster has two steps. Each has half of
    /// this time.
    ///
    /// The cache has its own, shorter limit
    /// ([`CacheBuilder::lookup_timeout`](crate::cache::CacheBuilder::lookup_timeout)). This one ends
    /// operations whose caller has no limit. The default is one second.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the longest time to live of an entry, from 1 ms to ten years. An entry without a TTL
    /// expires after this time.
    ///
    /// The default is 30 days.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl;
        self
    }

    /// Sets the most bytes that one entry may take, at most 256 MiB.
    ///
    /// Reads have a limit, too: values in the server of more than twice this size are absent. Set the
    /// same limit in all processes.
    ///
    /// The default is 8 MiB + 64 KiB.
    pub fn largest_entry(mut self, bytes: u64) -> Self {
        self.largest_entry = bytes;
        self
    }

    /// Sets the clock of the entries. It must be the clock of the cache. The default is the clock
    /// of the system.
    ///
    /// The server has its own clock, which decides when entries expire.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Authenticates entries by a secret of at least 16 bytes that all processes share, with
    /// HMAC-SHA-256 over key and entry.
    ///
    /// Entries that were changed, or that another program has written, count as absent. A store
    /// without a secret treats all authenticated entries as absent.
    ///
    /// The secret of the first call signs new entries. Entries that the secret of any call has
    /// signed are accepted. To replace a secret, restart all processes three times:
    ///
    /// 1. with the old and then the new secret,
    /// 2. with the new and then the old secret,
    /// 3. with the new secret alone.
    ///
    /// A process that lacks the signing secret of the others replaces their entries, including
    /// counters.
    ///
    /// # Security
    /// A program that can write to the server can still bring back an older entry of the same key,
    /// remove entries, or undo invalidations. It cannot invent an entry, or move one to another key.
    pub fn authenticate(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Compresses entries of more than `bytes` with zstd in the server, up to 1 MiB. By default, no
    /// entry is compressed.
    ///
    /// Pages of text then take a quarter of the memory and of the network traffic, or less. A write takes
    /// about 0.1 ms of a core more for each 100 KiB, and a hit takes 0.04 ms more if this process has not
    /// decoded the page lately. An entry that compression makes smaller by less than an eighth is stored
    /// plain.
    ///
    /// Processes with and without the option can share a server, if all have the feature `redis-zstd`:
    /// a process without the feature treats compressed entries as absent. The limit of
    /// [`largest_entry`](Self::largest_entry) applies to the entry before its compression.
    ///
    /// # Example
    /// ```no_run
    /// use tower_response_cache::store::RedisStore;
    ///
    /// # async fn example() -> Result<(), tower_response_cache::error::ConnectError> {
    /// let store = RedisStore::builder("redis://127.0.0.1:6379").compress_above(4096).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "redis-zstd")]
    #[doc(alias = "zstd")]
    pub fn compress_above(mut self, bytes: u64) -> Self {
        self.compression = FrameCompression { above: Some(bytes) };
        self
    }

    /// Sets how many replicas must have an invalidation before it counts as delivered. The default
    /// is zero.
    ///
    /// A primary answers before its replicas have its writes. If a replica becomes the primary
    /// before it has an invalidation, that invalidation is undone. Other processes then serve the
    /// old entries again, until a process that knows of the invalidation uses the namespace. All
    /// older entries then become invalid.
    ///
    /// With this option, an invalidation waits until that many replicas have it, for at most 150 ms.
    /// Concurrent invalidations share this wait. Set
    /// [`CacheBuilder::invalidation_timeout`](crate::cache::CacheBuilder::invalidation_timeout) to at
    /// least 200 ms (the default is 250 ms): with a shorter limit, a missing replica counts as an outage
    /// of the store. If the replicas do not confirm the invalidation, it fails with
    /// [`StoreErrorKind::Unconfirmed`](crate::error::StoreErrorKind::Unconfirmed), and
    /// [`Cache::invalidate`](crate::cache::Cache::invalidate) returns
    /// [`Delivery::Queued`](crate::invalidation::Delivery::Queued): the process sends it again until
    /// the replicas confirm it. Invalidations use a separate connection, so look-ups never wait for
    /// replicas. In a cluster, only replicas of the primary that has the invalidations of the
    /// namespace count.
    ///
    /// # Choosing the number
    /// Have at least one replica more than this number. Otherwise no invalidation is confirmed while a
    /// replica is missing: after a fail-over, for example. If the circuit of the cache has opened then,
    /// it closes only after the server has answered each of the queued invalidations, confirmed or not.
    ///
    /// Sentinels and clusters promote the reachable replica with the most data. If no replica that
    /// confirmed an invalidation is reachable, the fail-over may still undo the invalidation. Only
    /// a confirmation by all replicas excludes this.
    ///
    /// # Limits
    /// - A fail-over may also undo the last changes of values and counters.
    /// - A process that is cut off together with the old primary reads from it. It does not see
    ///   invalidations in the new primary until this connection ends.
    ///
    /// # Example
    /// ```no_run
    /// use tower_response_cache::store::RedisStore;
    ///
    /// # async fn example() -> Result<(), tower_response_cache::error::ConnectError> {
    /// // One primary with two replicas.
    /// let urls = ["redis://sentinel-1.example:26379", "redis://sentinel-2.example:26379"];
    /// let store = RedisStore::sentinel(urls, "cache").confirm_by(1).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "WAIT")]
    #[doc(alias = "failover")]
    pub fn confirm_by(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets the only certificate authorities that connections trust. By default, connections trust
    /// the authorities of the system.
    ///
    /// Call it if your own authority has issued the certificate of the server. `pem` holds one or
    /// more certificates in PEM format. All URLs must have the scheme `rediss`. A second call adds
    /// further authorities, for example to replace one without an interruption.
    ///
    /// Sentinels do not support this option: make the authority known to the system, for example by
    /// the environment variable `SSL_CERT_FILE`.
    ///
    /// # Example
    /// ```no_run
    /// use tower_response_cache::store::RedisStore;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let authority = std::fs::read("/etc/shop/authority.pem")?;
    /// let builder = RedisStore::builder("rediss://cache.example:6380").ca_certificate(authority);
    /// let store = builder.build().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "redis-rustls")]
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities.add(pem.as_ref());
        self
    }

    /// Connects to the server and builds the store.
    ///
    /// Call it within a tokio runtime with timers and I/O (`enable_all`), which then runs the
    /// connection. If the connection is lost later, the store reconnects by itself. After the runtime
    /// has shut down, the store is unavailable.
    ///
    /// If the memory of the server is limited and its [eviction policy](RedisStore#eviction) is
    /// unsuitable, this method emits a warning (feature `tracing`).
    ///
    /// # Errors
    /// Fails if there is no runtime with timers, or if an option or the URL is invalid. Also fails
    /// if the server can't be reached, refuses the credentials, or lacks a needed command or
    /// permission. The error contains the message of the server, never the password.
    pub async fn build(self) -> Result<RedisStore, ConnectError> {
        self.validate()?;
        let invalid = |message| ConnectError::new(ConnectErrorKind::InvalidOption, message);
        let runtime = Handle::try_current().map_err(|_| invalid("there is no tokio runtime"))?;
        if !has_timers() {
            return Err(invalid("the tokio runtime has no timers"));
        }
        let connector = Connector {
            topology: self.topology,
            timeout: self.timeout,
            credentials: self.credentials,
            authorities: self.authorities,
            probe: name(&self.prefix, "p", b""),
        };
        let connect = async || Ok(Link::new(connector.connect().await?, self.timeout, runtime.clone()));
        let link: Link = connect().await?;
        let confirmation = match self.replicas {
            0 => None,
            replicas => Some(Confirmation::new(connect().await?, replicas, self.timeout)),
        };
        if let Some(confirmation) = &confirmation {
            confirmation.verify().await.map_err(|error| connect_error(&error))?;
        }
        warn_of_unsuitable_policy(&link).await;
        let secret = |secret: &Vec<u8>| {
            Hmac::<Sha256>::new_from_slice(secret).map_err(|_| invalid("the secret is unusable"))
        };
        let secrets = self.secrets.iter().map(secret).collect::<Result<_, _>>()?;
        Ok(RedisStore(Arc::new(RedisInner {
            link,
            confirmation,
            format: ValueFormat { clock: self.clock, secrets, compression: self.compression },
            prefix: self.prefix,
            max_ttl: self.max_ttl,
            largest_entry: self.largest_entry,
            namespaces: NamespaceRecords::new(),
            reads: ReadQueue::new(),
            recent: RecentEntries::new(),
        })))
    }

    fn validate(&self) -> Result<(), ConnectError> {
        let invalid = |message| ConnectError::new(ConnectErrorKind::InvalidOption, message);
        #[cfg(feature = "redis-rustls")]
        self.authorities.validate().map_err(invalid)?;
        let millisecond = Duration::from_millis(1);
        let message = match self {
            Self { timeout, .. } if *timeout < millisecond => "the time limit is too short",
            Self { topology: Topology::Cluster(urls) | Topology::Sentinels { urls, .. }, .. }
                if urls.is_empty() =>
            {
                "there is no URL"
            }
            #[cfg(feature = "redis-rustls")]
            Self { topology: Topology::Sentinels { .. }, authorities, .. }
                if !authorities.is_of_the_system() =>
            {
                "sentinels need an authority that the system knows"
            }
            Self { max_ttl, .. } if *max_ttl < millisecond => "the longest TTL is too short",
            Self { max_ttl, .. } if *max_ttl > LONGEST_TTL => "the longest TTL is over ten years",
            Self { largest_entry: 0, .. } => "the largest entry has no bytes",
            Self { largest_entry, .. } if *largest_entry > MOST_BYTES => "the largest entry is over 256 MiB",
            Self { secrets, .. } if secrets.iter().any(|secret| secret.len() < 16) => {
                "a secret is shorter than 16 bytes"
            }
            _ => return Ok(()),
        };
        Err(invalid(message))
    }
}

/// Returns `true` if the current runtime has timers. Without them, `sleep` panics.
fn has_timers() -> bool {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

/// Emits a warning if the eviction policy is unsuitable. Emits nothing if the server refuses the
/// command.
async fn warn_of_unsuitable_policy(link: &Link) {
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    if let Ok(reply) = link.send(&command).await
        && let Some(policy) = UnsuitablePolicy::find(&reply)
    {
        policy.warn();
    }
}

impl fmt::Debug for RedisStoreBuilder {
    /// Leaves out credentials, secrets and the URLs, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("max_ttl", &self.max_ttl)
            .field("largest_entry", &self.largest_entry)
            .field("compression", &self.compression)
            .field("secrets", &self.secrets.len())
            .field("confirm_by", &self.replicas)
            .finish_non_exhaustive()
    }
}
