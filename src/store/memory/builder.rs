//! The builder of a [`MemoryStore`].

use super::inner::{Entries, MemoryInner, WRITE_LOCKS};
use super::memory_store::MemoryStore;
use super::replicas::Replicas;
use super::slot::{RemovalLifecycle, Weight};
use crate::clock::Clock;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::key::BuildPrehashed;
use crate::store::LocalGenerations;
use quick_cache::OptionsBuilder;
use quick_cache::sync::Cache as Quick;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

const DEFAULT_CAPACITY: u64 = 256 << 20;
const MIN_CAPACITY: u64 = 64 << 10;
/// The size of the largest body that policies record by default, plus 64 KiB for its head.
const DEFAULT_MAX_ENTRY: u64 = (8 << 20) + (64 << 10);

/// A builder for a [`MemoryStore`].
///
/// # Example
/// ```
/// use tower_response_cache::MemoryStore;
///
/// // 1 GiB for all entries, at most 32 MiB for one.
/// let store = MemoryStore::builder().max_bytes(1 << 30).largest_entry(32 << 20).build()?;
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct MemoryStoreBuilder {
    capacity: u64,
    largest_entry: Option<u64>,
    clock: Clock,
    seed: Option<u64>,
}

impl MemoryStore {
    /// Creates a store that holds up to `bytes` bytes of entries.
    ///
    /// [`builder`](Self::builder) has more options. If the capacity comes from a configuration, use
    /// the builder: its [`build`](MemoryStoreBuilder::build) returns an error instead of a panic.
    ///
    /// # Panics
    /// Panics if the capacity is below 64 KiB, which could hold almost no entries.
    #[must_use]
    #[track_caller]
    pub fn with_max_bytes(bytes: u64) -> Self {
        match Self::builder().max_bytes(bytes).build() {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns a builder with the default capacity of 256 MiB.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::new()
    }
}

impl MemoryStoreBuilder {
    fn new() -> Self {
        Self { capacity: DEFAULT_CAPACITY, largest_entry: None, clock: Clock::system(), seed: None }
    }

    /// Sets the capacity: the most bytes that all entries may take together.
    ///
    /// The default is 256 MiB.
    #[doc(alias = "capacity")]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Sets the most bytes that one entry may take, at most a quarter of the capacity.
    ///
    /// The default is 8 MiB + 64 KiB, or a quarter of the capacity if that is less. Larger bodies
    /// also need a higher [`max_body_bytes`](crate::policy::PolicyBuilder::max_body_bytes).
    pub fn largest_entry(mut self, bytes: u64) -> Self {
        self.largest_entry = Some(bytes);
        self
    }

    /// Sets the clock that decides when entries expire. The default is the clock of the system.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the secret of the invalidations, for tests. The secret selects which scopes share a
    /// bucket.
    ///
    /// See [`LocalGenerations::with_seed`]. By default, each store has a random secret.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    /// Fails with [`ConfigErrorKind::CapacityTooSmall`] if the capacity is below 64 KiB. Fails with
    /// [`ConfigErrorKind::ZeroLimit`] if the largest entry is zero. Fails with
    /// [`ConfigErrorKind::LargestEntryTooLarge`] if the largest entry is over a quarter of the
    /// capacity.
    pub fn build(self) -> Result<MemoryStore, ConfigError> {
        if self.capacity < MIN_CAPACITY {
            return Err(ConfigError::new(ConfigErrorKind::CapacityTooSmall, self.capacity));
        }
        let quarter = self.capacity / 4;
        let largest_entry = self.largest_entry.unwrap_or(DEFAULT_MAX_ENTRY.min(quarter));
        if largest_entry == 0 {
            return Err(ConfigError::new(ConfigErrorKind::ZeroLimit, largest_entry));
        }
        if largest_entry > quarter {
            return Err(ConfigError::new(ConfigErrorKind::LargestEntryTooLarge, largest_entry));
        }
        Ok(MemoryStore(Arc::new(MemoryInner {
            entries: entries(self.capacity, largest_entry),
            write_locks: (0..WRITE_LOCKS).map(|_| Mutex::new(())).collect(),
            replicas: Replicas::new(),
            generations: self.seed.map_or_else(LocalGenerations::new, LocalGenerations::with_seed),
            clock: self.clock,
            largest_entry,
            evictions: AtomicU64::new(0),
            expirations: AtomicU64::new(0),
        })))
    }
}

/// Creates the table of entries. Each of its shards has an equal part of the capacity, and refuses
/// an entry whose size is near that part. So a part must hold at least four of the largest entries.
fn entries(capacity: u64, largest_entry: u64) -> Entries {
    let threads = std::thread::available_parallelism().map_or(4, usize::from) as u64;
    let wanted = (capacity / (4 * largest_entry)).clamp(1, 4 * threads);
    let shards = 1 << wanted.ilog2();
    // The expected number of entries. It has an upper limit, since the table allocates memory for
    // this number up front.
    let items = (capacity / 4096).clamp(32, 1 << 20);
    let options = OptionsBuilder::new()
        .shards(shards as usize)
        // A multiple of the number of shards: the table rounds other capacities up.
        .weight_capacity(capacity / shards * shards)
        .estimated_items_capacity(items as usize)
        .build()
        .expect("both capacities are set");
    Quick::with_options(options, Weight, BuildPrehashed::default(), RemovalLifecycle)
}
