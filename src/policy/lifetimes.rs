//! The options that decide how long a response is fresh, here and for clients.

use super::{PolicyBuilder, Ttl};
use std::time::Duration;

impl PolicyBuilder {
    /// Sets how long a 200 response is fresh that states no lifetime itself. The default is to
    /// store none of these; zero does the same.
    pub fn default_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.default_ttl = ttl.into();
        self
    }

    /// Makes a response fresh that states no lifetime itself, for a tenth of the time for which it has not been
    /// modified (RFC 9111 section 4.2.2), though no longer than this; zero turns that off. Off by default, a day
    /// under [`rfc9111`](crate::policy::Policy::rfc9111).
    ///
    /// That is for responses with `Last-Modified` and a status that may be cached so (RFC 9110 section 15.1), or
    /// any that are marked `public`, of those that this policy stores at all; and not for what was asked for by somebody
    /// who is known, by a credential or a cookie. A [`default_ttl`](Self::default_ttl) comes first.
    pub fn heuristic_freshness(mut self, most: Duration) -> Self {
        self.policy.heuristic = Some(most).filter(|most| !most.is_zero());
        self
    }

    /// Sets how long clients and caches downstream may use a response, which need not be as long as it is
    /// held here.
    ///
    /// What is stored says so in `Cache-Control`, and no other lifetime: `max-age` is replaced, `s-maxage`,
    /// `stale-while-revalidate`, `stale-if-error` and `Expires` go, zero adds `must-revalidate`; what says
    /// who may store it stays. A response that does not say so becomes `private` if it sets a cookie, carries a field that
    /// is named like a credential (unless [declared harmless](Self::ignore_headers)) or has `Vary: *`. A lifetime counts
    /// from when a client gets the response: answers have no `Age` and the `Date` of the moment (RFC 9110 section 6.6.1).
    /// So that clients can ask cheaply whether their copy still stands, stored responses without an `ETag` are given one,
    /// as by
    /// [`etags`](Self::etags).
    ///
    /// With zero, a page may be held for a year here and yet always be current in the browser: once it
    /// is [invalidated](crate::cache::Cache::invalidate), the next question of a browser brings the new one. Nor
    /// do answers tell how long ago somebody else has asked for the page.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let year = Duration::from_secs(365 * 24 * 3600);
    /// let policy = Policy::app().default_ttl(year).client_max_age(Duration::ZERO);
    /// ```
    pub fn client_max_age(mut self, lifetime: Duration) -> Self {
        self.policy.client_max_age = Some(lifetime);
        self
    }

    /// Sets which targeted fields (RFC 9213) count here, the first most: where one of them is valid and
    /// not empty, `Cache-Control` and `Expires` do not. By default none does, under [`rfc9111`](crate::policy::Policy::rfc9111)
    /// `CDN-Cache-Control`.
    ///
    /// They are passed on as they are. [`build`](Self::build) fails if a name is not that of a field.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::rfc9111().targeted_fields(["shop-cache-control", "cdn-cache-control"]).build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn targeted_fields<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.policy.targets = self.field_names(names);
        self
    }
}
