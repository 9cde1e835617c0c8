//! The service that shows a cache to its operators: a page in the browser, and JSON for scripts.
//!
//! # Example
//! ```
//! use http::Request;
//! use tower::ServiceExt;
//! use tower_response_cache::{Cache, InspectorService, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(Clone)]
//! struct Operator; // An authentication layer adds it to the requests of operators.
//!
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let inspector = InspectorService::new(&cache, |request| request.extensions.get::<Operator>().is_some());
//!
//! let request = Request::get("/explain.json?url=/flavors").extension(Operator).body(String::new())?;
//! let response = inspector.oneshot(request).await?;
//! assert_eq!(response.headers()["content-type"], "application/json");
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. The predicate is asked on each request, before anything else. A request that it does not accept
//!    learns nothing and changes nothing.
//! 2. A POST needs the token of `token.json`, and must not come from another site.
//! 3. No answer contains a value of a credential or a cookie, or a body. No cache stores an answer.
//! 4. The page works under a strict `Content-Security-Policy`, and sends requests to its own host only.
//! 5. The numbers of the last hour come from samples that requests to the inspector take, at most one
//!    a minute. The page names the time that they cover.
//!
//! # Where the service belongs
//! Beside the cache layers, below a separate path: `Router::nest_service` in axum. Inside a cache
//! layer it works, too, but a cache layer may remove an ignored cookie that the predicate needs.
//!
//! # Caveats
//! - The service does not limit the number of attempts to guess a password that the predicate checks.
//! - Each process has its own inspector, with the counters of this process.
//! - A proxy in front must keep the `Host` of the request. Otherwise, `Origin` differs from it, and
//!   every POST of the page is refused.

mod answer;
mod endpoint;
mod form;
mod history;
mod json;
mod origin_check;
mod sample_request;
mod service;
mod token;

pub use service::InspectorService;
