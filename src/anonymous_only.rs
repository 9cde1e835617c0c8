//! The decision who is anonymous, for all cache layers further in.
//!
//! # Example
//! ```
//! use tower_response_cache::AnonymousOnlyLayer;
//!
//! let layer = AnonymousOnlyLayer::session_cookie("sid")?.ignore_cookies(["_ga*"])?;
//! # let _ = layer;
//! # Ok::<_, tower_response_cache::error::ConfigError>(())
//! ```
//!
//! # Rules
//! 1. A request with a credential, a session cookie or an undeclared cookie is answered by the service: caches further in
//!    neither answer nor store it.
//! 2. Cookies that are declared harmless are removed from requests that fill a cache.
//! 3. A response that sets a session is not stored.
//!
//! # Where the layer belongs
//! Outside of the cache layers and of sessions.

pub use crate::layer::{AnonymousOnly, AnonymousOnlyFuture as ResponseFuture, AnonymousOnlyLayer};
