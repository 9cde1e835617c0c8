//! HTTP response caching as composable [tower](https://docs.rs/tower) layers: put one in front of any
//! `tower::Service`, an axum router or a hyper service, and pages are made once and served many times.
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::extract::Path;
//! use axum::{Router, routing::get};
//! use std::time::Duration;
//! use tower_response_cache::{Cache, Invalidation, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer};
//!
//! async fn report() -> String {
//!     "the result of a slow query".to_owned()
//! }
//!
//! async fn flavour(Path(slug): Path<String>) -> String {
//!     format!("all about {slug}")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let cache = Cache::new(MemoryStore::with_max_bytes(256 << 20)); // bytes
//! let hour = Duration::from_secs(3600);
//! let policy = Policy::app().default_ttl(hour).build().expect("valid options");
//! let app: Router = Router::new()
//!     .route("/report", get(report).layer(RouteCacheLayer::new(&cache, hour)))
//!     .route("/flavours/{slug}", get(flavour))
//!     .layer(SiteCacheLayer::new(&cache).policy(policy));
//!
//! // After a write: no request that begins from now on gets the old page.
//! cache.invalidate(Invalidation::path("/flavours/vanilla")).await.expect("the store answers");
//! # let _ = app; }
//! # main() }
//! ```
//!
//! # What it promises
//! 1. **One user's page is never served to another.** By default, a request with `Authorization`, a
//!    cookie or another credential is neither answered from the cache nor stored; a response with
//!    `Set-Cookie`, `private`, `no-store` or `Vary: *` is not stored; host, public path, query and
//!    what proxies say of the target (in `Forwarded`, `X-Forwarded-Host` and the like, but no address) are part of the
//!    key; `Vary` is honoured.
//! 2. **An invalidation can't be outrun.** A response whose making began before an
//!    [invalidation](Cache::invalidate) is never visible after it, and one call clears every query,
//!    host and variant of a path, a subtree or a tag, at every layer, in the same time for one page or a million.
//! 3. **The service is called once** for concurrent requests for the same thing, and nobody hangs
//!    when the one who makes the call goes away, fails or panics.
//! 4. **The first byte is never held back**: a body streams to its client while it is recorded, and
//!    a hit copies no body.
//! 5. **A broken store never breaks the site**: requests are forwarded, within a time limit.
//!
//! # What becomes of a request
//! | request or response | what happens |
//! |---|---|
//! | method other than GET and HEAD, content, `Upgrade`, `Expect`, method-override fields | forwarded |
//! | successful unsafe method, or one whose outcome is never seen (408 included) | forwarded, then its path is invalidated (RFC 9111 section 4.4); after a 502 or 504, stale windows still serve |
//! | HEAD | answered from a stored GET; never stored |
//! | `If-None-Match`, `If-Modified-Since` | 304 from what is stored; a cold key is filled as for anybody, then the client's own condition decides |
//! | `If-Match`, `If-Unmodified-Since` | evaluated against what is stored (by [`Policy::rfc9111`], left to the service where they fail); a miss is forwarded as it is |
//! | `Range`, `If-Range` | 206 or 416 from what is stored; a miss is forwarded as it is, and its part is not stored |
//! | stale, with a validator | the service is asked by a conditional request of the cache's own; a 304 freshens what is stored (RFC 9111 section 4.3) |
//! | `Authorization`, or another credential | forwarded, not stored |
//! | a cookie | forwarded, not stored, unless all are declared harmless or keyed ([`PolicyBuilder::ignore_cookies`](policy::PolicyBuilder::ignore_cookies), [`PolicyBuilder::vary_on_cookies`](policy::PolicyBuilder::vary_on_cookies)) |
//! | concurrent requests for one key | one calls the service, the others read its response while it arrives |
//! | stale, within a window of RFC 5861 | answered with at once, while a new one is made in the background ([`PolicyBuilder::stale_while_revalidate`](policy::PolicyBuilder::stale_while_revalidate)), or where the service fails ([`PolicyBuilder::stale_if_error`](policy::PolicyBuilder::stale_if_error)) |
//! | `Set-Cookie`, `private`, `no-store`, `Vary: *`, 206, trailers, event streams | passes, not stored |
//! | `no-cache`, `max-age=0` | stored with a validator, and revalidated before each use; without one, not stored |
//! | `Cache-Control` that can't be read | counts as `max-age=0`, and forbids what it may have been meant to (RFC 9111 section 4.2.1) |
//! | status 200 | stored for the route's ttl, its own lifetime, or the default ttl |
//! | status 203, 301, 308, 404, 410 | stored only for a lifetime of its own |
//! | other statuses | not stored |
//! | body that fails, ends short or is too large | passes, not stored |
//!
//! A body is as whole as the service says: one that is received over HTTP/2 by hyper ends without an error where its
//! stream was reset with `NO_ERROR`, so a proxy wraps it, as the example `reverse_proxy` does.
//!
//! A handler's own [`CacheHints`] outrank what is said of lifetimes and statuses here, but for `no-store`.
//! [`PolicyBuilder::vary_by_identity`](policy::PolicyBuilder::vary_by_identity) gives each visitor a cache of their own; [`PolicyBuilder::strip_unkeyed_inputs`](policy::PolicyBuilder::strip_unkeyed_inputs)
//! shows handlers nothing that the key ignores.
//!
//! # The order of layers
//! From the outside in:
//!
//! | layer | why there | elsewhere |
//! |---|---|---|
//! | tracing, request ids | they see every request; an id is of a request and not of a page | inside of a cache: hits have no id, and no span |
//! | authentication that refuses, [`ConditionalGetLayer`] | a hit runs nothing further in | inside of a cache: a page that was stored is shown without asking; what carries credentials is still never stored |
//! | compression | one copy is stored, and each answer encoded | inside of a cache: a copy for each `Accept-Encoding`, unless [`KeyPart::encoding`](key::KeyPart::encoding) is in the key; no work for a hit |
//! | [`AnonymousOnlyLayer`] | it tells every cache further in who is anonymous | inside of a cache: nothing identified is stored, but undeclared cookies bypass by the cache's own rules alone |
//! | [`SiteCacheLayer`] | | outside of compression, CORS or sessions it stores what these add, where that may be stored |
//! | sessions, [`AddVaryLayer`](cache_headers::AddVaryLayer), [`SetCacheControlLayer`](cache_headers::SetCacheControlLayer), [`NeverCacheLayer`] | a hit needs no session; what they write counts for the cache | outside of a cache: its hits get them too, but they count for clients alone; a session layer outside costs its look-up for each hit, and see below. Under an outer layer of this crate, a [`NeverCacheLayer`], or a [`AddVaryLayer`](cache_headers::AddVaryLayer) that names `Cookie` or a credential, keeps inner caches from storing |
//! | [`RouteCacheLayer`], [`PreconditionLayer`] | on their route | |
//!
//! No order makes the page of who has a session or credential everybody's: requests that carry one bypass
//! the cache, whatever `Vary` says, unless their cookie is declared not to count. Two things no cache can
//! see: what layers *outside* of it leave in a request's extensions, so declare no cookie harmless that one
//! of them reads, and key by it ([`PolicyBuilder::vary_by_identity`](policy::PolicyBuilder::vary_by_identity)) or ask it
//! ([`AnonymousOnlyLayer::identified_if`]) where one takes credentials off; and cookies that are set outside
//! of all layers of this crate, so mark a page that *begins* a session there (a form with a token)
//! as [`Identified`], or exclude it by [`PolicyBuilder::store_if`](policy::PolicyBuilder::store_if).
//!
//! An invalidation counts from when it is made. Where a write can outlive its request (axum drops a
//! handler whose client hangs up, `spawn_blocking` goes on), commit and [invalidate](Cache::invalidate)
//! in one task.
//!
//! What a waiting request gets:
//!
//! | what became of the call | the requests that waited |
//! |---|---|
//! | a response that may be stored | get its head, each checked for itself, and read its body while it arrives, at their own pace; other variants start over once, under the learnt `Vary` |
//! | a response that is not shared | call the service at once, all in parallel; for ten seconds nobody waits on that key |
//! | a body that outgrows the limits | those who read it go on, through a window of 256 KiB: who stalls for ten seconds while others wait is cut off with an error; nobody joins any more |
//! | a body that fails, or panics | an error for each who reads it, and nothing is stored |
//! | cancelled by its client before its head | one of them makes a call of its own |
//! | cancelled by its client during its body | read on |
//! | an error, a panic, a 5xx | the stale response, where there is one and it may be used; else one makes another call; if it fails too, they call a few at a time |
//! | too slow | after [`PolicyBuilder::collapse_timeout`](policy::PolicyBuilder::collapse_timeout) each calls the service; who comes when a body has stood still for ten seconds, too |
//!
//! # The map
//! [`Cache`] is the handle that layers and handlers share; [`SiteCacheLayer`] and
//! [`RouteCacheLayer`] are the cache layers, [`Policy`] their options, [`CacheStatus`] what they did.
//! [`ConditionalGetLayer`] gives responses an `ETag` and answers 304, 412, 206 and 416 where nothing is
//! stored; [`PreconditionLayer`] evaluates preconditions before the handler, so that no update is lost.
//! [`CacheHints`] is what a handler says of its own response, [`Identified`] that it is one visitor's.
//! [`AnonymousOnlyLayer`] decides who is anonymous, for all caches further in. [`KeyPart`](key::KeyPart) and [`QueryKey`](key::QueryKey)
//! are what keys are composed of.
//! [`NeverCacheLayer`], [`SetCacheControlLayer`](cache_headers::SetCacheControlLayer) and [`AddVaryLayer`](cache_headers::AddVaryLayer) write the fields that caches read.
//! [`Invalidation`] is what may be invalidated, [`Dependents`](invalidation::Dependents) what depends on a model of yours, [`InvalidateOnSuccess`](invalidation::InvalidateOnSuccess) what
//! a handler has changed; [`PurgeService`] invalidates on request, for scripts and back ends.
//! [`Cache::get_or_set`] and its like keep values of your own ([`Value`](values::Value), [`Fragment`](values::Fragment)); what is made from them depends on them
//! ([`propagate_dependencies`](values::propagate_dependencies)).
//! [`Store`] is where responses are kept: [`MemoryStore`], [`NullStore`](store::NullStore), or your own.
//!
//! # Features
//! - `axum` (default): reads axum's `OriginalUri`, so that nested routers are keyed by the public URI and, if it differs, the URI that the handler sees;
//!   makes [`CacheHints`] and [`Identified`] part of what handlers return, and [`Cache`] an extractor.
//! - `tracing`: calls that are made in tasks of their own ([`PolicyBuilder::stale_while_revalidate`](policy::PolicyBuilder::stale_while_revalidate),
//!   [`PolicyBuilder::complete_after_disconnect`](policy::PolicyBuilder::complete_after_disconnect)) keep the span of the request that led to them; events of level `DEBUG` report hits, misses,
//!   forwarded requests, stored responses, set values, values that can't be read and invalidations, and responses that are not stored, with the reason and detail of `Cache-Status`; an event of level `WARN` reports each automatic invalidation that failed.
//! - `tower-http`: [`PolicyBuilder::error_classifier`](policy::PolicyBuilder::error_classifier) takes a classifier of tower-http.
//! - `testing`: the module `testing`: a memory cache on a manual clock, assertions on responses, and the test kit for
//!   implementors of [`Store`].
//!
//! The minimum supported Rust version is 1.88. Inside a tokio runtime, its timer has to be enabled,
//! for the limits on waiting; outside of one, there are none.

/// Tells who listens, where the feature is on, what the cache does: never keys, nor what is stored.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($($what:tt)*) => { tracing::debug!($($what)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($what:tt)*) => {};
}

#[cfg(feature = "tracing")]
macro_rules! warning {
    ($($what:tt)*) => { tracing::warn!($($what)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! warning {
    ($($what:tt)*) => {};
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

/// The examples of the README, compiled.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
