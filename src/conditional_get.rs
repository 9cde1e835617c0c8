//! The layer that adds entity tags, and answers conditional and range requests without a cache.
//!
//! # Example
//! ```
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_response_cache::ConditionalGetLayer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let page = service_fn(|_: http::Request<String>| async {
//!     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from("hello")))
//! });
//! let service = ConditionalGetLayer::new().layer(page);
//! let first = service.clone().oneshot(http::Request::new(String::new())).await?;
//! let tag = first.headers()["etag"].clone();
//!
//! let again = http::Request::builder().header("if-none-match", tag).body(String::new())?;
//! assert_eq!(service.oneshot(again).await?.status(), 304);
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. The handler runs for each request, so only the transfer is saved. The layer of
//!    [`precondition`](crate::precondition) evaluates preconditions before the handler runs.
//! 2. A tag is generated only for a body that is ready together with its head. A streamed body
//!    receives no tag.
//! 3. Tags are weak by default, because outer layers may change the bytes.
//!
//! # Where the layer belongs
//! Outside all layers that change bodies, and outside the cache layers. Cache layers themselves
//! answer conditional requests from stored responses.
//!
//! # Caveats
//! To generate a tag, the layer hashes the body of each response. A tag from the handler saves that
//! work.

pub use crate::layer::{ConditionalGet, ConditionalGetFuture as ResponseFuture, ConditionalGetLayer};
