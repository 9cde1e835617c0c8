//! The options for the freshness lifetime, in this cache and for clients.

use super::{PolicyBuilder, Ttl};
use std::time::Duration;

impl PolicyBuilder {
    /// Sets the freshness lifetime of a 200 response that states none.
    ///
    /// For other statuses, see [`negative_ttl`](Self::negative_ttl).
    ///
    /// By default, a response without a lifetime is not stored; zero has the same effect. See
    /// [Lifetimes](crate::docs::lifetimes#which-lifetime-counts) for the order of precedence.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Policy, Ttl};
    ///
    /// let micro_caching = Policy::app().default_ttl(Duration::from_secs(1));
    /// let until_invalidated = Policy::app().default_ttl(Ttl::Forever);
    /// # let _ = (micro_caching, until_invalidated);
    /// ```
    #[doc(alias = "micro-caching")]
    #[doc(alias = "timeout")]
    pub fn default_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.default_ttl = ttl.into();
        self
    }

    /// Allows a guessed (heuristic) freshness lifetime for responses that state none, and limits it
    /// to `most` (RFC 9111 section 4.2.2).
    ///
    /// The guess is a tenth of the time since `Last-Modified`. By default, heuristics are off under
    /// [`app`](crate::policy::Policy::app), and limited to a day under
    /// [`rfc9111`](crate::policy::Policy::rfc9111). A `most` of zero turns them off.
    ///
    /// A heuristic applies to a response with `Last-Modified` if its status is heuristically
    /// cacheable (RFC 9110 section 15.1), or if it is marked `public`. It does not apply
    /// - to a status that the policy does not store even with an explicit lifetime,
    /// - to a response to a request with credentials or cookies, and
    /// - to a 200 if a [`default_ttl`](Self::default_ttl) is set.
    pub fn heuristic_freshness(mut self, most: Duration) -> Self {
        self.policy.heuristic = Some(most).filter(|most| !most.is_zero());
        self
    }

    /// Sets how long clients and downstream caches may use a response, which may differ from its
    /// lifetime in this cache.
    ///
    /// The `Cache-Control` of a stored response is rewritten: `max-age` is replaced, and
    /// `s-maxage`, `stale-while-revalidate`, `stale-if-error` and `Expires` are removed. A lifetime
    /// of zero adds `must-revalidate`. A `Cache-Control` with `no-store` stays unchanged.
    ///
    /// `public` and `private` stay. A response that the service sent without `public`, `private`
    /// and `s-maxage` becomes `private` if it may be for one visitor:
    /// - its request is identified,
    /// - it sets a cookie or has `Vary: *`, or
    /// - it has a field that looks like a credential and is not [declared
    ///   harmless](Self::ignore_headers).
    ///
    /// The lifetime begins when a client receives the response. So responses have no `Age`, and
    /// their `Date` is the present time (RFC 9110 section 6.6.1). A response that is not stored
    /// keeps its own lifetime if that lifetime is shorter. If it states no lifetime, it gets none.
    ///
    /// Stored responses without an `ETag` get one, as by [`etags`](Self::etags), so that clients
    /// can revalidate their copy.
    ///
    /// With a lifetime of zero, browsers revalidate their copy before each use. So they show the
    /// current page, even if a page is fresh in this cache for a year. Once the page is
    /// [invalidated](crate::cache::Cache::invalidate), they receive the new page. Without `Age`,
    /// responses also do not reveal when the page was fetched for another visitor.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let year = Duration::from_secs(365 * 24 * 3600);
    /// let policy = Policy::app().default_ttl(year).client_max_age(Duration::ZERO);
    /// # let _ = policy;
    /// ```
    #[doc(alias = "browser ttl")]
    #[doc(alias = "Cache-Control")]
    pub fn client_max_age(mut self, lifetime: Duration) -> Self {
        self.policy.client_max_age = Some(lifetime);
        self
    }

    /// Sets which targeted fields (RFC 9213) this cache honors, in the order of precedence.
    ///
    /// The first of these fields that is valid and not empty decides. Then `Cache-Control` and
    /// `Expires` do not count. By default, no field is honored under
    /// [`app`](crate::policy::Policy::app), and `CDN-Cache-Control` under
    /// [`rfc9111`](crate::policy::Policy::rfc9111). A call of this method replaces that default.
    /// The fields are forwarded to clients unchanged.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::rfc9111().targeted_fields(["shop-cache-control", "cdn-cache-control"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "CDN-Cache-Control")]
    #[doc(alias = "Surrogate-Control")]
    pub fn targeted_fields<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.policy.targets = self.field_names(names);
        self
    }
}
