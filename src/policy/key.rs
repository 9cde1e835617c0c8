//! The options that decide what enters the key, and what a fill may have besides.

use super::request_fields::meaning;
use super::{Policy, PolicyBuilder};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::key::{KeyPart, QueryKey, RequestHead};
use http::HeaderName;
use http::header::COOKIE;
use std::sync::Arc;

impl PolicyBuilder {
    /// Sets how the query enters the key. The default is [`QueryKey::raw`].
    pub fn query(mut self, query: QueryKey) -> Self {
        self.policy.key.query = query;
        self
    }

    /// Declares request fields that count for nothing: they neither identify a visitor nor enter
    /// the key, and are removed from requests that fill the cache, so that no page depends on them.
    /// In a response, these fields do not count as credentials.
    ///
    /// With `Authorization` declared, a bogus one can't make requests to a public site expensive.
    ///
    /// A field that is [keyed](Self::vary_on_headers), or that a [part](Self::vary_by_part) of the key stands for, stays
    /// so: this option does not apply to it.
    pub fn ignore_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        let names = names.into_iter().filter(|name| !self.policy.key.covers(name));
        self.policy.key.ignored.extend(names.collect::<Vec<_>>());
        sort(&mut self.policy.key.ignored);
        self
    }

    /// Adds a part to the key, computed from the request: a tenant, say.
    ///
    /// `name` says what the part is, the same in every process. `None` differs from an empty part. Only a digest of the
    /// value enters the key.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Tenant(String);
    ///
    /// let policy = Policy::app().vary_by("tenant", |request| {
    ///     request.extensions.get::<Tenant>().map(|tenant| tenant.0.clone())
    /// });
    /// ```
    pub fn vary_by(
        self,
        name: impl Into<String>,
        part: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.vary_by_part(KeyPart::new(name, part))
    }

    /// Adds a part to the key: a ready-made one, or one that stands for a request field.
    ///
    /// The order in which parts are added makes no other keys.
    pub fn vary_by_part(mut self, part: KeyPart) -> Self {
        self.policy.key.ignored.retain(|name| part.replaced() != Some(name));
        let at = self.policy.key.vary_by.partition_point(|known| known.sorting() <= part.sorting());
        self.policy.key.vary_by.insert(at, part);
        self
    }

    /// Adds request fields to the key, as they are sent: what every page here depends on, whether or not
    /// its `Vary` says so (`HX-Request`, say).
    ///
    /// [`build`](Self::build) fails if one may hold what identifies a visitor (`Cookie`, `Authorization` and the like), which should be
    /// in no key: see [`vary_on_cookies`](Self::vary_on_cookies), [`vary_by_identity`](Self::vary_by_identity). If one is
    /// declared as [ignored](Self::ignore_headers) or as a [credential](Self::credential_headers).
    pub fn vary_on_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        for name in self.field_names(names) {
            let policy = &self.policy;
            if is_secret(&name) || policy.credentials.contains(&name) || policy.key.ignored.contains(&name) {
                self.errors.push(ConfigError::new(ConfigErrorKind::Contradiction, name));
            } else {
                self.policy.key.headers.push(name);
            }
        }
        sort(&mut self.policy.key.headers);
        self
    }

    /// Sets whether responses name, in `Vary`, the request fields that pages are keyed by: those of
    /// [`vary_on_headers`](Self::vary_on_headers), those that a [part](Self::vary_by_part) of the key stands for
    /// ([`KeyPart::language`]), and `Cookie` for [`vary_on_cookies`](Self::vary_on_cookies). On by default.
    ///
    /// Without it, browsers and CDNs reuse a page for requests that this cache would answer with another one. The field
    /// is added to every response that leaves the outermost cache layer; the cache selects no variants by it. `Host` and
    /// forwarded fields are not named.
    ///
    /// `Vary: Cookie` makes most CDNs useless for a page: they store a copy for each value of the whole field, session
    /// and analytics cookies included, or none at all. Turn the option off if a CDN keys by the cookies itself, or is
    /// not in use.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().vary_on_cookies(["currency"]).emit_vary(false);
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn emit_vary(mut self, on: bool) -> Self {
        self.policy.emit_vary = on;
        self
    }

    /// Adds who the sender is to the key: a cache of each visitor's own.
    ///
    /// Where `identity` returns something (a user's id, out of what an authentication layer further out
    /// left in the request's extensions), credentials and undeclared cookies do not make the request
    /// bypass the cache: what it brings is stored for that identity alone, `private` or not, and told to be
    /// `private` to others unless it says otherwise. Requests without an identity are treated as ever. Of
    /// what came with `Authorization`, only that is stored which says who may: `public`, `s-maxage`,
    /// `must-revalidate` (RFC 9111 section 3.5), or `private`.
    ///
    /// The identity has to stand for all that the pages of one visitor depend on. Only a digest of it is
    /// part of the key. Have the layer that decides on access further out than the cache: after a log-out
    /// or a change of permissions, it has to refuse what is still stored.
    ///
    /// `name` says what identifies, the same in every process. An empty identity is none.
    pub fn vary_by_identity(
        mut self,
        name: impl Into<String>,
        identity: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.identity = Some((name.into(), Arc::new(identity)));
        self
    }

    /// Lists the hosts that have pages here: requests for others bypass the cache, so that nobody can fill
    /// it under names of their own; so do requests in which a forwarded field (`Forwarded`, `X-Forwarded-Host`, `X-Host`,
    /// `X-Original-URL`, `X-Rewrite-URL`) names another host. A host without a port stands for all its ports.
    ///
    /// [`build`](Self::build) fails if one is empty, or not spelt as it enters the key: in lower case, without a trailing dot.
    pub fn hosts<N: Into<String>>(mut self, hosts: impl IntoIterator<Item = N>) -> Self {
        for host in hosts.into_iter().map(Into::into) {
            match is_canonical_host(&host) {
                true => self.policy.key.hosts.push(host),
                false => self.errors.push(ConfigError::new(ConfigErrorKind::InvalidHost, host)),
            }
        }
        self
    }

    /// Sets whether the request of a fetch loses all fields that are not in the key. Off by default.
    ///
    /// No stored response can then depend on an unkeyed field, or be poisoned by one. These fields stay: `Host`, keyed fields of
    /// proxies, [keyed cookies](Self::vary_on_cookies), [keyed fields](Self::vary_on_headers), fields that a
    /// [part](Self::vary_by_part) of the key stands for, and [allowed fields](Self::allow_unkeyed_headers).
    ///
    /// A response that names a removed field in `Vary` is not stored. A response to a request with a range or a precondition is
    /// not stored either. A request with `Authorization` bypasses the cache under every preset.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().strip_unkeyed_inputs(true).allow_unkeyed_headers(["traceparent"]).build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn strip_unkeyed_inputs(mut self, on: bool) -> Self {
        self.policy.strips_unkeyed = on;
        self
    }

    /// Adds request fields that reach the service under [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs) though they are not in
    /// the key, such as `traceparent`. No response may depend on them.
    ///
    /// [`build`](Self::build) fails if a name is not that of a field.
    pub fn allow_unkeyed_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.allowed_unkeyed.extend(names);
        sort(&mut self.policy.allowed_unkeyed);
        self
    }

    /// Reports each field that [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs) would remove from a request
    /// that fills the cache, whether or not it does: to find out what a site depends on.
    pub fn report_unkeyed_inputs(mut self, report: impl Fn(&HeaderName) + Send + Sync + 'static) -> Self {
        self.policy.predicates.report = Some(Arc::new(report));
        self
    }
}

impl Policy {
    /// Returns `true` if the lines of a request field, or what the key takes from them, enter the key.
    pub(crate) fn is_keyed(&self, name: &HeaderName) -> bool {
        meaning(name.as_str()).is_keyed()
            || self.key.covers(name)
            || (*name == COOKIE && !self.cookies.keyed().is_empty())
    }

    /// Returns the names of the keyed request fields, other than `Host` and those of proxies, which are in every key.
    pub(crate) fn keyed_fields(&self) -> impl Iterator<Item = &HeaderName> {
        let cookie = (!self.cookies.keyed().is_empty()).then_some(&COOKIE);
        self.key.fields().chain(cookie).filter(|name| !meaning(name.as_str()).is_keyed())
    }
}

/// Returns `true` if a host, with a port or without, is spelt as hosts are in keys.
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

/// Returns `true` if a field may hold a secret of a visitor's.
fn is_secret(name: &HeaderName) -> bool {
    matches!(name.as_str(), "cookie" | "cookie2" | "authorization" | "proxy-authorization")
}

fn sort(names: &mut Vec<HeaderName>) {
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
}
