//! The layer that lets only anonymous requests use the inner cache layers.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::{AnonymousOnlyLayer, Cache, MemoryStore, Policy, SiteCacheLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
//! let policy = Policy::app().cache_status(true).build()?;
//! let page = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(Full::from("page"))) });
//!
//! let anonymous_only = AnonymousOnlyLayer::session_cookie("sid")?;
//! let service = anonymous_only.layer(SiteCacheLayer::new(&cache).policy(policy).layer(page));
//!
//! let request = Request::get("/").header("cookie", "sid=7").body(String::new())?;
//! let response = service.oneshot(request).await?;
//! assert!(response.headers()["cache-status"].to_str()?.contains("detail=identified"));
//! assert_eq!(response.headers()["cache-control"], "private");
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. A request with a credential field, a credential cookie or an undeclared cookie bypasses all
//!    inner cache layers. The service answers the request, and the response is not stored.
//! 2. Cookies that are declared harmless are removed from fetches, the requests whose response may
//!    be stored.
//! 3. The response to an identified request gets `Cache-Control: private`, unless the response
//!    itself states who may store it.
//!
//! # Where the layer belongs
//! Outside all cache layers and all session layers.
//!
//! # Caveats
//! - A cache layer with [`vary_by_identity`] must not be inside this layer: identified requests
//!   bypass the cache layer, so its per-identity entries would never be used.
//! - The cache layers decide whether a response with `Set-Cookie` is stored
//!   ([`ignore_response_cookies`]).
//!
//! [`ignore_response_cookies`]: crate::policy::PolicyBuilder::ignore_response_cookies
//! [`vary_by_identity`]: crate::policy::PolicyBuilder::vary_by_identity

pub use crate::layer::{
    AnonymousOnly, AnonymousOnlyBuilder, AnonymousOnlyFuture as ResponseFuture, AnonymousOnlyLayer,
};
