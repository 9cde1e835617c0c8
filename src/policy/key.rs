//! The options that decide what enters the key, and which unkeyed inputs the handler sees.

use super::request_fields::{HeaderRole, role_of};
use super::{Policy, PolicyBuilder};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::key::{KeyPart, QueryKey, RequestHead};
use http::HeaderName;
use http::header::COOKIE;
use std::sync::Arc;

impl PolicyBuilder {
    /// Sets how the query enters the key. The default is [`QueryKey::raw`].
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::key::QueryKey;
    ///
    /// let policy = Policy::app().query(QueryKey::without_tracking()).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "query string")]
    pub fn query(mut self, query: QueryKey) -> Self {
        self.policy.key.query = query;
        self
    }

    /// Declares request fields that the cache ignores.
    ///
    /// These fields do not identify a visitor and do not enter the key. They are removed from
    /// fetches, so that no stored response depends on them. A response that names one of them in
    /// `Vary` is not stored. In a response, these fields do not count as credentials.
    ///
    /// For example, a site without a login may declare `Authorization`. Otherwise, a client can
    /// make its requests bypass the cache by a made-up value.
    ///
    /// The option does not apply to a field that a [part](Self::vary_by_part) of the key replaces:
    /// the handler receives the value of the part.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name, or is also declared by
    /// [`vary_on_headers`](Self::vary_on_headers),
    /// [`credential_headers`](Self::credential_headers),
    /// [`allow_unkeyed_headers`](Self::allow_unkeyed_headers) or
    /// [`refresh_headers`](Self::refresh_headers).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_headers(["authorization"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "unkeyed input")]
    pub fn ignore_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.key.ignored.extend(names);
        sort(&mut self.policy.key.ignored);
        self
    }

    /// Adds a part to the key that is computed from the request, such as a tenant.
    ///
    /// `name` identifies the part, and must be the same in every process. The key for `None`
    /// differs from the key for an empty value. Only a digest of the value enters the key.
    /// [`KeyPart`] has ready-made parts.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Tenant(String);
    ///
    /// let policy = Policy::app().vary_by("tenant", |request| {
    ///     request.extensions.get::<Tenant>().map(|tenant| tenant.0.clone())
    /// });
    /// # let _ = policy;
    /// ```
    #[doc(alias = "tenant")]
    #[doc(alias = "cache key")]
    pub fn vary_by(
        self,
        name: impl Into<String>,
        part: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.vary_by_part(KeyPart::new(name, part))
    }

    /// Adds a [`KeyPart`] to the key, such as a ready-made part or a part that replaces a request
    /// field.
    ///
    /// The order in which parts are added does not change keys. A field that the part replaces is
    /// not removed, even if [`ignore_headers`](Self::ignore_headers) names the field.
    ///
    /// [`build`](Self::build) fails if [`credential_headers`](Self::credential_headers) names a
    /// field that the part replaces.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::key::KeyPart;
    ///
    /// let policy = Policy::app().vary_by_part(KeyPart::language(["en", "de"])?).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn vary_by_part(mut self, part: KeyPart) -> Self {
        let at = self.policy.key.vary_by.partition_point(|known| known.sort_key() <= part.sort_key());
        self.policy.key.vary_by.insert(at, part);
        self
    }

    /// Adds request fields to the key, with their values unchanged.
    ///
    /// Use it for fields that every page depends on, such as `HX-Request`, even if a page's `Vary`
    /// does not name them.
    ///
    /// [`build`](Self::build) fails, in any order of the calls, if
    /// - a name is not a valid field name;
    /// - a field is one that always identifies a visitor: `Cookie`, `Cookie2`, `Authorization` or
    ///   `Proxy-Authorization`. Use [`vary_on_cookies`](Self::vary_on_cookies) or
    ///   [`vary_by_identity`](Self::vary_by_identity) instead;
    /// - a field is also declared as [ignored](Self::ignore_headers) or as a
    ///   [credential](Self::credential_headers).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().vary_on_headers(["hx-request"]).build()?;
    /// # let _ = policy;
    /// assert!(Policy::app().vary_on_headers(["cookie"]).build().is_err());
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn vary_on_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.key.headers.extend(names);
        sort(&mut self.policy.key.headers);
        self
    }

    /// Sets whether responses name the keyed request fields in `Vary` (RFC 9110 section 12.5.5). On
    /// by default.
    ///
    /// These are the fields of [`vary_on_headers`](Self::vary_on_headers), the fields that a
    /// [part](Self::vary_by_part) of the key replaces ([`KeyPart::language`]), and `Cookie` for
    /// [`vary_on_cookies`](Self::vary_on_cookies). `Host` and forwarded fields are not named.
    ///
    /// The outermost cache layer adds the names to the `Vary` of every response. In this cache,
    /// they select no variants, since the fields are in the key. If the option is off, browsers and
    /// CDNs reuse a page for requests that this cache would answer with another page.
    ///
    /// With `Vary: Cookie`, most CDNs store one copy for each value of the whole field, including
    /// session and analytics cookies, or store nothing. Turn the option off if your CDN keys by the
    /// cookies itself.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().vary_on_cookies(["currency"]).emit_vary(false).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn emit_vary(mut self, on: bool) -> Self {
        self.policy.emit_vary = on;
        self
    }

    /// Partitions the cache by visitor identity.
    ///
    /// `identity` derives an ID from the request, typically from an extension set by an outer
    /// authentication layer. A request with an ID does not bypass the cache because of its
    /// credentials or undeclared cookies. Its response is stored for this ID only, even if it is
    /// `private`. Clients receive `Cache-Control: private` unless the response states otherwise. An
    /// empty ID, or `None`, leaves the request anonymous.
    ///
    /// An outer [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) has precedence:
    /// the requests that it identifies bypass this layer, and per-identity entries do not answer
    /// them.
    ///
    /// A response to a request with `Authorization` is stored only if it has `public`, `s-maxage`
    /// or `must-revalidate` (RFC 9111 section 3.5), or `private`: its entry is for one visitor.
    ///
    /// All responses for one visitor must depend on nothing but the key and this ID. Only a digest
    /// of the ID enters the key. `name` identifies the kind of ID, and must be the same in every
    /// process.
    ///
    /// # Security
    /// Keep the layer that authorizes requests outside of this one. A stored page outlives a logout
    /// or a change of permissions, and that layer must refuse it.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct UserId(u64);
    ///
    /// let policy = Policy::app().vary_by_identity("user", |request| {
    ///     request.extensions.get::<UserId>().map(|id| id.0.to_string())
    /// });
    /// # let _ = policy;
    /// ```
    #[doc(alias = "per-user")]
    #[doc(alias = "private cache")]
    #[doc(alias = "session")]
    pub fn vary_by_identity(
        mut self,
        name: impl Into<String>,
        identity: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.identity = Some((name.into(), Arc::new(identity)));
        self
    }

    /// Restricts the cache to requests for these hosts. By default, every host is cached.
    ///
    /// A request for another host, or without a host, bypasses the cache. So clients can't fill the
    /// cache under made-up names. A request also bypasses the cache if a forwarded field names
    /// another host: `Forwarded`, `X-Forwarded-Host`, `X-Host`, `X-Original-URL` or
    /// `X-Rewrite-URL`. A listed host without a port matches all ports.
    ///
    /// [`build`](Self::build) fails if a host is not a name or an address with an optional port.
    /// The name must be in lower case and without a trailing dot.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().hosts(["shop.example", "localhost:3000", "[::1]"]).build()?;
    /// # let _ = policy;
    /// assert!(Policy::app().hosts(["Shop.Example"]).build().is_err());
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "allowed hosts")]
    #[doc(alias = "cache poisoning")]
    pub fn hosts<N: Into<String>>(mut self, hosts: impl IntoIterator<Item = N>) -> Self {
        for host in hosts.into_iter().map(Into::into) {
            match is_canonical_host(&host) {
                true => self.policy.key.hosts.push(host),
                false => self.errors.push(ConfigError::new(ConfigErrorKind::InvalidHost, host)),
            }
        }
        self
    }

    /// Sets whether unkeyed fields are removed from fetches. Off by default.
    ///
    /// With this option, a stored response does not depend on inputs that are not in its key, so
    /// such an input can't poison it.
    ///
    /// These fields are not removed: `Host`, keyed forwarded fields, [keyed
    /// fields](Self::vary_on_headers), [keyed cookies](Self::vary_on_cookies), fields that a
    /// [part](Self::vary_by_part) of the key replaces, [allowed
    /// fields](Self::allow_unkeyed_headers), and the fields of conditional and range requests. If
    /// [`vary_by_identity`](Self::vary_by_identity) finds an ID, fields that identify the visitor
    /// are not removed either.
    ///
    /// With this option, a response is not stored if it names a removed field in `Vary`, or if its
    /// request has `Range`, `If-Range`, `If-Match` or `If-Unmodified-Since`. A request with
    /// `Authorization` or an undeclared cookie bypasses the cache even under
    /// [`rfc9111`](crate::policy::Policy::rfc9111), unless an ID is found.
    ///
    /// [`report_unkeyed_inputs`](Self::report_unkeyed_inputs) shows which fields a site depends on
    /// before you turn this on.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().strip_unkeyed_inputs(true).allow_unkeyed_headers(["traceparent"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "unkeyed input")]
    #[doc(alias = "cache poisoning")]
    pub fn strip_unkeyed_inputs(mut self, on: bool) -> Self {
        self.policy.strips_unkeyed = on;
        self
    }

    /// Adds request fields that [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs) does not
    /// remove, though they are not in the key.
    ///
    /// An example is `traceparent`. The site must ensure that no response depends on these fields.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name, or is also declared by
    /// [`ignore_headers`](Self::ignore_headers) or
    /// [`credential_headers`](Self::credential_headers).
    #[doc(alias = "allowlist")]
    pub fn allow_unkeyed_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.allowed_unkeyed.extend(names);
        sort(&mut self.policy.allowed_unkeyed);
        self
    }

    /// Calls `report` with each field that [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs)
    /// removes from a fetch.
    ///
    /// If that option is off, `report` receives the fields that the option would remove. Use it to
    /// find out which fields a site depends on. Hits are not reported.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().report_unkeyed_inputs(|name| eprintln!("unkeyed field: {name}"));
    /// # let _ = policy;
    /// ```
    #[doc(alias = "unkeyed input")]
    pub fn report_unkeyed_inputs(mut self, report: impl Fn(&HeaderName) + Send + Sync + 'static) -> Self {
        self.policy.predicates.report = Some(Arc::new(report));
        self
    }
}

impl Policy {
    /// Returns `true` if a request field, or a value derived from it, enters the key.
    pub(crate) fn is_keyed(&self, name: &HeaderName) -> bool {
        let by_itself = match role_of(name.as_str()) {
            HeaderRole::Forwarded(_) => !self.key.ignored.contains(name),
            role => role.is_keyed(),
        };
        by_itself || self.key.covers(name) || (*name == COOKIE && !self.cookies.keyed().is_empty())
    }

    /// Returns the names of the request fields that options have added to the key. `Host` and
    /// forwarded fields are left out: they enter the key without an option.
    pub(crate) fn keyed_fields(&self) -> impl Iterator<Item = &HeaderName> {
        let cookie = (!self.cookies.keyed().is_empty()).then_some(&COOKIE);
        self.key.fields().chain(cookie).filter(|name| !role_of(name.as_str()).is_keyed())
    }
}

/// Returns `true` if a host, with or without a port, is in the form in which it enters keys.
fn is_canonical_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let is_name = match address {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b == b':' || plain(b)),
        None => !name.is_empty() && !name.ends_with('.') && name.bytes().all(plain),
    };
    is_name && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn sort(names: &mut Vec<HeaderName>) {
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyBuilder;
    use http::HeaderName;

    #[test]
    fn ignored_forwarded_field_is_not_keyed() {
        let forwarded = HeaderName::from_static("x-forwarded-host");
        let is_keyed = |policy: PolicyBuilder| {
            policy.build().map(|policy| policy.is_keyed(&forwarded)).expect("a policy")
        };
        assert!(is_keyed(Policy::app()));
        assert!(!is_keyed(Policy::app().ignore_headers([&forwarded])));
        let keyed = KeyPart::new("host", |_| None).replacing(forwarded.clone());
        assert!(is_keyed(Policy::app().ignore_headers([&forwarded]).vary_by_part(keyed)));
    }
}
