//! Layers and functions that write the response fields that caches read: `Cache-Control`, targeted
//! fields (RFC 9213) and `Vary`.
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
//! 1. [`SetCacheControlLayer`] and [`AddVaryLayer`] merge their values with the fields of the
//!    response. The stricter of two `Cache-Control` directives wins.
//! 2. A personalized response never becomes public, for example a response that sets a cookie or has a
//!    credential field. A `private` response becomes public only with
//!    [`SetCacheControlLayer::replacing`].
//! 3. [`NeverCacheLayer`] keeps a response out of every cache, including the caches of this crate.
//!
//! # Where the layers belong
//! - Inside a cache layer, if that cache layer should follow the fields.
//! - Outside a cache layer, if the fields are for clients only.
//!
//! A [`NeverCacheLayer`] can also keep an inner cache layer from storing the response. So can an
//! [`AddVaryLayer`] that names `Cookie`, a credential field or `*`. Both do so only if another layer
//! of this crate is outside them.
//!
//! # Caveats
//! - A `max-age` that a layer adds inside a cache layer is also the freshness lifetime in that
//!   cache.

pub use crate::layer::{
    AddVary, AddVaryFuture, AddVaryLayer, NeverCache, NeverCacheFuture, NeverCacheLayer, SetCacheControl,
    SetCacheControlFuture, SetCacheControlLayer, add_never_cache, patch_cache_control, patch_vary,
};
pub use crate::rules::control::CacheControl;
