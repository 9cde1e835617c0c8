//! What builds a policy.

use super::options::{Policy, Sharing};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::rules::client::CDN_CACHE_CONTROL;
use http::HeaderName;
use std::time::Duration;

/// Builds a [`Policy`]: made by [`Policy::app`] or [`Policy::rfc9111`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Policy;
///
/// let policy = Policy::app()
///     .default_ttl(Duration::from_secs(600))
///     .ignore_cookies(["_ga*"])
///     .vary_on_headers(["hx-request"])
///     .build()?;
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PolicyBuilder {
    pub(super) policy: Policy,
    /// What is wrong with the options so far.
    pub(super) errors: Vec<ConfigError>,
}

impl From<Policy> for PolicyBuilder {
    /// Begins with the options of a policy.
    fn from(policy: Policy) -> Self {
        Self { policy, errors: Vec::new() }
    }
}

const LONGEST_HEURISTIC: Duration = Duration::from_secs(24 * 3600);

impl Policy {
    /// The safe default for a cache in front of an application.
    ///
    /// Requests with `Authorization`, `Cookie` or another credential are neither answered from the
    /// cache nor stored; a visitor's `Cache-Control: no-cache` is ignored, so that nobody can drive
    /// load to the application.
    pub fn app() -> PolicyBuilder {
        PolicyBuilder::from(Self::default())
    }

    /// A shared cache that follows RFC 9111 where [`app`](crate::policy::Policy::app) is stricter, for use in front
    /// of an origin that sends correct headers.
    ///
    /// Responses to requests with `Authorization` are shared where RFC 9111 section 3.5 lets it
    /// (`public`, `s-maxage`, `must-revalidate`); cookies (unless [any are declared](PolicyBuilder::vary_on_cookies), or
    /// an [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) stands further out) and other credential headers do
    /// not count, the origin's `Vary` and `private` do; the request directives `no-cache`, `no-store` and
    /// `max-age`, `min-fresh`, `max-stale` and `only-if-cached` are honoured; any final status with a lifetime of
    /// its own is stored (but for 206, 304, 407, 412, 413, 416, 417 and 431, which are about one request), so is the
    /// response to a POST that says that it is what is at its target now (RFC 9110 section 9.3.3); the answer to a HEAD
    /// updates what is stored (section 4.3.5). `must-understand` counts, and `CDN-Cache-Control` (RFC 9213 section 3.1) outranks
    /// `Cache-Control`. What states no lifetime has a [heuristic one](PolicyBuilder::heuristic_freshness) of a day at most.
    ///
    /// Variants are the same whose `Accept-Language`, `-Encoding` or `-Charset` mean the same (section 4.1). What a client
    /// says for its connection alone (RFC 9110 section 7.6.1) a proxy has to take off before this layer, as the example
    /// `reverse_proxy` does: what its origin does not get must not choose what is stored. As under [`app`](crate::policy::Policy::app),
    /// what proxies say of a target ([forwarded fields](crate::response_cache::SiteCacheLayer#forwarded-fields)) is part of the key, and
    /// fields that override the method bypass the cache.
    ///
    /// A write invalidates its target on its own host alone (section 4.4); under `app`, where all hosts are names of one
    /// application, on all of them.
    ///
    /// Nor does `max-stale` reach what was stale sooner than it said itself, or said nothing: it may have been invalidated.
    /// What somebody is answered with who is known, by a credential or a cookie, is shared only where it states its
    /// lifetime itself: no ttl of ours and no heuristic makes it everybody's.
    ///
    /// Concurrent requests share one call and its response, if that is fresh when it comes: what is to be validated before
    /// each use, each asks about itself (section 5.2.2.4).
    ///
    /// Its cookies are the origin's business: what sets one is not stored all the same, unless
    /// [`share_set_cookie`](PolicyBuilder::share_set_cookie) says so.
    pub fn rfc9111() -> PolicyBuilder {
        PolicyBuilder::from(Self {
            sharing: Sharing::Rfc9111,
            heuristic: Some(LONGEST_HEURISTIC),
            targets: vec![CDN_CACHE_CONTROL],
            ..Self::default()
        })
    }
}

impl PolicyBuilder {
    /// Sets whether a response that sets a cookie is stored, and everybody given that cookie, where it says itself
    /// how long it is fresh (RFC 9111 section 7.3). Off by default, and for [`rfc9111`](crate::policy::Policy::rfc9111) alone: in
    /// front of an application, the cookie is somebody's session.
    ///
    /// Turn it on only where the origin marks all that is personal as `private` or `no-store`. What was asked for by
    /// somebody who is known, by a credential or a cookie, is not stored with a cookie even so.
    pub fn share_set_cookie(mut self, on: bool) -> Self {
        self.policy.share_set_cookie = on;
        self
    }

    /// Sets the size in bytes past which a body passes through unrecorded. The default is 8 MiB.
    ///
    /// What the store can't hold is not recorded either, whatever is set here; zero records nothing
    /// but empty bodies.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.policy.max_body_bytes = bytes;
        self
    }

    /// Sets how many variants (RFC 9111 section 4.1) one URL may have. The default is 64; zero counts as one.
    ///
    /// A store inside the process evicts a variant that has expired or was invalidated, or else the oldest one that no
    /// request has used again. If requests have used all of them, the new variant is not stored (`detail=variants`), and
    /// each variant must be used again to stay. A store outside the process evicts the oldest variant.
    pub fn max_variants(mut self, most: usize) -> Self {
        self.policy.max_variants = most;
        self
    }

    /// Sets the layer's place in the key: the same in every process, different for layers that are
    /// nested in one another, and for applications that share a cache but not their pages (two
    /// listeners of one host, say). The default is `site` for a site-wide and `route` for a per-route cache.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.policy.name = Some(name.into());
        self
    }

    /// Sets whether responses tell, in a `Cache-Status` field (RFC 9211) and a
    /// [`CacheStatus`](crate::status::CacheStatus) extension, what the cache did. Off by default: whether a
    /// page was visited before is not everybody's business.
    pub fn cache_status(mut self, on: bool) -> Self {
        self.policy.cache_status = on;
        self
    }

    /// Sets whether the `Cache-Status` field tells the key, too (RFC 9211 section 2.7): the target as it is looked
    /// up, and a digest of all that the key is made of, by which two answers can be compared. Off by default: it
    /// says which requests are answered alike. It is for the field alone, where that is on.
    pub fn cache_status_key(mut self, on: bool) -> Self {
        self.policy.cache_status_key = on;
        self
    }

    /// Sets whether concurrent requests for the same thing wait for one call of the service. On by default.
    pub fn collapse(mut self, on: bool) -> Self {
        self.policy.collapse = on;
        self
    }
}

impl PolicyBuilder {
    /// Builds the policy.
    ///
    /// # Errors
    /// If any option is invalid. The error [lists all invalid options](ConfigError::all).
    pub fn build(self) -> Result<Policy, ConfigError> {
        ConfigError::join(self.errors).map_or(Ok(self.policy), Err)
    }

    /// Notes what is wrong with an option.
    pub(super) fn check(mut self, result: Result<(), ConfigError>) -> Self {
        self.errors.extend(result.err());
        self
    }

    /// Returns the valid field names, and notes the invalid ones.
    pub(super) fn field_names<N: AsRef<str>>(
        &mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<HeaderName> {
        field_names(names, &mut self.errors)
    }
}

/// Returns the valid field names, and adds an error for each invalid one.
pub(crate) fn field_names<N: AsRef<str>>(
    names: impl IntoIterator<Item = N>,
    errors: &mut Vec<ConfigError>,
) -> Vec<HeaderName> {
    let mut fields = Vec::new();
    for name in names {
        match HeaderName::try_from(name.as_ref()) {
            Ok(name) => fields.push(name),
            Err(_) => errors.push(ConfigError::new(ConfigErrorKind::InvalidFieldName, name.as_ref())),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_names_each_wrong_option_once() {
        let builder = Policy::app()
            .hosts(["A"])
            .vary_on_headers(["cookie", "not a name"])
            .ignore_cookies(["a"])
            .vary_on_cookies(["a"])
            .credential_cookies(["b"]);
        let error = builder.build().expect_err("four are wrong");
        let all: Vec<_> = error.all().map(|error| (error.kind(), error.value())).collect();
        let expected = [
            (ConfigErrorKind::InvalidHost, "A"),
            (ConfigErrorKind::InvalidFieldName, "not a name"),
            (ConfigErrorKind::Contradiction, "cookie"),
            (ConfigErrorKind::Contradiction, "a"),
        ];
        assert_eq!(all, expected);
        assert_eq!(error.to_string().matches("; ").count(), 3, "{error}");
        assert!(Policy::rfc9111().vary_on_headers(["x-plan"]).build().is_ok());
    }
}
