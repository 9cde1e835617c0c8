//! The layer that evaluates preconditions before the handler runs, so that no update is lost.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::PreconditionLayer;
//! use tower_response_cache::precondition::EntityTag;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn version_of(_: &str) -> Option<u64> { Some(7) }
//! let save = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(Full::from("saved"))) });
//! let layer = PreconditionLayer::new()
//!     .etag(|request| async move {
//!         let version = version_of(request.uri.path()).await?;
//!         Some(EntityTag::strong(format!("v{version}")))
//!     })
//!     .require_precondition();
//! let service = layer.layer(save);
//!
//! for (tag, status) in [("\"v6\"", 412), ("\"v7\"", 200)] {
//!     let request = Request::put("/flavors/vanilla").header("if-match", tag).body(String::new())?;
//!     assert_eq!(service.clone().oneshot(request).await?.status(), status);
//! }
//! let unconditional = Request::put("/flavors/vanilla").body(String::new())?;
//! assert_eq!(service.oneshot(unconditional).await?.status(), 428);
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. A write whose `If-Match` or `If-Unmodified-Since` does not match the current version is
//!    answered with 412 (RFC 9110 section 13). The handler does not run.
//! 2. A GET or HEAD is answered with 304 if the client has the current version. A layer of
//!    [`PreconditionLayer::by_get`] instead forwards GET and HEAD unchanged.
//! 3. Within one process, writes to one path run one after the other. A write that waits too long
//!    is answered with 503. A write that keeps others waiting too long is answered with 408.
//!
//! # Where the layer belongs
//! On the routes whose validators its functions return, inside the cache layers.
//!
//! # Caveats
//! Writes in other processes do not wait. If several processes write to one database, the write to
//! the database must compare the version, too.

pub use crate::layer::{ByFunctions, ByGet, Precondition, PreconditionLayer};
pub use crate::rules::entity_tag::EntityTag;
