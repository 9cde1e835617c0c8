//! The [`Cache`] handle: one store, and the entries, flights and invalidations that layers and
//! handlers share.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let minute = Duration::from_secs(60);
//! let policy = Policy::app().default_ttl(minute).build()?;
//! let store = MemoryStore::with_max_bytes(256 << 20); // 256 MiB
//! let cache = Cache::builder(store).namespace("shop").policy(policy).build()?;
//!
//! let layer = SiteCacheLayer::new(&cache); // Caches the responses of the service that it wraps.
//! cache.set("rate", &1.08, minute).await?; // Caches a value of the application.
//! let _ = cache.invalidate("/flavors/vanilla").await; // Invalidates the responses of a path.
//! # let _ = layer;
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. Clones of a handle are the same cache. Build one cache per application and clone it. A cache
//!    that is built for each request collapses no concurrent misses.
//! 2. Every layer over a cache uses its store, its flights and its invalidations.
//! 3. If the store fails, or does not answer within [`CacheBuilder::lookup_timeout`], the layers
//!    forward the request. [`Cache::store_errors`] counts these failures.
//! 4. Handles with different [namespaces](Cache::with_namespace) share no entries and no
//!    invalidations. Handles with different [versions](Cache::with_version) share no entries, but
//!    every invalidation covers all versions of the namespace.
//!
//! # Where it belongs
//! `Cache` is not a layer. Pass a reference to [`SiteCacheLayer`](crate::SiteCacheLayer), to
//! [`RouteCacheLayer`](crate::RouteCacheLayer) and to [`PurgeService`](crate::PurgeService). Pass a
//! clone to handlers that invalidate pages or keep [values](crate::values).
//!
//! # Caveats
//! - Entries in a [`MemoryStore`](crate::MemoryStore) belong to one process. Other processes see
//!   neither its entries nor its invalidations.
//! - Outside a tokio runtime there is no timer, so no time limit on the store applies. Inside a
//!   tokio runtime, the timer must be enabled.
//! - Await [`Cache::shutdown`] at the end of a graceful shutdown, so that background writes to a
//!   remote store complete.

mod background;
mod background_work;
mod budget;
mod builder;
mod compute_outcome;
mod contradictions;
mod dependency_relay;
pub(crate) mod dependents;
mod entry_write;
mod explanation;
mod generations;
pub(crate) mod guard;
mod handle;
pub(crate) mod invalidation;
mod last_recording;
mod layer_registry;
mod namespaces;
mod number_locks;
mod outdated_response;
mod runtime_options;
mod split_mix64;
mod stats;
mod storing;
mod switches;
pub(crate) mod tracking;
pub(crate) mod values;
mod warm;

pub(crate) use background::RefreshEnd;
pub use background::RefreshStats;
pub(crate) use budget::{Budget, Reservation};
pub use builder::CacheBuilder;
pub(crate) use contradictions::UnkeyedFieldsDigest;
pub(crate) use dependency_relay::{DependencyRelay, PendingRead};
pub use explanation::{Explanation, StoredSummary, StoredVariant};
pub use guard::CircuitState;
pub(crate) use guard::Delivery;
pub use handle::Cache;
pub(crate) use invalidation::{InvalidateOnSuccess, Invalidation};
pub(crate) use last_recording::LastRecording;
pub(crate) use outdated_response::{OutdatedResponse, UnstoredAction};
#[cfg(feature = "tracing")]
pub(crate) use stats::Mistake;
pub use stats::{CacheStats, LayerStats, PathStats};
pub(crate) use stats::{HitKind, LayerCounters, LayerIdentity, PathTable, StoreReport, is_sampled};
pub(crate) use storing::{AfterStore, PendingStore, RefreshOutcome};
pub(crate) use tracking::{
    AnswerDependencies, DependencyGuard, Tracker, inherit_response, is_tracked, mark_untrackable,
};
pub use warm::{WarmOutcome, WarmSummary};
