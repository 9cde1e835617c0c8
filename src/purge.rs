//! The service that invalidates on request, for scripts and back ends.
//!
//! # Example
//! ```
//! use http::Request;
//! use tower::ServiceExt;
//! use tower_response_cache::{Cache, MemoryStore, PurgeService};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
//! let service = PurgeService::with_secret(&cache, "a-long-random-secret")?;
//!
//! let request = Request::post("/?path=/flavors/vanilla&tag=flavors")
//!     .header("authorization", "Bearer a-long-random-secret")
//!     .body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), 204);
//!
//! let unauthorized = Request::post("/?all=true").body(())?;
//! assert_eq!(service.oneshot(unauthorized).await?.status(), 401);
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. A request without the secret, or a request that the predicate of
//!    [`PurgeService::authorized_by`] rejects, invalidates nothing. Its response reveals nothing.
//! 2. A 204 is sent after the invalidation has taken effect. If the store fails, the invalidation
//!    has taken effect in this process only, and the status is 202.
//!
//! # Where the service belongs
//! On a path or port that clients of the site cannot reach.
//!
//! # Caveats
//! The service does not limit the number of attempts to guess the secret.

pub use crate::layer::PurgeService;
