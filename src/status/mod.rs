//! The outcome of a request in a cache layer, as `Cache-Status` parameters (RFC 9211).

mod detail;
#[cfg(feature = "tracing")]
mod event_target;
mod guide;
mod meanings;
#[cfg(feature = "tracing")]
mod span_fields;

pub(crate) use detail::{Detail, FieldName};
#[cfg(feature = "tracing")]
pub use event_target::EVENT_TARGET;
pub(crate) use guide::guide_page;
#[cfg(feature = "testing")]
pub(crate) use meanings::has_meaning;
pub(crate) use meanings::{detail_meaning, forward_meaning};

use crate::rules::list::elements;
use crate::rules::storability::NotStorable;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use sfv::{List, Parser};
use std::fmt::{self, Write};
use std::time::Duration;

/// A response extension that reports how a cache layer handled the request.
///
/// Cache layers add it to every response, unless
/// [`PolicyBuilder::status_extension`](crate::policy::PolicyBuilder::status_extension) is off. If
/// cache layers are nested, the outer layer's status replaces the inner layer's, unless the outer
/// layer left the request to the inner one. The same facts are in the response's `Cache-Status`
/// field (RFC 9211), if [`PolicyBuilder::cache_status`](crate::policy::PolicyBuilder::cache_status)
/// is on.
///
/// # Access logs
/// `Display` writes the parameters of the field, such as `hit; ttl=597` or
/// `fwd=bypass; fwd-status=200; detail=cookie`. Read the extension in a layer outside the cache
/// layer:
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_http::trace::TraceLayer;
/// use tower_response_cache::{Cache, CacheStatus, MemoryStore, RouteCacheLayer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Infallible> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let access_log = TraceLayer::new_for_http().on_response(
///     |response: &Response<_>, latency: Duration, _: &tracing::Span| {
///         let status = response.extensions().get::<CacheStatus>().map(tracing::field::display);
///         tracing::info!(code = response.status().as_u16(), ?latency, cache = status, "answered");
///     },
/// );
/// let page = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(Full::from("hello"))) });
/// let service = ServiceBuilder::new()
///     .layer(access_log)
///     .layer(RouteCacheLayer::new(&cache, Duration::from_secs(60)))
///     .service(page);
///
/// let response = service.oneshot(Request::new(String::new())).await?;
/// let status = response.extensions().get::<CacheStatus>().map(ToString::to_string);
/// assert_eq!(status.as_deref(), Some("fwd=uri-miss; fwd-status=200; stored; ttl=60"));
/// # Ok(()) }
/// ```
#[doc = include_str!("details.md")]
#[doc(alias = "X-Cache")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    outcome: StatusOutcome,
    forward_status: Option<StatusCode>,
    stored: bool,
    collapsed: Option<bool>,
    ttl: Option<i64>,
    detail: Option<Detail>,
}

/// A request extension that this crate adds to the requests with which it warms a cache. Their
/// responses get a [`CacheStatus`] extension, even if the policy adds none. The `Cache-Status`
/// field still depends on the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantsStatus;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusOutcome {
    Hit,
    Forward(ForwardReason),
    /// The cache itself made the answer, without a stored response and without the service. For
    /// example, it answers `only-if-cached` with a 504.
    Refused,
}

/// Why a request was forwarded to the service (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // The IANA registry of RFC 9211 may grow.
pub enum ForwardReason {
    /// The layer is configured not to handle this request, or cannot handle it.
    Bypass,
    /// The method requires forwarding: it is neither GET nor HEAD.
    Method,
    /// No response is stored for the URI.
    UriMiss,
    /// A response is stored for the URI, but it was selected by other request fields (`Vary`).
    VaryMiss,
    /// The request's own directives or preconditions require forwarding.
    Request,
    /// The stored response is stale, or was invalidated.
    Stale,
}

impl ForwardReason {
    /// Returns the token of the `fwd` parameter, such as `uri-miss`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// The reason why a request is forwarded, with an optional detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) forward: ForwardReason,
    pub(crate) detail: Option<Detail>,
}

impl Reason {
    pub(crate) const fn new(forward: ForwardReason, detail: Detail) -> Self {
        Self { forward, detail: Some(detail) }
    }

    /// Returns the reason for a request that bypasses the cache.
    pub(crate) const fn bypass(detail: Detail) -> Self {
        Self::new(ForwardReason::Bypass, detail)
    }
}

impl From<ForwardReason> for Reason {
    fn from(forward: ForwardReason) -> Self {
        Self { forward, detail: None }
    }
}

impl From<NotStorable> for Detail {
    fn from(why: NotStorable) -> Self {
        match why {
            NotStorable::Status => Self::Status,
            NotStorable::MustUnderstand => Self::MustUnderstand,
            NotStorable::Partial => Self::Partial,
            NotStorable::NoStore => Self::NoStore,
            NotStorable::NoCache => Self::NoCache,
            NotStorable::Private => Self::Private,
            NotStorable::SetCookie => Self::SetCookie,
            NotStorable::VaryAny => Self::VaryAny,
            NotStorable::Authorization => Self::Authorization,
            NotStorable::ContentLength => Self::ContentLength,
            NotStorable::EventStream => Self::EventStream,
        }
    }
}

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The name of this cache in `Cache-Status`.
pub(crate) const NAME: &str = "tower-response-cache";

impl CacheStatus {
    const fn new(outcome: StatusOutcome) -> Self {
        Self { outcome, forward_status: None, stored: false, collapsed: None, ttl: None, detail: None }
    }

    /// Creates the status of a hit on a response that stays fresh for `ttl`.
    pub(crate) fn hit(ttl: Duration) -> Self {
        Self::new(StatusOutcome::Hit).ttl(ttl)
    }

    /// Creates the status of a hit on a response that has been stale for `since`.
    pub(crate) fn stale_hit(since: Duration) -> Self {
        Self::new(StatusOutcome::Hit).stale_for(since).detail(Detail::Stale)
    }

    pub(crate) fn forward(reason: impl Into<Reason>) -> Self {
        let Reason { forward, detail } = reason.into();
        Self { detail, ..Self::new(StatusOutcome::Forward(forward)) }
    }

    /// Creates the status of an answer that the cache itself makes, without a stored response and
    /// without the service.
    pub(crate) fn refused(detail: Detail) -> Self {
        Self::new(StatusOutcome::Refused).detail(detail)
    }

    pub(crate) fn stored(self) -> Self {
        Self { stored: true, ..self }
    }

    /// Sets `collapsed`: `true` if a follower was answered with the leader's response, `false` if
    /// it had to forward its own request.
    pub(crate) fn collapsed(self, with_success: bool) -> Self {
        Self { collapsed: Some(with_success), ..self }
    }

    pub(crate) fn detail(self, detail: impl Into<Detail>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(crate) fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)), ..self }
    }

    /// Sets `ttl` for a response that has been stale for `since`: zero, or a negative number of
    /// seconds (RFC 9211 section 2.4).
    pub(crate) fn stale_for(self, since: Duration) -> Self {
        let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self { ttl: Some(since.saturating_neg()), ..self }
    }

    /// Sets `fwd-status`, the status code of the service's response (RFC 9211 section 2.3).
    pub(crate) fn with_response_code(self, status: StatusCode) -> Self {
        Self { forward_status: Some(status), ..self }
    }

    /// Returns `true` if the response was served from the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.outcome == StatusOutcome::Hit
    }

    /// Returns the reason why the request was forwarded.
    ///
    /// Returns `None` for a hit, and for an answer that the cache itself makes, such as a 504 to
    /// `only-if-cached`. For a follower that was answered with the leader's response, the reason is
    /// why its own request would have been forwarded.
    #[must_use]
    pub fn forward_reason(&self) -> Option<ForwardReason> {
        match self.outcome {
            StatusOutcome::Hit | StatusOutcome::Refused => None,
            StatusOutcome::Forward(reason) => Some(reason),
        }
    }

    /// Returns the status that the service answered with, if it was called and answered.
    ///
    /// The client may get a different status. After a 304 that revalidates a stored response, the
    /// client gets that response. After an error such as a 503, it may get a stale response.
    #[must_use]
    pub fn forward_status(&self) -> Option<StatusCode> {
        self.forward_status
    }

    /// Returns `true` if the cache began to store the response of the service.
    ///
    /// Storing can still fail later. Examples are a body that fails, exceeds the size limit or has
    /// trailers, a store that fails, and an invalidation before the body ends.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Returns `true` if the request was a follower that was answered with the leader's response.
    #[must_use]
    pub fn is_collapsed(&self) -> bool {
        self.collapsed == Some(true)
    }

    /// Returns the remaining freshness lifetime in seconds; negative if the response is stale.
    ///
    /// Returns `None` if no response is stored.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<i64> {
        self.ttl
    }

    /// Returns the `detail` parameter, which explains the outcome. For example, it is the reason
    /// why the request bypassed the cache, or why the response is not stored. The tables of
    /// [`CacheStatus`] list all values.
    ///
    /// Some fields count as credentials because their names contain a typical word, such as
    /// `X-Acme-Session`. For such a field, this method returns `credentials`. `Cache-Status`
    /// contains the field's name instead.
    #[must_use]
    pub fn detail_word(&self) -> Option<&'static str> {
        self.detail.map(Detail::as_str)
    }

    /// Returns the `detail` parameter.
    pub(crate) fn detail_value(&self) -> Option<Detail> {
        self.detail
    }

    /// Returns `true` if this layer has left the request to inner cache layers: one of them has handled
    /// it, or the reason of the bypass holds for this layer alone.
    pub(crate) fn leaves_to_inner_layers(&self) -> bool {
        let is_bypass = self.outcome == StatusOutcome::Forward(ForwardReason::Bypass);
        self.detail
            .is_some_and(|why| why == Detail::HandledByInner || (is_bypass && !why.excludes_every_layer()))
    }

    /// Returns the status with the detail `invalidation-queued`, if an invalidation is queued.
    pub(crate) fn with_queued_invalidation(self, is_queued: bool) -> Self {
        if is_queued { self.detail(Detail::InvalidationQueued) } else { self }
    }

    /// Appends this status behind the members of inner caches (RFC 9211 section 2).
    pub(crate) fn write(&self, headers: &mut HeaderMap, key: Option<&str>) {
        // RFC 9651 section 4.2: one malformed member invalidates the whole list, including the
        // member of this cache.
        if headers.contains_key(CACHE_STATUS) && !is_list(headers) {
            headers.remove(CACHE_STATUS);
        }
        // If the header map is full, no status is added.
        let _ = headers.try_append(CACHE_STATUS, self.to_value(key));
    }

    /// Replaces this status by `by` in the extensions, and in the field if `is_emitted`. If the
    /// field has several equal members, replaces the last one: an upstream cache may have written
    /// the earlier ones.
    pub(crate) fn replace<B>(
        self,
        response: &mut Response<B>,
        by: Self,
        key: Option<&str>,
        is_emitted: bool,
    ) {
        if is_emitted {
            self.replace_in(response.headers_mut(), &by.to_value(key), key);
        }
        if response.extensions().get() == Some(&self) {
            response.extensions_mut().insert(by);
        }
    }

    fn replace_in(self, headers: &mut HeaderMap, by: &HeaderValue, key: Option<&str>) {
        let said = self.to_value(key);
        let mut is_replaced = false;
        let mut lines = Vec::new();
        for line in headers.get_all(CACHE_STATUS).iter().rev() {
            let mut members: Vec<_> = elements(line.as_bytes()).collect();
            let member = members.iter_mut().rev().find(|member| **member == said.as_bytes());
            if let (false, Some(member)) = (is_replaced, member) {
                is_replaced = true;
                *member = by.as_bytes();
                // Joining members of a list yields a valid field value.
                lines.push(HeaderValue::from_bytes(&members.join(&b", "[..])).unwrap_or_else(|_| by.clone()));
            } else {
                lines.push(line.clone());
            }
        }
        if is_replaced {
            headers.remove(CACHE_STATUS);
            for line in lines.into_iter().rev() {
                let _ = headers.try_append(CACHE_STATUS, line);
            }
        }
    }

    /// Returns this status as a member of the `Cache-Status` list.
    pub(crate) fn to_value(self, key: Option<&str>) -> HeaderValue {
        let mut text = String::from(NAME);
        // Writing to a string does not fail.
        let _ = self.write_parameters(&mut text, "; ", key);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(NAME))
    }

    /// Writes the parameters. `separator` precedes the first one.
    fn write_parameters(
        self,
        to: &mut impl Write,
        mut separator: &'static str,
        key: Option<&str>,
    ) -> fmt::Result {
        let mut separator = || std::mem::replace(&mut separator, "; ");
        match self.outcome {
            StatusOutcome::Hit => write!(to, "{}hit", separator())?,
            StatusOutcome::Forward(reason) => write!(to, "{}fwd={}", separator(), reason.as_str())?,
            StatusOutcome::Refused => {}
        }
        if let Some(status) = self.forward_status {
            write!(to, "{}fwd-status={}", separator(), status.as_u16())?;
        }
        if self.stored {
            write!(to, "{}stored", separator())?;
        }
        match self.collapsed {
            Some(true) => write!(to, "{}collapsed", separator())?,
            Some(false) => write!(to, "{}collapsed=?0", separator())?,
            None => {}
        }
        // RFC 9651 integers have at most 15 digits.
        if let Some(ttl) = self.ttl {
            let ttl = ttl.clamp(-999_999_999_999_999, 999_999_999_999_999);
            write!(to, "{}ttl={ttl}", separator())?;
        }
        if let Some(key) = key {
            write!(to, "{}key=\"", separator())?;
            for char in key.chars() {
                match char {
                    '"' | '\\' => write!(to, "\\{char}")?,
                    ' '..='~' => to.write_char(char)?,
                    // RFC 9651 section 3.3.3: strings contain only printable ASCII characters.
                    _ => to.write_char('?')?,
                }
            }
            to.write_char('"')?;
        }
        match self.detail {
            Some(detail) => write!(to, "{}detail={detail}", separator()),
            None => Ok(()),
        }
    }
}

/// Writes the parameters of `Cache-Status` without the name of the cache and without the key, such
/// as `fwd=uri-miss; fwd-status=200; stored; ttl=600`.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_parameters(f, "", None)
    }
}

/// Returns `true` if the existing field is a well-formed list with at least one member, so that a
/// further member can be appended.
fn is_list(headers: &HeaderMap) -> bool {
    let lines: Vec<_> = headers.get_all(CACHE_STATUS).into_iter().map(HeaderValue::as_bytes).collect();
    Parser::new(&lines.join(&b", "[..])).parse::<List>().is_ok_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests;
