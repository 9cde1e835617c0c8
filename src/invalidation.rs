//! Invalidation by path, URI, subtree or tag, on one host or on all.
//!
//! # Example
//! ```
//! use tower_response_cache::{Cache, Invalidation, MemoryStore};
//!
//! # futures::executor::block_on(async {
//! # let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! cache.invalidate("/flavours").await?;
//! cache.invalidate(Invalidation::subtree("/flavours").and(Invalidation::tag("prices"))).await?;
//! cache.invalidate(Invalidation::tag("news").soft()).await?;
//! # Ok::<_, tower_response_cache::error::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! # Rules
//! 1. One invalidation covers every query, host and variant of what it names, at every layer over the cache.
//! 2. Once it has returned, no request that begins later gets a response that was made before, not even from a
//!    fetch that is still under way.
//! 3. [`soft`](Invalidation::soft) makes responses stale: they are still served within their stale windows.
//!
//! # Caveats
//! Invalidate after the transaction is committed.

pub use crate::cache::dependents::Dependents;
pub use crate::cache::invalidation::{InvalidateOnSuccess, Invalidation};
