//! Tests of applications that use a cache, and of stores: a cache on a manual clock, assertions on responses, and the contract
//! kit.
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
//! 1. The assertions read the [`CacheStatus`] extension of a response. If there is none, they read the `Cache-Status` field:
//!    that is for clients that received the response over a socket. Both are there only under a policy with
//!    [`cache_status`](crate::policy::PolicyBuilder::cache_status). The policy that [`memory_cache`] gives to layers without one has it.
//! 2. Of nested cache layers the outermost one counts. If it left the request to an inner layer, that one counts.
//! 3. A hit is a response that came out of the cache, fresh or stale.
//! 4. A miss is a response to a request that was forwarded because no stored response could be used. A bypassed request, a method
//!    that no cache answers, and a response that was shared with another request (`collapsed`) are neither hit nor miss.
//! 5. A response counts as stored if its head allows it. It is in the cache once its body was read to the end; over a
//!    remote store, once [`Cache::wait_idle`] has returned.
//! 6. The reason why a response is not stored is the word of `detail`; without one, `method` or `bypass`. The tables of
//!    [`CacheStatus`] have all of them. The messages of the assertions quote these tables.
//!
//! # Caveats
//! - A manual clock moves lifetimes and ages only. Time limits and background work follow tokio's clock: use
//!   `#[tokio::test(start_paused = true)]`.
//! - A response from the store says nothing of how it was stored: assert that of the response to the first request.
//! - The words of `Cache-Status` are for tests and logs. A site that reports them tells everybody which pages were visited before.
//!
//! [`CacheStatus`]: crate::status::CacheStatus

mod assertions;
mod reported_status;

#[doc(no_inline)]
pub use crate::store::contract;
pub use assertions::{assert_hit, assert_miss, assert_not_stored, assert_stored};

use crate::cache::Cache;
use crate::clock::{Clock, ManualClock};
use crate::policy::Policy;
use crate::store::MemoryStore;

const CAPACITY: u64 = 64 << 20;

/// Creates a cache in memory on a manual clock, which stands still until it is moved.
///
/// The store has the same clock, and room for 64 MiB. Cache and store have a fixed seed, so that every run is alike. Layers
/// without a policy of their own get that of [`Policy::app`] with [`cache_status`](crate::policy::PolicyBuilder::cache_status).
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
    let (clock, hand) = Clock::manual();
    (fixed_cache(clock), hand)
}

fn fixed_cache(clock: Clock) -> Cache {
    let store = MemoryStore::builder().max_bytes(CAPACITY).clock(clock.clone()).seed(1).build();
    let policy = Policy::app().cache_status(true).build().expect("valid options");
    let cache = Cache::builder(store.expect("a valid capacity")).clock(clock).seed(1).policy(policy).build();
    cache.expect("valid options")
}

#[cfg(test)]
mod tests;
