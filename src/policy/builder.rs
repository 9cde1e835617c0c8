//! The builder of a policy, and the options that belong to no other group.

use super::contradictions::{contradiction, shared};
use super::options::{Policy, Sharing};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::key::{KeyPart, KeyPolicy};
use crate::rules::client::CDN_CACHE_CONTROL;
use http::HeaderName;
use std::collections::BTreeSet;
use std::time::Duration;

/// Builds a [`Policy`].
///
/// Start from a preset, [`Policy::app`] or [`Policy::rfc9111`], or from a finished policy
/// (`PolicyBuilder::from`). Setters return no errors; [`build`](Self::build) reports all invalid
/// options at once.
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
    /// The errors that setters have found. `build` returns them.
    pub(super) errors: Vec<ConfigError>,
}

impl From<Policy> for PolicyBuilder {
    /// Creates a builder that starts with the options of `policy`.
    fn from(policy: Policy) -> Self {
        Self { policy, errors: Vec::new() }
    }
}

const MAX_HEURISTIC: Duration = Duration::from_secs(24 * 3600);

impl Policy {
    /// Creates the safe default policy, for a cache in front of an application.
    ///
    /// A request with `Authorization`, a cookie or another credential bypasses the cache: it is not
    /// answered from the cache, and its response is not stored. `Cache-Control: no-cache` in a
    /// request is ignored, so that clients can't force requests to the application.
    ///
    /// Declare cookies and fields that do not identify a visitor: see
    /// [`ignore_cookies`](PolicyBuilder::ignore_cookies),
    /// [`vary_on_cookies`](PolicyBuilder::vary_on_cookies) and
    /// [`ignore_headers`](PolicyBuilder::ignore_headers).
    pub fn app() -> PolicyBuilder {
        PolicyBuilder::from(Self::default())
    }

    /// Creates the policy of a shared cache that follows RFC 9111 where
    /// [`app`](crate::policy::Policy::app) is stricter.
    ///
    /// Use it in front of an origin that sends correct headers. The example `reverse_proxy` does
    /// so.
    ///
    /// # Requests
    /// - The request directives `no-cache`, `no-store`, `max-age`, `min-fresh`, `max-stale` and
    ///   `only-if-cached` are honored (RFC 9111 section 5.2.1). If one occurs twice, the stricter
    ///   occurrence counts.
    /// - `max-stale` does not apply to a response that states no lifetime, or that became stale
    ///   before its stated lifetime ended: an invalidation may have made it stale.
    /// - `Authorization` and other credential fields do not make a request bypass the cache, unless
    ///   you [declare](PolicyBuilder::credential_headers) the field as a credential.
    /// - Cookies do not make a request bypass the cache, unless you [declare
    ///   cookies](PolicyBuilder::vary_on_cookies) or there is an outer
    ///   [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer). In these cases,
    ///   undeclared cookies make a request bypass the cache, as under `app`.
    /// - As under `app`, a request with a field that overrides the method, such as
    ///   `X-HTTP-Method-Override`, bypasses the cache.
    /// - As under `app`, [forwarded fields](crate::response_cache::SiteCacheLayer#forwarded-fields)
    ///   are part of the key.
    /// - Concurrent requests collapse into one fetch and share its response if it is fresh on
    ///   arrival. A response that must be validated before each use is revalidated by each request
    ///   (RFC 9111 section 5.2.2.4).
    /// - `If-Modified-Since` is compared with `Date` if the stored response has no `Last-Modified`
    ///   (RFC 9111 section 4.3.2).
    ///
    /// # Responses
    /// - Responses to requests with `Authorization` are shared if they are marked `public`,
    ///   `s-maxage` or `must-revalidate` (RFC 9111 section 3.5).
    /// - Responses to requests with credentials or cookies are stored only with an explicit
    ///   lifetime. Neither the TTLs of this crate nor heuristics apply to them.
    /// - The origin's `Vary` and `private` are honored.
    /// - Every final status with an explicit lifetime is stored, except 206, 304, 407, 412, 413,
    ///   416, 417 and 431, which concern one request.
    /// - A response without a lifetime gets a [heuristic one](PolicyBuilder::heuristic_freshness)
    ///   of a day at most (RFC 9111 section 4.2.2).
    /// - `must-understand` is honored (RFC 9111 section 5.2.2.3).
    /// - `CDN-Cache-Control` outranks `Cache-Control` (RFC 9213 sections 2.2 and 3.1).
    /// - A response to a POST is stored for later GETs if it has an explicit lifetime and its
    ///   `Content-Location` names the target (RFC 9110 section 9.3.3).
    /// - A response to a HEAD updates the stored response (RFC 9111 section 4.3.5).
    /// - A response that sets a cookie is not stored, unless
    ///   [`share_set_cookie`](PolicyBuilder::share_set_cookie) is on.
    /// - Requests whose `Accept-Language`, `Accept-Encoding` or `Accept-Charset` are equal in
    ///   meaning select the same variant (RFC 9111 section 4.1).
    ///
    /// # Writes
    /// A write, such as a POST, invalidates its target on the host of the request only (RFC 9111
    /// section 4.4). Under `app`, all hosts count as names of one application, so a write
    /// invalidates its target on all of them.
    ///
    /// # Security
    /// A proxy must remove hop-by-hop fields (RFC 9110 section 7.6.1) before this layer. Otherwise,
    /// a field that the origin does not receive could select a stored response.
    pub fn rfc9111() -> PolicyBuilder {
        PolicyBuilder::from(Self {
            sharing: Sharing::Rfc9111,
            heuristic: Some(MAX_HEURISTIC),
            targets: vec![CDN_CACHE_CONTROL],
            ..Self::default()
        })
    }
}

impl PolicyBuilder {
    /// Sets whether a response with `Set-Cookie` and an explicit lifetime is stored, and its cookie
    /// sent to every client (RFC 9111 section 7.3). Off by default.
    ///
    /// The option applies under [`rfc9111`](crate::policy::Policy::rfc9111) only: in front of an
    /// application, the cookie may be a visitor's session. It does not apply to a response to a
    /// request with credentials or cookies.
    ///
    /// # Security
    /// Turn it on only if the origin marks all personalized responses as `private` or `no-store`.
    pub fn share_set_cookie(mut self, on: bool) -> Self {
        self.policy.share_set_cookie = on;
        self
    }

    /// Sets the size in bytes above which a body is not stored. The default is 8 MiB.
    ///
    /// A longer body is forwarded to the client, but not recorded. With zero, only empty bodies are
    /// stored.
    ///
    /// A body that the store can't hold is not recorded either, even below the limit. To store
    /// bodies above 8 MiB in a `MemoryStore`, also raise
    /// [`largest_entry`](crate::store::MemoryStoreBuilder::largest_entry).
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.policy.max_body_bytes = bytes;
        self
    }

    /// Sets how many variants (RFC 9111 section 4.1) one URL may have. The default is 64; zero
    /// counts as one.
    ///
    /// At the limit, a new variant evicts another one. With a store outside the process, this is
    /// the oldest one. With a store inside the process, a variant that has expired or was
    /// invalidated is evicted first, and next the oldest variant that no request has used again. If
    /// requests have used all variants, the new one is not stored (`detail=variants` in
    /// `Cache-Status`), and all variants count as unused from that time on.
    #[doc(alias = "vary")]
    pub fn max_variants(mut self, most: usize) -> Self {
        self.policy.max_variants = most;
        self
    }

    /// Sets the name of the layer, which is part of its keys. The default is `site` for a site-wide
    /// and `route` for a per-route cache.
    ///
    /// The name must be the same in every process. Use different names for cache layers that are
    /// nested in one another. Also use different names for applications that share a cache but not
    /// their pages, such as two listeners of one host.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.policy.name = Some(name.into());
        self
    }

    /// Sets whether responses carry a `Cache-Status` field (RFC 9211). Off by default.
    ///
    /// The field reveals to each client whether a page was requested before. The
    /// [extension](Self::status_extension) has the same facts, and no client sees it.
    #[doc(alias = "x-cache")]
    pub fn cache_status(mut self, on: bool) -> Self {
        self.policy.cache_status = on;
        self
    }

    /// Sets whether responses carry a [`CacheStatus`](crate::status::CacheStatus) extension, with or
    /// without the [field](Self::cache_status). On by default.
    ///
    /// Outer layers read the extension, such as a layer that writes an access log. Turn it off if
    /// nothing reads it: a hit then allocates no extension. Statistics and events do not depend on
    /// it. The responses of a [warm-up](crate::Cache::warm) always have one.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().status_extension(false).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn status_extension(mut self, on: bool) -> Self {
        self.policy.status_extension = on;
        self
    }

    /// Sets whether the `Cache-Status` field includes the key (RFC 9211 section 2.7). Off by
    /// default.
    ///
    /// The parameter `key` holds the target that is looked up and a digest of the whole key. Two
    /// responses with the same digest have the same key, so the parameter reveals which requests
    /// get the same response. Without [`cache_status`](Self::cache_status), this option has no
    /// effect. The extension never includes the key.
    pub fn cache_status_key(mut self, on: bool) -> Self {
        self.policy.cache_status_key = on;
        self
    }

    /// Sets whether concurrent requests with the same key collapse into one fetch. On by default.
    ///
    /// One request, the leader, is forwarded; the others, its followers, receive the leader's
    /// response while it arrives. See [`collapse_timeout`](Self::collapse_timeout) and
    /// [`max_followers`](Self::max_followers) for limits.
    #[doc(alias = "single-flight")]
    #[doc(alias = "coalesce")]
    #[doc(alias = "stampede")]
    #[doc(alias = "dogpile")]
    #[doc(alias = "thundering herd")]
    pub fn collapse(mut self, on: bool) -> Self {
        self.policy.collapse = on;
        self
    }
}

impl PolicyBuilder {
    /// Builds the policy.
    ///
    /// # Errors
    /// If an option is invalid, or if two options contradict each other. The order of the calls
    /// makes no difference. The error [lists all invalid options](ConfigError::all).
    pub fn build(mut self) -> Result<Policy, ConfigError> {
        let KeyPolicy { ignored, vary_by, .. } = &mut self.policy.key;
        // A field that a key part replaces is not ignored, in any order of calls.
        ignored.retain(|name| vary_by.iter().all(|part| part.replaced_field() != Some(name)));
        self.errors.extend(contradictions(&self.policy));
        ConfigError::join(self.errors).map_or(Ok(self.policy), Err)
    }

    /// Adds the errors of an option to the errors that `build` returns.
    pub(super) fn check(mut self, result: Result<(), Vec<ConfigError>>) -> Self {
        self.errors.extend(result.err().into_iter().flatten());
        self
    }

    /// Returns the valid field names. `build` returns an error for each invalid one.
    pub(super) fn field_names<N: AsRef<str>>(
        &mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<HeaderName> {
        field_names(names, &mut self.errors)
    }
}

/// Returns an error for each name to which contradictory options apply.
fn contradictions(policy: &Policy) -> Vec<ConfigError> {
    let Policy {
        key, credentials, allowed_unkeyed: allowed, refresh_headers: carried, unstored_headers, ..
    } = policy;
    let replaced: Vec<_> = key.vary_by.iter().filter_map(KeyPart::replaced_field).cloned().collect();
    let roles: [(&[HeaderName], &[HeaderName]); 9] = [
        (&key.headers, &key.ignored),
        (&key.headers, credentials),
        (&key.ignored, credentials),
        // Fetches carry no ignored field, so an option that lets the handler see one has no effect.
        (&key.ignored, allowed),
        (&key.ignored, carried),
        (credentials, &replaced),
        (credentials, allowed),
        (credentials, carried),
        // A response with a credential field is not stored, so `unstored_headers` has no effect on
        // it.
        (credentials, unstored_headers),
    ];
    let secret = key.headers.iter().filter(|name| is_secret(name));
    let shared = roles.into_iter().flat_map(|(one, other)| shared(one, other));
    let fields: BTreeSet<_> = secret.chain(shared).map(HeaderName::as_str).collect();
    fields.into_iter().map(contradiction).chain(policy.cookies.contradictions()).collect()
}

/// Returns `true` for the standard fields of cookies and credentials. An option must not declare
/// such a field as keyed.
fn is_secret(name: &HeaderName) -> bool {
    matches!(name.as_str(), "cookie" | "cookie2" | "authorization" | "proxy-authorization")
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
    fn build_lists_each_invalid_option_once() {
        let builder = Policy::app()
            .hosts(["A"])
            .vary_on_headers(["cookie", "not a name"])
            .ignore_cookies(["a"])
            .vary_on_cookies(["a"])
            .credential_cookies(["b"]);
        let error = builder.build().expect_err("four invalid options");
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
