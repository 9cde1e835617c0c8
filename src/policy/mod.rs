//! What a layer may do: one opaque set of options, shared by the site-wide and the per-route cache.

mod cookies;
mod hints;
mod ttl;

pub(crate) use cookies::CookiePolicy;
pub use hints::CacheHints;
pub use ttl::Ttl;

use crate::error::ConfigError;
use crate::key::{KeyPolicy, QueryKey, RequestHead, VaryBy};
use http::{HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The options of a cache layer.
///
/// How long a response is fresh here is decided by the first that speaks: the handler's own
/// [`CacheHints`], the route's ttl
/// ([`RouteCacheLayer::new`](crate::RouteCacheLayer::new)), `s-maxage`, `max-age`, `Expires`
/// (RFC 9111 section 4.2.1), the [`default_ttl`](Self::default_ttl); if none does, the response is
/// not stored. The route's ttl and the default never override a response that says it may not be
/// reused: `no-store`, `no-cache`, `private`, `max-age=0`, an `Expires` that has passed or can't be read.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Policy;
///
/// let policy = Policy::app().default_ttl(Duration::from_secs(600)).max_body_bytes(1 << 20);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Policy {
    pub(crate) default_ttl: Ttl,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_variants: usize,
    pub(crate) key: KeyPolicy,
    pub(crate) name: Option<String>,
    pub(crate) credentials: Vec<HeaderName>,
    pub(crate) cookies: CookiePolicy,
    pub(crate) cache_status: bool,
    pub(crate) collapse: bool,
    pub(crate) max_wait: Duration,
    pub(crate) sharing: Sharing,
    pub(crate) etags: bool,
}

/// Whose word counts on sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// A request that carries credentials or a cookie is nobody else's business.
    App,
    /// RFC 9111 alone: what an origin marks as shareable is shared, and requests may ask for news.
    Rfc9111,
}

impl Default for Policy {
    fn default() -> Self {
        Self::app()
    }
}

const DEFAULT_MAX_BODY: u64 = 8 << 20;
const DEFAULT_MAX_VARIANTS: usize = 64;
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

impl Policy {
    /// The safe default for a cache in front of an application.
    ///
    /// Requests with `Authorization`, `Cookie` or another credential are neither answered from the
    /// cache nor stored; a visitor's `Cache-Control: no-cache` is ignored, so that nobody can drive
    /// load to the application.
    pub fn app() -> Self {
        Self {
            default_ttl: Ttl::Default,
            max_body_bytes: DEFAULT_MAX_BODY,
            max_variants: DEFAULT_MAX_VARIANTS,
            key: KeyPolicy::default(),
            name: None,
            credentials: Vec::new(),
            cookies: CookiePolicy::default(),
            cache_status: false,
            collapse: true,
            max_wait: DEFAULT_MAX_WAIT,
            sharing: Sharing::App,
            etags: false,
        }
    }

    /// A shared cache that follows RFC 9111 where [`app`](Self::app) is stricter, for use in front
    /// of an origin that sends correct headers.
    ///
    /// Responses to requests with `Authorization` are shared where RFC 9111 section 3.5 lets it
    /// (`public`, `s-maxage`, `must-revalidate`); cookies and other credential headers do not count,
    /// the origin's `Vary` and `private` do; the request directives `no-cache`, `no-store` and
    /// `max-age` and `min-fresh` are honoured; any final status with a lifetime of its own is stored.
    pub fn rfc9111() -> Self {
        Self { sharing: Sharing::Rfc9111, ..Self::app() }
    }

    /// Sets how long a 200 response is fresh that states no lifetime itself. The default is to
    /// store none of these; zero does the same.
    pub fn default_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.default_ttl = ttl.into();
        self
    }

    /// Sets the size in bytes past which a body passes through unrecorded. The default is 8 MiB.
    ///
    /// What the store can't hold is not recorded either, whatever is set here; zero records nothing
    /// but empty bodies.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how many variants (RFC 9111 section 4.1) one URL may have; the oldest goes when there
    /// are more. The default is 64; zero counts as one.
    pub fn max_variants(mut self, most: usize) -> Self {
        self.max_variants = most;
        self
    }

    /// Sets how the query enters the key. The default is [`QueryKey::raw`].
    pub fn query(mut self, query: QueryKey) -> Self {
        self.key.query = query;
        self
    }

    /// Declares request fields that count for nothing: they neither identify a visitor nor enter
    /// the key, and are removed from requests that fill the cache, so that no page depends on them.
    ///
    /// With `Authorization` declared, a bogus one can't make requests to a public site expensive.
    pub fn ignore_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.key.ignored.extend(names);
        self.key.ignored.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.key.ignored.dedup();
        self
    }

    /// Adds request fields that identify a visitor, as `Authorization` does: requests that carry
    /// one bypass the cache.
    pub fn credential_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.credentials.extend(names);
        self
    }

    /// Declares cookies that count for nothing, by name; `*` at the end stands for any ending. They
    /// identify nobody, do not enter the key, and are removed from requests that fill the cache, so
    /// that no page depends on them. A cookie that is declared nowhere makes a request bypass the cache.
    ///
    /// # Errors
    /// If a name can't be that of a cookie, or there is nothing before a `*`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_cookies(["_ga*", "theme"])?.vary_on_cookies(["lang"])?;
    /// # Ok::<_, tower_response_cache::ConfigError>(())
    /// ```
    pub fn ignore_cookies<N: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        self.cookies.ignore(names.into_iter().map(Into::into))?;
        Ok(self)
    }

    /// Declares cookies whose values enter the key, in an order of their own: a language, say. They
    /// identify nobody, and reach the handler alone of all cookies when a request fills the cache.
    ///
    /// # Errors
    /// If a name can't be that of a cookie; patterns are not possible here.
    pub fn vary_on_cookies<N: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        self.cookies.key(names.into_iter().map(Into::into))?;
        Ok(self)
    }

    /// Declares cookies that identify a visitor, whatever else is declared: requests with one bypass
    /// the cache. `*` at the end of a name stands for any ending.
    ///
    /// # Errors
    /// If a name can't be that of a cookie, or there is nothing before a `*`.
    pub fn credential_cookies<N: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConfigError> {
        self.cookies.credentials(names.into_iter().map(Into::into))?;
        Ok(self)
    }

    /// Makes cookies that are declared nowhere count for nothing: only those declared as credentials
    /// identify. They are removed from requests that fill the cache like those declared harmless.
    pub fn ignore_undeclared_cookies(mut self) -> Self {
        self.cookies.ignore_undeclared();
        self
    }

    /// Adds a part to the key, computed from the request: a tenant, say.
    ///
    /// `name` says what the part is, the same in every process. `None` differs from an empty part.
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
        mut self,
        name: impl Into<String>,
        part: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key.vary_by.push(VaryBy::new(name.into(), Arc::new(part)));
        self
    }

    /// Sets the layer's place in the key: the same in every process, different for layers that are
    /// nested in one another, and for applications that share a cache but not their pages (two
    /// listeners of one host, say). The default is `site` for a site-wide and `route` for a per-route cache.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether responses tell, in a `Cache-Status` field (RFC 9211) and a
    /// [`CacheStatus`](crate::CacheStatus) extension, what the cache did. Off by default: whether a
    /// page was visited before is not everybody's business.
    pub fn cache_status(mut self, on: bool) -> Self {
        self.cache_status = on;
        self
    }

    /// Sets whether stored responses that have no `ETag` are given a strong one (RFC 9110 section
    /// 8.8.3), so that clients can ask whether their copy still stands. Off by default.
    ///
    /// It is computed once, frame by frame, while the body streams to the first client, who does not
    /// get it yet; hits have it. [`ConditionalLayer`](crate::ConditionalLayer) does the same for
    /// responses that are not stored.
    pub fn etags(mut self, on: bool) -> Self {
        self.etags = on;
        self
    }

    /// Sets whether concurrent requests for the same thing wait for one call of the service. On by default.
    pub fn collapse(mut self, on: bool) -> Self {
        self.collapse = on;
        self
    }

    /// Sets how long a collapsed request waits, for however many others, before it calls the service
    /// itself. The default is 10 seconds; for some seconds after a wait in vain, requests to the same
    /// key do not wait. Inside a tokio runtime, whose timer has to be enabled; outside of one there is no limit.
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = limit;
        self
    }

    /// Tells whether a status is storable where the response states its own lifetime.
    pub(crate) fn stores_with_lifetime(&self, status: StatusCode) -> bool {
        match self.sharing {
            Sharing::App => matches!(status.as_u16(), 200 | 203 | 301 | 308 | 404 | 410),
            Sharing::Rfc9111 => !status.is_informational(),
        }
    }
}
