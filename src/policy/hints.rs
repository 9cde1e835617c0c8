//! The caching options that a handler sets for its own response.

use super::Ttl;
use crate::rules::stale::StaleOverrides;
use http::{Extensions, HeaderName, StatusCode};
use std::time::Duration;

/// A handler's caching options for its own response, attached as a response extension.
///
/// Hints outrank the header fields of the response and the policies of the cache layers. A response
/// with `no-store` is not stored, even if the hints differ. Nor is a response with `Set-Cookie`,
/// unless the policy [permits its cookies](crate::policy::PolicyBuilder::ignore_response_cookies).
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
/// With the feature `axum`, hints are part of the return value of a handler:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::response::IntoResponse;
/// use tower_response_cache::{CacheHints, Ttl};
///
/// async fn flavor() -> impl IntoResponse {
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
    /// Creates hints that set nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the freshness lifetime of the response in the cache layers of this crate.
    ///
    /// The TTL overrides the lifetime that header fields state, `no-cache` and `private`. So a
    /// response that is `private` or `max-age=0` for clients can still be stored in these layers.
    /// Other reasons against storing still apply, such as `no-store`, `Set-Cookie` or `Vary: *`. A
    /// `private` response to a request with `Authorization` is stored only as a [per-identity
    /// entry](crate::policy::PolicyBuilder::vary_by_identity).
    ///
    /// With a TTL of zero, the response is not stored. The TTL applies to the statuses that the
    /// layer stores with an explicit lifetime, and to the [`statuses`](Self::statuses) that the
    /// hints add.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Prevents the response from being stored.
    #[doc(alias = "no-store")]
    #[doc(alias = "uncacheable")]
    pub fn never(mut self) -> Self {
        self.never = true;
        self
    }

    /// Adds tags, by which the response can be invalidated together with others.
    ///
    /// See [`Invalidation::tag`](crate::invalidation::Invalidation::tag). RFC 9875 names them cache
    /// groups. Tags are case-sensitive. A response with more than 256 tags, or with a tag of more
    /// than 1,024 bytes, is not stored.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::CacheHints;
    ///
    /// let hints = CacheHints::new().tags(["flavors", "flavor:7"]);
    /// # let _ = hints;
    /// ```
    #[doc(alias = "surrogate key")]
    #[doc(alias = "cache group")]
    #[doc(alias = "xkey")]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Adds request fields that select the response among its variants, as `Vary` does. The `Vary`
    /// that clients receive does not name them.
    ///
    /// Unlike the builders of layers, hints have no `build` that could report an invalid name. So
    /// this method takes parsed names, such as the constants of [`http::header`] or
    /// [`HeaderName::from_static`].
    pub fn vary(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(names);
        self
    }

    /// Sets how long clients and downstream caches may use the response, which may differ from its
    /// [TTL](Self::ttl).
    ///
    /// The hint applies in every cache layer that the response passes, even if the response is not
    /// stored. It does not apply to a response with `no-store`. See
    /// [`PolicyBuilder::client_max_age`](crate::policy::PolicyBuilder::client_max_age).
    pub fn client_max_age(mut self, lifetime: Duration) -> Self {
        self.client_max_age = Some(lifetime);
        self
    }

    /// Sets how long after its freshness lifetime the response is served while a background refresh
    /// runs.
    ///
    /// See
    /// [`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate).
    #[doc(alias = "SWR")]
    #[doc(alias = "grace")]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale.while_revalidate = Some(window);
        self
    }

    /// Sets how long after its freshness lifetime the response is served if the service fails.
    ///
    /// See [`PolicyBuilder::stale_if_error`](crate::policy::PolicyBuilder::stale_if_error).
    #[doc(alias = "grace")]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale.if_error = Some(window);
        self
    }

    /// Adds statuses that the [TTL](Self::ttl) applies to.
    ///
    /// Use it for a redirect that is the same for all visitors, or to store the error page of a
    /// failing backend for some seconds. A response that concerns one request only is not stored in
    /// any case: 206, 304, 407, 412, 413, 416, 417, 431, and 405 under
    /// [`app`](crate::policy::Policy::app).
    ///
    /// # Example
    /// ```
    /// use http::StatusCode;
    /// use std::time::Duration;
    /// use tower_response_cache::CacheHints;
    ///
    /// let hints = CacheHints::new().ttl(Duration::from_secs(60)).statuses([StatusCode::FOUND]);
    /// # let _ = hints;
    /// ```
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses.extend(statuses);
        self
    }

    /// Attaches the hints to a response, and merges them with hints that are already attached.
    ///
    /// Axum handlers need not call this method: axum attaches the hints in their return value.
    ///
    /// These hints take precedence over hints that are already attached. An attached
    /// [`never`](Self::never) or TTL of zero stays. Fields, tags and statuses are combined.
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
            // A TTL of zero is a refusal to store, like `never`.
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
