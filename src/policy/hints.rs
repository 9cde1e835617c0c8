//! What a handler says of its own response.

use super::Ttl;
use http::HeaderName;

/// What one handler says of one response to the cache layers around it: a response extension, which
/// outranks header fields and the configuration of layers.
///
/// It never weakens `no-store`, and a response with `Set-Cookie` is not stored whatever it says.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::CacheHints;
///
/// let hints = CacheHints::new().ttl(Duration::from_secs(3600));
/// let mut response = http::Response::new("page");
/// response.extensions_mut().insert(hints);
/// ```
///
/// With feature `axum`, it is part of what a handler returns:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::response::IntoResponse;
/// use tower_response_cache::{CacheHints, Ttl};
///
/// async fn flavour() -> impl IntoResponse {
///     (CacheHints::new().ttl(Ttl::Forever), "all about vanilla")
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CacheHints {
    pub(crate) ttl: Ttl,
    pub(crate) never: bool,
    pub(crate) vary: Vec<HeaderName>,
}

impl CacheHints {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the caches here hold the response fresh, whatever its fields say but `no-store`:
    /// even one that is `private` or `max-age=0` to others. Zero is not at all. For statuses that a
    /// layer stores with a lifetime of their own.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Says that the response is not to be stored here.
    pub fn never(mut self) -> Self {
        self.never = true;
        self
    }

    /// Adds request fields that the response depends on, as `Vary` does, without telling clients.
    pub fn vary(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(names);
        self
    }
}
