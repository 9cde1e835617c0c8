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

/// A type of request extension, and a function that returns `true` if a request has an extension of
/// this type.
pub(crate) type KnownExtension = (TypeId, fn(&Extensions) -> bool);

/// The options of a cache layer.
///
/// The presets [`Policy::app`] and [`Policy::rfc9111`] return a
/// [`PolicyBuilder`](super::PolicyBuilder), which builds a policy.
///
/// # Freshness lifetime
/// The first source that sets a lifetime decides how long a response is fresh in this layer.
/// [Lifetimes](crate::docs::lifetimes#which-lifetime-counts) lists the sources in their order of
/// precedence, from the handler's hints to a heuristic. If no source sets a lifetime, the response
/// is not stored.
///
/// A response may forbid its reuse by `no-cache`, `private`, `max-age=0`, or an `Expires` that has
/// passed or can't be read. Only [hints](super::CacheHints::ttl) override these. [Per-identity
/// entries](super::PolicyBuilder::vary_by_identity) may be `private`. Nothing overrides `no-store`.
///
/// The lifetime that clients receive is separate: see
/// [`client_max_age`](super::PolicyBuilder::client_max_age).
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
///
/// let policy = Policy::app().default_ttl(Duration::from_secs(600)).max_body_bytes(1 << 20).build()?;
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let layer = SiteCacheLayer::new(&cache).policy(policy);
/// # let _ = layer;
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[doc(alias = "settings")]
#[doc(alias = "configuration")]
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
    /// Patterns of cookie names. A response that sets only such cookies is stored, without
    /// `Set-Cookie`.
    pub(crate) response_cookies: Vec<String>,
    /// The longest heuristic lifetime; `None` turns heuristics off.
    pub(crate) heuristic: Option<Duration>,
    pub(crate) share_set_cookie: bool,
    pub(crate) cache_status: bool,
    pub(crate) cache_status_key: bool,
    /// Whether responses get a `CacheStatus` extension.
    pub(crate) status_extension: bool,
    pub(crate) collapse: bool,
    pub(crate) collapse_timeout: Duration,
    pub(crate) sharing: Sharing,
    pub(crate) etags: bool,
    pub(crate) strong_etags: bool,
    /// Whether responses name the keyed request fields in `Vary`.
    pub(crate) emit_vary: bool,
    pub(crate) client_max_age: Option<Duration>,
    /// The targeted fields (RFC 9213) that the layer honors, in order of precedence.
    pub(crate) targets: Vec<HeaderName>,
    /// Response fields that are not stored, in addition to the fields that this crate never stores.
    pub(crate) unstored_headers: Vec<HeaderName>,
    /// Whether unkeyed fields are removed from fetches.
    pub(crate) strips_unkeyed: bool,
    /// The unkeyed fields that are not removed, sorted.
    pub(crate) allowed_unkeyed: Vec<HeaderName>,
    pub(crate) predicates: Predicates,
    pub(crate) stale: StaleOverrides,
    pub(crate) origin_timeout: Option<Duration>,
    pub(crate) negative: Vec<(StatusCode, Duration)>,
    /// The `beta` of XFetch; `None` turns early refresh off.
    pub(crate) early_refresh: Option<f64>,
    /// The largest share of a lifetime that jitter removes, from 0 to 1.
    pub(crate) jitter: f64,
    pub(crate) max_followers: usize,
    /// How long a fetch continues after its client has disconnected; `None` cancels it.
    pub(crate) complete_after_disconnect: Option<Duration>,
    /// Request fields that background refreshes carry in addition to the fields that every refresh
    /// carries.
    pub(crate) refresh_headers: Vec<HeaderName>,
    /// The types of request extensions that do not depend on the visitor (`refresh_with`).
    pub(crate) known_extensions: Vec<KnownExtension>,
    /// Whether a write that is answered with a 302 or 303 invalidates the page in `Location`.
    pub(crate) redirects_invalidate: bool,
    /// The response fields that tags are read from.
    pub(crate) tag_fields_read: TagFields,
    /// The response fields that tags are written to; `None` leaves the fields of the response
    /// unchanged.
    pub(crate) tag_fields_emitted: Option<TagFields>,
}

/// Which responses are shared between visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Only anonymous requests share responses: a credential or an undeclared cookie bypasses the
    /// cache.
    App,
    /// The rules of RFC 9111 decide: responses are shared if the origin's fields allow it, and
    /// request directives are honored.
    Rfc9111,
}

impl Default for Policy {
    /// Returns the options of the preset [`app`](crate::policy::Policy::app).
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
            status_extension: true,
            collapse: true,
            collapse_timeout: DEFAULT_MAX_WAIT,
            sharing: Sharing::App,
            etags: false,
            strong_etags: false,
            emit_vary: true,
            client_max_age: None,
            targets: Vec::new(),
            unstored_headers: Vec::new(),
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
            tag_fields_read: TagFields::from_iter([TagField::CacheGroups]),
            tag_fields_emitted: None,
        }
    }
}

const DEFAULT_MAX_BODY: u64 = 8 << 20;
const DEFAULT_MAX_VARIANTS: usize = 64;
const DEFAULT_MAX_WAITERS: usize = 10_000;
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

impl Policy {
    /// Returns `true` if a response with this status and an explicit lifetime may be stored.
    ///
    /// Statuses that concern one request, such as 206, are refused by
    /// [`storable`](crate::rules::storability::storable).
    pub(crate) fn stores_with_lifetime(&self, status: StatusCode) -> bool {
        match self.sharing {
            _ if self.negative(status).is_some() => true,
            Sharing::App => matches!(status.as_u16(), 200 | 203 | 301 | 308 | 404 | 410),
            Sharing::Rfc9111 => !status.is_informational(),
        }
    }
}
