//! The layer that decides for all inner cache layers which requests are anonymous.
//!
//! # Example
//! ```
//! use tower_response_cache::AnonymousOnlyLayer;
//!
//! let layer = AnonymousOnlyLayer::builder().credential_cookies(["sid"]).ignore_cookies(["_ga*"]).build()?;
//! # let _ = layer;
//! # Ok::<_, tower_response_cache::error::ConfigError>(())
//! ```
//!
//! # Rules
//! 1. A request with a credential, a session cookie or an undeclared cookie bypasses all inner caches: the service
//!    answers it, and its response is not stored.
//! 2. Cookies that are declared harmless are removed from fetches, requests whose response may be stored.
//! 3. A response that sets a session cookie is not stored.
//!
//! # Where the layer belongs
//! Outside of the cache layers and of sessions.

pub use crate::layer::{
    AnonymousOnly, AnonymousOnlyBuilder, AnonymousOnlyFuture as ResponseFuture, AnonymousOnlyLayer,
};
