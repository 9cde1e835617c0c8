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
//! # });
//! ```
//!
//! # Rules
//! 1. One invalidation covers all variants of the pages that it names, with every query and on
//!    every host, in every layer that uses the cache. [`Invalidation::uri`] names one query only,
//!    and [`Invalidation::host`] restricts an invalidation to one host. The cost does not depend on
//!    the number of entries.
//! 2. A hard invalidation, the default, makes entries unusable. Once
//!    [`Cache::invalidate`](crate::Cache::invalidate) has returned, no new request gets a response
//!    whose fetch began before the invalidation, even if that fetch is still running.
//! 3. A [soft](Invalidation::soft) invalidation makes entries stale. Stale entries may be served
//!    until their stale windows end.
//! 4. If the store fails, the invalidation is [queued](Delivery::Queued). It counts in this process
//!    at once. Other processes may serve the old responses until the store confirms it.
//! 5. A cache layer itself invalidates the path of a request with an unsafe method if the status of
//!    the response is 2xx or 3xx (RFC 9111 section 4.4). With [`InvalidateOnSuccess`], the handler
//!    adds further invalidations.
//! 6. After a failed write, the change may have taken place. So a cache layer also invalidates the
//!    path after a 408, an error, a panic or a disconnect of the client. After a 502 or 504, the
//!    invalidation is soft.
//!
//! # Caveats
//! - Invalidate after the transaction is committed. A page that is made between the invalidation
//!   and the commit contains the old data.
//! - A write can outlive its request: axum drops a handler whose client disconnects, but
//!   `spawn_blocking` continues. Commit and invalidate in one task.

pub use crate::cache::dependents::Dependents;
pub use crate::cache::guard::Delivery;
pub use crate::cache::invalidation::{InvalidateOnSuccess, Invalidation};
