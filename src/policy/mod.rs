//! What a layer may do: one opaque set of options, shared by the site-wide and the per-route cache.

mod builder;
mod cookies;
mod etags;
mod hints;
mod key;
mod lifetimes;
mod origin;
mod predicates;
mod preset;
pub(crate) mod request_fields;
mod sharing;
mod tags;
mod ttl;
mod writes;

pub use builder::PolicyBuilder;
pub(crate) use cookies::{CookiePolicy, Cookies, cookie_names, sets_only};
pub use hints::CacheHints;
pub use ttl::Ttl;

use crate::key::KeyPolicy;
use crate::rules::client::CDN_CACHE_CONTROL;
use crate::rules::groups::{TagField, TagFields};
use crate::rules::stale::StaleOverrides;
use http::{Extensions, HeaderName, StatusCode};
use predicates::Predicates;
use std::any::TypeId;
use std::time::Duration;

/// A type of request extension, and whether a request has one.
pub(crate) type KnownExtension = (TypeId, fn(&Extensions) -> bool);

/// The options of a cache layer.
///
/// How long a response is fresh here is decided by the first that speaks: the handler's own
/// [`CacheHints`], the route's ttl
/// ([`RouteCacheLayer::new`](crate::RouteCacheLayer::new)), a [targeted field](PolicyBuilder::targeted_fields)
/// (RFC 9213), `s-maxage`, `max-age`, `Expires` (RFC 9111 section 4.2.1), the
/// [`default_ttl`](PolicyBuilder::default_ttl), a [heuristic](PolicyBuilder::heuristic_freshness); if none does, the response is not stored. How long clients may
/// use it is another matter, which [`client_max_age`](PolicyBuilder::client_max_age) sets. The route's ttl and the default never override a response that says it may not be
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
    /// The unkeyed fields that a fill may have, where it may not have them all.
    pub(crate) allowed: Option<Vec<HeaderName>>,
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
    /// The preset [`app`](Self::app).
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
            allowed: None,
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
const LONGEST_HEURISTIC: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_MAX_VARIANTS: usize = 64;
const DEFAULT_MAX_WAITERS: usize = 10_000;
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

impl PolicyBuilder {
    /// Sets whether a response that sets a cookie is stored, and everybody given that cookie, where it says itself
    /// how long it is fresh (RFC 9111 section 7.3). Off by default, and for [`rfc9111`](Self::rfc9111) alone: in
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
    /// [`CacheStatus`](crate::CacheStatus) extension, what the cache did. Off by default: whether a
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

impl Policy {
    /// The safe default for a cache in front of an application.
    ///
    /// Requests with `Authorization`, `Cookie` or another credential are neither answered from the
    /// cache nor stored; a visitor's `Cache-Control: no-cache` is ignored, so that nobody can drive
    /// load to the application.
    pub fn app() -> PolicyBuilder {
        PolicyBuilder::from(Self::default())
    }

    /// A shared cache that follows RFC 9111 where [`app`](Self::app) is stricter, for use in front
    /// of an origin that sends correct headers.
    ///
    /// Responses to requests with `Authorization` are shared where RFC 9111 section 3.5 lets it
    /// (`public`, `s-maxage`, `must-revalidate`); cookies (unless [any are declared](PolicyBuilder::vary_on_cookies), or
    /// an [`AnonymousOnlyLayer`](crate::AnonymousOnlyLayer) stands further out) and other credential headers do
    /// not count, the origin's `Vary` and `private` do; the request directives `no-cache`, `no-store` and
    /// `max-age`, `min-fresh`, `max-stale` and `only-if-cached` are honoured; any final status with a lifetime of
    /// its own is stored (but for 206, 304, 407, 412, 413, 416, 417 and 431, which are about one request), so is the
    /// response to a POST that says that it is what is at its target now (RFC 9110 section 9.3.3); the answer to a HEAD
    /// updates what is stored (section 4.3.5). `must-understand` counts, and `CDN-Cache-Control` (RFC 9213 section 3.1) outranks
    /// `Cache-Control`. What states no lifetime has a [heuristic one](PolicyBuilder::heuristic_freshness) of a day at most.
    ///
    /// Variants are the same whose `Accept-Language`, `-Encoding` or `-Charset` mean the same (section 4.1). What a client
    /// says for its connection alone (RFC 9110 section 7.6.1) a proxy has to take off before this layer, as the example
    /// `reverse_proxy` does: what its origin does not get must not choose what is stored. As under [`app`](Self::app),
    /// what proxies say of a target ([forwarded fields](crate::SiteCacheLayer#forwarded-fields)) is part of the key, and
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

    /// Tells whether a status is storable where the response states its own lifetime.
    pub(crate) fn stores_with_lifetime(&self, status: StatusCode) -> bool {
        match self.sharing {
            _ if self.negative(status).is_some() => true,
            Sharing::App => matches!(status.as_u16(), 200 | 203 | 301 | 308 | 404 | 410),
            Sharing::Rfc9111 => !status.is_informational(),
        }
    }
}
