//! What a handler says of its own response.

use super::Ttl;
use crate::rules::stale::StaleOverrides;
use http::{Extensions, HeaderName, StatusCode};
use std::time::Duration;

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
/// hints.add_to(response.extensions_mut());
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
    pub(crate) client_max_age: Option<Duration>,
    pub(crate) statuses: Vec<StatusCode>,
    pub(crate) stale: StaleOverrides,
    pub(crate) tags: Vec<String>,
}

impl CacheHints {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the caches here hold the response fresh, whatever its fields say but `no-store`:
    /// even one that is `private` or `max-age=0` to others. Zero is not at all. It counts for the statuses
    /// that a layer stores with a lifetime of their own, and for [others that are named](Self::statuses).
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Says that the response is not to be stored here.
    pub fn never(mut self) -> Self {
        self.never = true;
        self
    }

    /// Adds tags, by which the response can be invalidated with others
    /// ([`Invalidation::tag`](crate::invalidation::Invalidation::tag)): RFC 9875 calls them cache groups. Case counts. A response
    /// with more than 256 tags, or one of more than 1,024 bytes, is not stored.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::CacheHints;
    ///
    /// let hints = CacheHints::new().tags(["flavours", "flavour:7"]);
    /// ```
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Adds request fields that the response depends on, as `Vary` does, without telling clients.
    pub fn vary(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(names);
        self
    }

    /// Sets how long clients and caches downstream may use the response, which need not be as long as it
    /// is held here: see [`PolicyBuilder::client_max_age`](crate::policy::PolicyBuilder::client_max_age). It counts whether or not
    /// the response is stored, for any layer that it passes, but never against `no-store`.
    pub fn client_max_age(mut self, lifetime: Duration) -> Self {
        self.client_max_age = Some(lifetime);
        self
    }

    /// Sets how long the response may be used once it is stale, while a new one is made in the background:
    /// see [`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate).
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale.while_revalidate = Some(window);
        self
    }

    /// Sets how long the response may be used once it is stale, where the service fails: see
    /// [`PolicyBuilder::stale_if_error`](crate::policy::PolicyBuilder::stale_if_error).
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale.if_error = Some(window);
        self
    }

    /// Adds statuses that the [ttl](Self::ttl) counts for: a redirect that is the same for everybody, or
    /// the error page of a broken backend, for some seconds. What says something of one request alone (a
    /// 206, 304, 405, 407, 412, 413, 416, 417, 431) is not stored even so.
    ///
    /// # Example
    /// ```
    /// use http::StatusCode;
    /// use std::time::Duration;
    /// use tower_response_cache::CacheHints;
    ///
    /// let hints = CacheHints::new().ttl(Duration::from_secs(60)).statuses([StatusCode::FOUND]);
    /// ```
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses.extend(statuses);
        self
    }

    /// Puts the hints on a response, next to those that are there: outside of axum, which does so itself.
    ///
    /// What these say counts before what was said further in, but `never` stays, and so do the fields, tags
    /// and statuses that were named.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::CacheHints;
    ///
    /// let mut response = http::Response::new("page");
    /// CacheHints::new().never().add_to(response.extensions_mut());
    /// ```
    pub fn add_to(mut self, response: &mut Extensions) {
        if let Some(inner) = response.remove::<Self>() {
            self.never |= inner.never;
            // What must not be held at all must not be held for a while.
            if self.ttl == Ttl::Default || inner.ttl == Ttl::For(Duration::ZERO) {
                self.ttl = inner.ttl;
            }
            self.vary.extend(inner.vary);
            self.statuses.extend(inner.statuses);
            self.tags.extend(inner.tags);
            self.client_max_age = self.client_max_age.or(inner.client_max_age);
            self.stale.while_revalidate = self.stale.while_revalidate.or(inner.stale.while_revalidate);
            self.stale.if_error = self.stale.if_error.or(inner.stale.if_error);
        }
        response.insert(self);
    }
}
