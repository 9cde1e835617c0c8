//! What the cache did with a request, in the words of RFC 9211.

use http::HeaderValue;
use std::fmt::Write;
use std::time::Duration;

/// What a cache layer did with a request: a response extension, present where
/// [`Policy::cache_status`](crate::Policy::cache_status) is on.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    outcome: Outcome,
    stored: bool,
    collapsed: bool,
    ttl: Option<i64>,
    detail: Option<&'static str>,
}

/// A mark on a request of our own: its response is to have a status, for nobody else to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantsStatus;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Hit,
    Forward(ForwardReason),
}

/// Why a request was forwarded to the service (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl CacheStatus {
    pub(crate) fn hit(ttl: Duration) -> Self {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self::hit_with(ttl)
    }

    /// A hit on what has been stale for some time (RFC 9211 section 2.4: its ttl is negative).
    pub(crate) fn stale_hit(since: Duration) -> Self {
        let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self::hit_with(since.saturating_neg()).detail(Some("stale"))
    }

    fn hit_with(ttl: i64) -> Self {
        Self { outcome: Outcome::Hit, stored: false, collapsed: false, ttl: Some(ttl), detail: None }
    }

    pub(crate) fn forward(reason: ForwardReason) -> Self {
        Self { outcome: Outcome::Forward(reason), stored: false, collapsed: false, ttl: None, detail: None }
    }

    pub(crate) fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    pub(crate) fn collapsed(mut self) -> Self {
        self.collapsed = true;
        self
    }

    pub(crate) fn detail(mut self, detail: Option<&'static str>) -> Self {
        self.detail = detail;
        self
    }

    /// Tells whether the response came out of the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.outcome == Outcome::Hit
    }

    /// Returns why the request was forwarded, if it was.
    #[must_use]
    pub fn forward_reason(&self) -> Option<ForwardReason> {
        match self.outcome {
            Outcome::Hit => None,
            Outcome::Forward(reason) => Some(reason),
        }
    }

    /// Tells whether the forwarded response is being stored; if its body fails, it won't be after all.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Tells whether the request waited for another one's response and was answered with it.
    #[must_use]
    pub fn is_collapsed(&self) -> bool {
        self.collapsed
    }

    /// Returns how many seconds the response stays fresh here, less than none where it is stale; `None`
    /// where nothing is stored.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<i64> {
        self.ttl
    }

    /// Returns a word more on why a response was not stored or a request not handled.
    #[must_use]
    pub fn detail_word(&self) -> Option<&'static str> {
        self.detail
    }

    /// Returns the member to append to `Cache-Status`.
    pub(crate) fn to_value(self) -> HeaderValue {
        let mut text = String::from("tower-response-cache");
        let (word, reason) = match self.outcome {
            Outcome::Hit => ("; hit", ""),
            Outcome::Forward(reason) => ("; fwd=", reason.as_str()),
        };
        text.push_str(word);
        text.push_str(reason);
        for (set, word) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            text.push_str(if set { word } else { "" });
        }
        // Writing to a string does not fail. RFC 9651 integers have at most 15 digits.
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={}", ttl.clamp(-999_999_999_999_999, 999_999_999_999_999));
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("tower-response-cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_as_rfc_9211_section_2_has_them() {
        let hit = CacheStatus::hit(Duration::from_secs(30));
        assert_eq!(hit.to_value(), "tower-response-cache; hit; ttl=30");
        assert_eq!(hit.collapsed().to_value(), "tower-response-cache; hit; collapsed; ttl=30");
        let miss = CacheStatus::forward(ForwardReason::UriMiss);
        assert_eq!(miss.stored().to_value(), "tower-response-cache; fwd=uri-miss; stored");
        assert_eq!(
            miss.detail(Some("private")).to_value(),
            "tower-response-cache; fwd=uri-miss; detail=private"
        );
        let forever = CacheStatus::hit(Duration::from_secs(u64::MAX));
        assert_eq!(forever.to_value(), "tower-response-cache; hit; ttl=999999999999999");
    }
}
