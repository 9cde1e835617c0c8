//! [tower](https://docs.rs/tower) layers that cache HTTP responses, safe in front of pages with
//! private data.
//!
//! They wrap any `tower::Service` of HTTP requests, such as an axum router or a hyper service. The
//! handler runs once for a page, and later requests get the stored response until it expires or is
//! invalidated.
//!
#![cfg_attr(feature = "axum", doc = concat!("```no_run\n", include_str!("../examples/hello_axum.rs"), "```"))]
//!
//! The first `GET /report` takes a second. The next ones are hits. `POST /data` invalidates the
//! page, so that the next `GET` runs the handler again.
//!
//! # Promises
//! 1. **A visitor's page is never served to another visitor.** By default, a request with
//!    `Authorization`, another credential or an undeclared cookie bypasses the cache, in every
//!    order of layers. A response with `Set-Cookie`, `private`, `no-store` or `Vary: *` is not
//!    stored. [Security](docs::security) names the inputs that no cache can see.
//! 2. **No response outruns an invalidation.** A request that begins after an
//!    [invalidation](Cache::invalidate) never gets a response whose production began before the
//!    invalidation, unless it is [soft](Invalidation::soft). One call invalidates every query, host
//!    and variant of a path, a subtree or a tag, at every layer. It takes the same time for one
//!    page or a million.
//! 3. **Concurrent misses call the handler once.** If that call is canceled, fails or panics, no
//!    request hangs.
//! 4. **The first byte is never held back.** A body streams to its client while the cache records
//!    it, and a hit copies no body.
//! 5. **A broken store never breaks the site.** If the store fails or hangs, the layers forward
//!    requests within a time limit.
//!
//! # The guide
//! [Start here](docs::start), then read about [the layers and their order](docs::layers).
//!
//! - **Cached content**: [keys and cookies](docs::keys_and_cookies), [lifetimes](docs::lifetimes),
//!   [invalidation](docs::invalidation), [values](docs::values), [stores](docs::stores)
//! - **Beside other layers**: [sessions](docs::sessions), [compression](docs::compression),
//!   [downstream caches](docs::downstream_caches)
//! - **In production**: [observability](docs::observability), [inspector](docs::inspector),
//!   [sizing](docs::sizing), [testing](docs::testing), [a caching proxy](docs::proxy), [security](docs::security)
//! - **Background**: [architecture](docs::architecture), [from Django](docs::from_django),
//!   [from other crates](docs::from_other_crates)
//!
//! Each type has a home module with an example, rules and caveats. [`SiteCacheLayer`] and
//! [`RouteCacheLayer`] are the cache layers, [`Policy`] has their options, and [`CacheStatus`]
//! reports their decisions.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `axum` | yes | keys nested routers by their public URI (axum's `OriginalUri`) and, if it differs, by the URI that the handler sees; handlers return [`CacheHints`], [`Identified`] and [`InvalidateOnSuccess`](invalidation::InvalidateOnSuccess), and take [`Cache`] as an argument, if the router's state is or contains one (`with_state(cache)`; axum's derive of `FromRef` needs its feature `macros`) |
//! | `tracing` | no | one `DEBUG` event for each [answered request](docs::observability#events), and events for stores, values and invalidations; `INFO` events for circuits of stores; `WARN` events for invalidations that fail, for mistakes in the order and options of layers, and for weak tags that fail `If-Match`; spans for work in separate tasks |
//! | `metrics` | no | `Cache::publish_metrics`, which hands the [statistics](docs::observability#metrics) to the recorder of the crate `metrics`, for Prometheus and others |
//! | `tower-http` | no | [`PolicyBuilder::error_classifier`](policy::PolicyBuilder::error_classifier) takes a classifier of tower-http |
//! | `inspector` | no | `InspectorService`, a [page and JSON](docs::inspector) that show a cache to its operators |
//! | `testing` | no | the module `testing`: a cache on a manual clock, assertions on responses, and the contract kit for implementors of [`Store`] |
//! | `redis` | no | `RedisStore`, a store in Redis or Valkey that several processes share |
//! | `redis-rustls` | no | connections of `RedisStore` over TLS (`rediss://`), by rustls |
//! | `redis-zstd` | no | `RedisStoreBuilder::compress_above`: large entries are compressed with zstd in the server |
//!
//! The minimum supported Rust version is 1.88. Inside a tokio runtime, its timer must be enabled
//! for the time limits. Outside of a runtime, there are no time limits.
#![cfg_attr(docsrs, feature(doc_cfg))]

/// Emits an event of level `DEBUG`, if the feature `tracing` is enabled. Events never contain keys
/// or stored data.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($($what:tt)*) => { tracing::debug!($($what)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($what:tt)*) => {{}};
}

/// Emits an event of level `INFO`, if the feature `tracing` is enabled.
#[cfg(feature = "tracing")]
macro_rules! notice {
    ($($what:tt)*) => { tracing::info!($($what)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! notice {
    ($($what:tt)*) => {{}};
}

/// Emits an event of level `WARN`, if the feature `tracing` is enabled.
#[cfg(feature = "tracing")]
macro_rules! warning {
    ($($what:tt)*) => { tracing::warn!($($what)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! warning {
    ($($what:tt)*) => {{}};
}

pub mod anonymous_only;
#[cfg(feature = "axum")]
mod axum;
mod body;
pub mod cache;
pub mod cache_headers;
#[cfg(test)]
mod cases;
pub mod clock;
pub mod conditional_get;
pub mod docs;
mod entry;
pub mod error;
mod flight;
#[cfg(feature = "inspector")]
pub mod inspector;
pub mod invalidation;
pub mod key;
mod layer;
mod marks;
pub mod policy;
pub mod precondition;
pub mod purge;
pub mod response_cache;
mod rules;
mod serve;
pub mod status;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod values;
mod waker_relay;

#[doc(no_inline)]
pub use anonymous_only::AnonymousOnlyLayer;
#[doc(no_inline)]
pub use cache::Cache;
#[doc(no_inline)]
pub use cache_headers::NeverCacheLayer;
#[doc(no_inline)]
pub use conditional_get::ConditionalGetLayer;
#[cfg(feature = "inspector")]
#[doc(no_inline)]
pub use inspector::InspectorService;
#[doc(no_inline)]
pub use invalidation::Invalidation;
#[doc(no_inline)]
pub use policy::{CacheHints, Policy, Ttl};
#[doc(no_inline)]
pub use precondition::PreconditionLayer;
#[doc(no_inline)]
pub use purge::PurgeService;
#[doc(no_inline)]
pub use response_cache::{Identified, RouteCacheLayer, SiteCacheLayer};
#[doc(no_inline)]
pub use status::CacheStatus;
#[doc(no_inline)]
pub use store::{MemoryStore, Store};

/// Compiles the program of the README.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
