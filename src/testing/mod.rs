//! Tools for tests of applications and of stores: a cache on a manual clock, assertions on
//! responses, and a test kit for stores.
//!
//! # Example
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Empty, Full};
//! use std::convert::Infallible;
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::testing::{assert_hit, assert_miss, assert_not_stored, assert_stored, memory_cache};
//! use tower_response_cache::{Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (cache, clock) = memory_cache();
//! let minute = Duration::from_secs(60);
//! let policy = Policy::app().default_ttl(minute).cache_status(true).build().expect("valid options");
//! let page = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("page")))) });
//! let app = SiteCacheLayer::new(&cache).policy(policy).layer(page);
//!
//! let send = async |request: http::request::Builder| {
//!     let request = request.body(Empty::<Bytes>::new()).expect("a request");
//!     let (parts, body) = app.clone().oneshot(request).await.expect("infallible").into_parts();
//!     Response::from_parts(parts, body.collect().await.expect("a body").to_bytes())
//! };
//! assert_stored(&send(Request::get("/")).await);
//! assert_hit(&send(Request::get("/")).await);
//! assert_not_stored(&send(Request::get("/").header("cookie", "session=7")).await, "cookie");
//! clock.advance(minute);
//! assert_miss(&send(Request::get("/")).await);
//! # }
//! ```
//!
//! # Rules
//! 1. The assertions read the [`CacheStatus`] extension of a response. Without it, they read the
//!    `Cache-Status` field, so they also work for clients that receive responses over a socket.
//!    The field exists only under a policy with [`cache_status`]. The cache of [`memory_cache`] has
//!    such a policy, which applies to layers without another policy.
//! 2. Of nested cache layers, the assertions read the status of the outermost one. If that layer
//!    left the request to an inner layer, they read the status of the inner layer.
//! 3. A hit is a response from the cache, fresh or stale.
//! 4. A miss is a response to a request that was forwarded because no stored response could be
//!    used. A response to a bypassed request is neither a hit nor a miss. The same applies to a
//!    method that no cache layer answers, and to a follower, which shares the response of another
//!    request (`collapsed`).
//! 5. A response counts as stored if its head permits storing it. The response is in the cache once
//!    the client has read the body to the end. With a remote store, the response is in the cache
//!    once [`Cache::wait_idle`] has returned.
//! 6. The reason for which a response is not stored is the value of `detail`. If there is no
//!    `detail`, it is the value of `fwd`: `method` or `bypass`. The tables of [`CacheStatus`] list
//!    all values. The messages of the assertions quote these tables.
//!
//! # Caveats
//! - A manual clock affects lifetimes and ages only. Time limits and background work follow tokio's
//!   clock: use `#[tokio::test(start_paused = true)]`.
//! - A hit does not report why its response was stored. Use [`assert_stored`] on the response to
//!   the first request.
//! - `Cache-Status` is for tests and logs. A site that sends it reveals to all clients which pages
//!   were visited before.
//!
//! [`CacheStatus`]: crate::status::CacheStatus
//! [`cache_status`]: crate::policy::PolicyBuilder::cache_status

mod assertions;
mod reported_status;

#[doc(no_inline)]
pub use crate::store::contract;
pub use assertions::{assert_hit, assert_miss, assert_not_stored, assert_stored};

use crate::cache::{Cache, CacheBuilder};
use crate::clock::{Clock, ManualClock};
use crate::policy::Policy;
use crate::store::MemoryStore;

const CAPACITY: u64 = 64 << 20;

/// Creates an in-memory cache with a manual clock.
///
/// The clock stands still until the test advances it. The store has the same clock, and a capacity
/// of 64 MiB. The cache and the store have fixed seeds, so random decisions are the same in every
/// run. Layers without another policy get [`Policy::app`] with
/// [`cache_status`](crate::policy::PolicyBuilder::cache_status). To set other options, use
/// [`memory_cache_with`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::testing::memory_cache;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (cache, clock) = memory_cache();
/// cache.set("rate", &1.1, Duration::from_secs(60)).await?;
/// assert!(cache.contains("rate").await?);
/// clock.advance(Duration::from_secs(60));
/// assert!(!cache.contains("rate").await?);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn memory_cache() -> (Cache, ManualClock) {
    memory_cache_with(|builder| builder)
}

/// Creates an in-memory cache with a manual clock and other options, such as the policy of the
/// application.
///
/// `configure` gets the builder of [`memory_cache`], and replaces options of that builder. The
/// assertions need a policy with
/// [`status_extension`](crate::policy::PolicyBuilder::status_extension), which is on by default, or
/// with [`cache_status`](crate::policy::PolicyBuilder::cache_status). Do not set the clock: the
/// returned [`ManualClock`] could not move another clock.
///
/// # Panics
/// Panics if an option is invalid.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::testing::memory_cache_with;
/// use tower_response_cache::{Policy, SiteCacheLayer};
///
/// let policy = Policy::app().default_ttl(Duration::from_secs(60)).cache_status(true).build()?;
/// let (cache, clock) = memory_cache_with(|builder| builder.policy(policy));
/// let layer = SiteCacheLayer::new(&cache); // With this policy.
/// # let _ = (clock, layer);
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[must_use]
pub fn memory_cache_with(configure: impl FnOnce(CacheBuilder) -> CacheBuilder) -> (Cache, ManualClock) {
    let (clock, manual) = Clock::manual();
    let store = MemoryStore::builder().max_bytes(CAPACITY).clock(clock.clone()).seed(1).build();
    let policy = Policy::app().cache_status(true).build().expect("valid options");
    let builder = Cache::builder(store.expect("a valid capacity")).clock(clock).seed(1).policy(policy);
    (configure(builder).build().expect("valid options"), manual)
}

#[cfg(test)]
mod tests;
