//! What the cache did with a request, in the words of RFC 9211.

mod detail;
#[cfg(feature = "testing")]
mod meanings;

pub(crate) use detail::{Detail, FieldName};
#[cfg(feature = "testing")]
pub(crate) use meanings::{detail_meaning, forward_meaning, has_meaning};

use crate::rules::list::elements;
use crate::rules::storability::NotStorable;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use sfv::{List, Parser};
use std::fmt::Write;
use std::time::Duration;

/// What a cache layer did with a request: a response extension, present where
/// [`PolicyBuilder::cache_status`](crate::policy::PolicyBuilder::cache_status) is on.
///
/// # Example
/// ```
/// use tower_response_cache::CacheStatus;
///
/// fn log(response: &http::Response<()>) {
///     if let Some(status) = response.extensions().get::<CacheStatus>() {
///         println!("hit: {}, stored: {}", status.is_hit(), status.is_stored());
///     }
/// }
/// ```
///
#[doc = include_str!("details.md")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    outcome: StatusOutcome,
    forward_status: Option<StatusCode>,
    stored: bool,
    collapsed: Option<bool>,
    ttl: Option<i64>,
    detail: Option<Detail>,
}

/// A mark on a request of our own: its response is to have a status, for nobody else to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantsStatus;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusOutcome {
    Hit,
    Forward(ForwardReason),
    /// Neither: it was answered without the cache and without the service.
    Refused,
}

/// Why a request was forwarded to the service (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // The IANA registry of RFC 9211 may grow.
pub enum ForwardReason {
    /// The layer is configured not to handle this request, or can't.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but not for these request fields.
    VaryMiss,
    /// The request's own directives require it.
    Request,
    /// What is stored is no longer fresh, or was invalidated.
    Stale,
}

impl ForwardReason {
    /// Returns the token that stands in the field.
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

/// Why a request is forwarded, and a word more on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) forward: ForwardReason,
    pub(crate) detail: Option<Detail>,
}

impl Reason {
    pub(crate) const fn new(forward: ForwardReason, detail: Detail) -> Self {
        Self { forward, detail: Some(detail) }
    }

    /// Returns that of a request that the cache lets pass.
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

/// How this cache is called in the field.
pub(crate) const NAME: &str = "tower-response-cache";

impl CacheStatus {
    const fn new(outcome: StatusOutcome) -> Self {
        Self { outcome, forward_status: None, stored: false, collapsed: None, ttl: None, detail: None }
    }

    /// A hit on what is fresh for so long.
    pub(crate) fn hit(ttl: Duration) -> Self {
        Self::new(StatusOutcome::Hit).ttl(ttl)
    }

    /// A hit on what has been stale for some time.
    pub(crate) fn stale_hit(since: Duration) -> Self {
        Self::new(StatusOutcome::Hit).stale_for(since).detail(Detail::Stale)
    }

    pub(crate) fn forward(reason: impl Into<Reason>) -> Self {
        let Reason { forward, detail } = reason.into();
        Self { detail, ..Self::new(StatusOutcome::Forward(forward)) }
    }

    /// An answer of our own.
    pub(crate) fn refused(detail: Detail) -> Self {
        Self::new(StatusOutcome::Refused).detail(detail)
    }

    pub(crate) fn stored(self) -> Self {
        Self { stored: true, ..self }
    }

    /// Whether the request waited for another one's response in vain, or was answered with it.
    pub(crate) fn collapsed(self, with_success: bool) -> Self {
        Self { collapsed: Some(with_success), ..self }
    }

    pub(crate) fn detail(self, detail: impl Into<Detail>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(crate) fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)), ..self }
    }

    /// RFC 9211 section 2.4: what is stale has a negative ttl.
    pub(crate) fn stale_for(self, since: Duration) -> Self {
        let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self { ttl: Some(since.saturating_neg()), ..self }
    }

    /// What the service has answered.
    pub(crate) fn answered(self, status: StatusCode) -> Self {
        Self { forward_status: Some(status), ..self }
    }

    /// Returns `true` if the response came out of the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.outcome == StatusOutcome::Hit
    }

    /// Returns why the request was forwarded, if it was; of one that was answered with the response to
    /// another's, why it would have been.
    #[must_use]
    pub fn forward_reason(&self) -> Option<ForwardReason> {
        match self.outcome {
            StatusOutcome::Hit | StatusOutcome::Refused => None,
            StatusOutcome::Forward(reason) => Some(reason),
        }
    }

    /// Returns the status that the service has answered with, if it has been asked and has answered. The client
    /// may get another: what was revalidated by a 304, what is stale instead of a 503.
    #[must_use]
    pub fn forward_status(&self) -> Option<StatusCode> {
        self.forward_status
    }

    /// Returns `true` if the forwarded response is being stored. It won't be after all if its body fails, or
    /// turns out to be none that can be (too large, with trailers), if the store fails, or if it was invalidated
    /// while it was made.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Returns `true` if the request waited for another one's response and was answered with it.
    #[must_use]
    pub fn is_collapsed(&self) -> bool {
        self.collapsed == Some(true)
    }

    /// Returns how many seconds the response stays fresh here, less than none where it is stale; `None`
    /// where nothing is stored.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<i64> {
        self.ttl
    }

    /// Returns a word more on why a response was not stored or a request not handled: see the tables above.
    ///
    /// Returns `credentials` for a field recognized by the words of its name; `Cache-Status` shows the name.
    #[must_use]
    pub fn detail_word(&self) -> Option<&'static str> {
        self.detail.map(Detail::as_str)
    }

    /// Returns `true` if it was left to a cache layer further in.
    pub(crate) fn is_of_another(&self) -> bool {
        self.detail == Some(Detail::HandledByInner)
    }

    /// Appends the status to what caches further in said (RFC 9211 section 2).
    pub(crate) fn write(&self, headers: &mut HeaderMap, key: Option<&str>) {
        // RFC 9651 section 4.2: a list with one bad member is none, so that ours would not be read either.
        if headers.contains_key(CACHE_STATUS) && !is_list(headers) {
            headers.remove(CACHE_STATUS);
        }
        // A header section that is full goes without.
        let _ = headers.try_append(CACHE_STATUS, self.to_value(key));
    }

    /// Replaces this status by another one, in the field and in the extensions. An upstream cache may have said the same:
    /// the member of this cache is the last one.
    pub(crate) fn replace<B>(self, response: &mut Response<B>, by: Self, key: Option<&str>) {
        self.replace_in(response.headers_mut(), &by.to_value(key), key);
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
                // Members of a field value make a field value.
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

    /// Returns the member of the list.
    pub(crate) fn to_value(self, key: Option<&str>) -> HeaderValue {
        let mut text = String::from(NAME);
        match self.outcome {
            StatusOutcome::Hit => text.push_str("; hit"),
            StatusOutcome::Forward(reason) => text.extend(["; fwd=", reason.as_str()]),
            StatusOutcome::Refused => {}
        }
        // Writing to a string does not fail.
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if self.stored {
            text.push_str("; stored");
        }
        match self.collapsed {
            Some(true) => text.push_str("; collapsed"),
            Some(false) => text.push_str("; collapsed=?0"),
            None => {}
        }
        // RFC 9651 integers have at most 15 digits.
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={}", ttl.clamp(-999_999_999_999_999, 999_999_999_999_999));
        }
        if let Some(key) = key {
            text.push_str("; key=\"");
            for char in key.chars() {
                match char {
                    '"' | '\\' => text.extend(['\\', char]),
                    ' '..='~' => text.push(char),
                    // RFC 9651 section 3.3.3: strings are ASCII.
                    _ => text.push('?'),
                }
            }
            text.push('"');
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(NAME))
    }
}

/// Returns `true` if the field that is there can be read, and another member put behind it: not behind an empty line.
fn is_list(headers: &HeaderMap) -> bool {
    let lines: Vec<_> = headers.get_all(CACHE_STATUS).into_iter().map(HeaderValue::as_bytes).collect();
    Parser::new(&lines.join(&b", "[..])).parse::<List>().is_ok_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests;
