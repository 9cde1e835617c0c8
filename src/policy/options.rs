//! The options of a cache layer.

use super::cookies::CookiePolicy;
use super::predicates::Predicates;
use super::ttl::Ttl;
use crate::key::KeyPolicy;
use crate::rules::groups::{TagField, TagFields};
use crate::rules::stale::StaleOverrides;
use http::{Extensions, HeaderName, StatusCode};
use std::any::TypeId;
use std::time::Duration;

/// A type of request extension, and whether a request has one.
pub(crate) type KnownExtension = (TypeId, fn(&Extensions) -> bool);

/// The options of a cache layer.
///
/// How long a response is fresh here is decided by the first that speaks: the handler's own
/// [`CacheHints`](super::CacheHints), the route's ttl
/// ([`RouteCacheLayer::new`](crate::response_cache::RouteCacheLayer::new)), a [targeted field](super::PolicyBuilder::targeted_fields)
/// (RFC 9213), `s-maxage`, `max-age`, `Expires` (RFC 9111 section 4.2.1), the
/// [`default_ttl`](super::PolicyBuilder::default_ttl), a [heuristic](super::PolicyBuilder::heuristic_freshness); if none does, the response is not stored. How long clients may
/// use it is another matter, which [`client_max_age`](super::PolicyBuilder::client_max_age) sets. The route's ttl and the default never override a response that says it may not be
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
    /// The names of cookies that stored responses may set.
    pub(crate) response_cookies: Vec<String>,
    /// The longest heuristic lifetime, where there is one.
    pub(crate) heuristic: Option<Duration>,
    pub(crate) share_set_cookie: bool,
    pub(crate) cache_status: bool,
    pub(crate) cache_status_key: bool,
    pub(crate) collapse: bool,
    pub(crate) collapse_timeout: Duration,
    pub(crate) sharing: Sharing,
    pub(crate) etags: bool,
    pub(crate) strong_etags: bool,
    /// Whether clients are told what pages are keyed by.
    pub(crate) emit_vary: bool,
    pub(crate) client_max_age: Option<Duration>,
    /// Fields that outrank `Cache-Control`, the first one most.
    pub(crate) targets: Vec<HeaderName>,
    /// Response fields that are not stored.
    pub(crate) unstored: Vec<HeaderName>,
    /// Whether fetches carry no unkeyed fields.
    pub(crate) strips_unkeyed: bool,
    /// The unkeyed fields that fetches carry nevertheless; sorted.
    pub(crate) allowed_unkeyed: Vec<HeaderName>,
    pub(crate) predicates: Predicates,
    pub(crate) stale: StaleOverrides,
    pub(crate) origin_timeout: Option<Duration>,
    pub(crate) negative: Vec<(StatusCode, Duration)>,
    /// The `beta` of XFetch.
    pub(crate) early_refresh: Option<f64>,
    /// The share of a lifetime that is left to chance.
    pub(crate) jitter: f64,
    pub(crate) max_followers: usize,
    /// How long a call goes on without its client, if it does.
    pub(crate) complete_after_disconnect: Option<Duration>,
    /// The unkeyed fields that background refreshes carry besides.
    pub(crate) refresh_headers: Vec<HeaderName>,
    /// Extensions that keep no refresh from being made in the background.
    pub(crate) known_extensions: Vec<KnownExtension>,
    /// Whether the target of a redirect after a write is invalidated.
    pub(crate) redirects_invalidate: bool,
    /// The fields that say which tags a response has, and those that clients are told them in, where that
    /// is not as the response has it.
    pub(crate) tags_read: TagFields,
    pub(crate) tags_told: Option<TagFields>,
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
    /// The preset [`app`](crate::policy::Policy::app).
    fn default() -> Self {
        Self {
            default_ttl: Ttl::Default,
            max_body_bytes: DEFAULT_MAX_BODY,
            max_variants: DEFAULT_MAX_VARIANTS,
            key: KeyPolicy::default(),
            name: None,
            credentials: Vec::new(),
            cookies: CookiePolicy::default(),
            response_cookies: Vec::new(),
            heuristic: None,
            share_set_cookie: false,
            cache_status: false,
            cache_status_key: false,
            collapse: true,
            collapse_timeout: DEFAULT_MAX_WAIT,
            sharing: Sharing::App,
            etags: false,
            strong_etags: false,
            emit_vary: true,
            client_max_age: None,
            targets: Vec::new(),
            unstored: Vec::new(),
            strips_unkeyed: false,
            allowed_unkeyed: Vec::new(),
            predicates: Predicates::default(),
            stale: StaleOverrides::default(),
            origin_timeout: None,
            negative: Vec::new(),
            early_refresh: None,
            jitter: 0.0,
            max_followers: DEFAULT_MAX_WAITERS,
            complete_after_disconnect: None,
            refresh_headers: Vec::new(),
            known_extensions: Vec::new(),
            redirects_invalidate: true,
            tags_read: TagFields::from_iter([TagField::CacheGroups]),
            tags_told: None,
        }
    }
}

const DEFAULT_MAX_BODY: u64 = 8 << 20;
const DEFAULT_MAX_VARIANTS: usize = 64;
const DEFAULT_MAX_WAITERS: usize = 10_000;
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

impl Policy {
    /// Returns `true` if a status is storable where the response states its own lifetime.
    pub(crate) fn stores_with_lifetime(&self, status: StatusCode) -> bool {
        match self.sharing {
            _ if self.negative(status).is_some() => true,
            Sharing::App => matches!(status.as_u16(), 200 | 203 | 301 | 308 | 404 | 410),
            Sharing::Rfc9111 => !status.is_informational(),
        }
    }
}
