//! Storage backends: the [`Store`] trait, and the stores of this crate.
//!
//! [`MemoryStore`] keeps entries in the memory of this process. `RedisStore` (feature `redis`)
//! keeps them in Redis or Valkey, for several processes. [`NullStore`] keeps nothing. Implement
//! [`Store`] for another backend.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::store::{Entry, KeyRef, MemoryStore, PutMode, Store};
//!
//! # futures::executor::block_on(async {
//! let store = MemoryStore::builder().max_bytes(64 << 20).build()?; // bytes
//! let (key, ttl) = (KeyRef::new(b"flavors"), Some(Duration::from_secs(60)));
//! assert!(store.put(key, Entry::raw("vanilla"), ttl, PutMode::IfAbsent).await?);
//! assert!(!store.put(key, Entry::raw("mint"), ttl, PutMode::IfAbsent).await?);
//! assert_eq!(store.get(key).await?, Some(Entry::raw("vanilla")));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Rules
//! 1. An entry expires when its time to live is over. A store may evict it earlier: that is a miss.
//! 2. A store never changes an entry, and never returns it after a later put or removal under its
//!    key.
//! 3. An invalidation removes no entries. It advances a counter of its namespace and records the
//!    new number for each of its [scopes](Scope); older entries of these scopes are found invalid.
//!    Its cost does not depend on the number of entries.
//! 4. Invalid entries take memory until they expire, are replaced or are evicted.
//! 5. If a store loses its invalidations, all older entries become invalid: see [`Generations`].
//!
//! # A store of your own
//! Implement the five required methods of [`Store`]. A store outside the process keeps the bytes of
//! [`Entry::encode`], and treats bytes that [`Entry::decode`] rejects as absent. Verify the store
//! with the test kit `contract` (feature `testing`). The module `faulty` (feature `testing`) breaks
//! a store on purpose, to test the code that depends on it. The example `custom_store` of the
//! repository is a complete store over SQLite.
//!
//! # Caveats
//! - A [`MemoryStore`] is empty after a restart, and other processes do not see its entries and
//!   invalidations.
//! - A program that can write to a shared store decides what the cache answers: the checksums of
//!   entries detect damage, not intent. Restrict access to the backend.
//! - Processes that share a store need synchronized clocks. A difference of their clocks changes
//!   the age of entries.
//! - Processes that share a store may run different versions of this crate. A version treats
//!   entries in another version's format as absent. If a later version wrote the invalidations in a
//!   newer format, operations of the older one fail with
//!   [`UnknownVersion`](crate::error::StoreErrorKind::UnknownVersion).

#[cfg(feature = "testing")]
pub mod contract;
#[cfg(feature = "testing")]
pub mod faulty;
mod future;
mod generations;
mod incarnation;
mod local;
mod memory;
mod null;
mod placement;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod store_stats;
mod store_trait;

#[cfg(feature = "redis")]
pub use self::redis::{RedisStore, RedisStoreBuilder};
pub use crate::entry::{Dependency, Entry, Generation, Scope};
pub(crate) use crate::error::{StoreError, StoreErrorKind};
pub use crate::key::cache_key::{CacheKey, KeyRef};
pub use future::StoreFuture;
pub use generations::{Generations, Strength, Validity};
pub use local::LocalGenerations;
pub use memory::{MemoryStore, MemoryStoreBuilder};
pub use null::NullStore;
#[cfg(feature = "tracing")]
pub(crate) use placement::marked_places;
pub(crate) use record::RecordGenerations;
pub use store_stats::StoreStats;
pub use store_trait::{InitialCounter, PutMode, Store};
