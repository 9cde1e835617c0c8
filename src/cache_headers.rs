//! The response fields that caches read: `Cache-Control`, targeted fields, `Vary`.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
//!
//! let minute = CacheControl::new().public().max_age(Duration::from_secs(60));
//! let layers = (SetCacheControlLayer::new(minute)?, AddVaryLayer::new(["accept-language"])?);
//! # let _ = layers;
//! # Ok::<_, tower_response_cache::error::ConfigError>(())
//! ```
//!
//! # Rules
//! 1. Fields are merged with those of the response; of two directives, the stricter wins.
//! 2. A personalized response is never declared shared: one that sets a cookie, carries a credential or is
//!    `private`.
//! 3. [`NeverCacheLayer`] keeps a response out of every cache, those of this crate included.
//!
//! # Where the layers belong
//! Inside a cache layer, if that layer is to follow the fields; outside it, if the fields are for clients only.

pub use crate::layer::{
    AddVary, AddVaryFuture, AddVaryLayer, NeverCache, NeverCacheFuture, NeverCacheLayer, SetCacheControl,
    SetCacheControlFuture, SetCacheControlLayer, add_never_cache, patch_cache_control, patch_vary,
};
pub use crate::rules::control::CacheControl;
