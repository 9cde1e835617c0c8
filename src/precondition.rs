//! Preconditions that are evaluated before the handler runs, so that no update is lost.
//!
//! # Example
//! ```
//! use tower_response_cache::PreconditionLayer;
//! use tower_response_cache::precondition::EntityTag;
//!
//! # async fn version_of(_: &str) -> Option<u64> { Some(7) }
//! let layer = PreconditionLayer::new()
//!     .etag(|request| async move {
//!         let version = version_of(request.uri.path()).await?;
//!         Some(EntityTag::strong(format!("v{version}")))
//!     })
//!     .require_precondition();
//! # let _ = layer;
//! ```
//!
//! # Rules
//! 1. A write with `If-Match` or `If-Unmodified-Since` that does not name the current version is answered with 412, and the
//!    handler does not run (RFC 9110 section 13).
//! 2. A GET or HEAD for a version that its client has is answered with 304.
//! 3. Within one process, writes to one path run one after the other. A write that waits too long gets 503; one
//!    that keeps others waiting too long gets 408.
//!
//! # Where the layer belongs
//! On the routes whose validators its functions return, inside the cache layers.
//!
//! # Caveats
//! Writes in other processes are not serialized: if several processes write to one database, compare the version
//! there, too.

pub use crate::layer::{ByFunctions, ByGet, Precondition, PreconditionLayer};
pub use crate::rules::entity_tag::EntityTag;
