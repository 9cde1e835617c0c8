//! The cache layers: one for a whole site, and one for a route.
//!
//! # Example
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_response_cache::{Cache, CacheStatus, MemoryStore, Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let policy = Policy::app().default_ttl(Duration::from_secs(600)).cache_status(true).build()?;
//! let slow = service_fn(|_: http::Request<String>| async {
//!     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from("42")))
//! });
//! let service = SiteCacheLayer::new(&cache).policy(policy).layer(slow);
//!
//! for is_hit in [false, true] {
//!     let response = service.clone().oneshot(http::Request::new(String::new())).await?;
//!     let status = response.extensions().get::<CacheStatus>().expect("every response has one");
//!     assert_eq!(status.is_hit(), is_hit);
//!     # drop(http_body_util::BodyExt::collect(response.into_body()).await);
//! }
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. A request that identifies its visitor bypasses the cache, unless the [policy](crate::policy)
//!    permits otherwise.
//! 2. A response is stored only if its fields, its handler or the policy set its freshness
//!    lifetime, and if nothing forbids sharing it.
//! 3. Concurrent requests with one key collapse into one fetch.
//! 4. A response is not served to any request that begins after its hard invalidation.
//! 5. Bodies are streamed. A body that fails, ends early or is too large is not stored.
//!
//! # Where the layers belong
//! - [`SiteCacheLayer`]: outside all layers whose work a hit should save, and inside all layers
//!   that must see every request.
//! - [`RouteCacheLayer`]: on its route.
//!
//! # Caveats
//! The cache does not see how an outer layer personalizes a response, unless another layer of this
//! crate is outside that layer.

pub use crate::body::ResponseBody;
pub use crate::layer::{RouteCacheLayer, SiteCacheLayer};
pub use crate::marks::response_marks::Identified;
#[cfg(feature = "compression")]
pub use crate::policy::response_encoder::ResponseEncoder;
pub use crate::serve::{ResponseCache, ResponseFuture};
