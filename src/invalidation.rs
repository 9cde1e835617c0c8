//! Invalidation of stored responses and values, by path, URI, subtree or tag, on one host or on all
//! hosts.
//!
//! # Example
//! ```
//! use tower_response_cache::{Cache, Invalidation, MemoryStore};
//!
//! # futures::executor::block_on(async {
//! # let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let _ = cache.invalidate("/flavors").await;
//! let _ = cache.invalidate(Invalidation::subtree("/flavors").and(Invalidation::tag("prices"))).await;
//! let _ = cache.invalidate(Invalidation::tag("news").soft()).await;
//! # Ok::<_, tower_response_cache::error::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! # Rules
//! 1. One invalidation covers every query, host and variant of the scopes that it names, for every
//!    layer over the cache. Its cost does not depend on the number of entries.
//! 2. After [`Cache::invalidate`](crate::Cache::invalidate) has returned, no request that begins
//!    later gets a response that was made before. This includes the response of a fetch that is
//!    still running.
//! 3. A hard invalidation, the default, makes entries unusable. A [soft](Invalidation::soft) one
//!    makes them stale: their stale windows still serve.
//! 4. If the store fails, `invalidate` returns an error, and the old responses may still be served.
//! 5. A cache layer invalidates the path of a request with an unsafe method by itself if the
//!    response is a success (RFC 9111 section 4.4). [`InvalidateOnSuccess`] adds further scopes
//!    from the handler.
//!
//! # Caveats
//! - Invalidate after the transaction is committed. A page that is made between the invalidation
//!   and the commit contains the old data.
//! - A write can outlive its request: axum drops a handler whose client disconnects, but
//!   `spawn_blocking` continues. Commit and invalidate in one task.

pub use crate::cache::dependents::Dependents;
pub use crate::cache::guard::Delivery;
pub use crate::cache::invalidation::{InvalidateOnSuccess, Invalidation};
