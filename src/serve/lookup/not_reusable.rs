//! The reasons why a stored response may not answer a request.

use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::rules::cache_control::RequestDirectives;
use crate::status::{Detail, ForwardReason, Reason};
use http::HeaderMap;
use std::time::Duration;

/// The reason why a stored response may not answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum NotReusable {
    /// The response is another variant, or has a content coding that the request does not offer.
    Fields,
    Invalidated,
    /// The response was softly invalidated: it may still be used like a stale response.
    SoftlyInvalidated,
    NotFresh,
    /// A directive of the request excludes the response. The detail names the directive.
    Directives(Detail),
    /// A precondition of the request fails on the response.
    Precondition,
}

impl From<NotReusable> for Reason {
    fn from(refusal: NotReusable) -> Self {
        match refusal {
            NotReusable::Fields => ForwardReason::VaryMiss.into(),
            NotReusable::Invalidated | NotReusable::SoftlyInvalidated => {
                Self::new(ForwardReason::Stale, Detail::Invalidated)
            }
            NotReusable::NotFresh => ForwardReason::Stale.into(),
            NotReusable::Directives(which) => Self::new(ForwardReason::Request, which),
            NotReusable::Precondition => Self::new(ForwardReason::Request, Detail::Precondition),
        }
    }
}

/// Returns the directive of the request that excludes a response (RFC 9111 section 5.2.1).
pub(in crate::serve) fn excluding_directive(
    response: &StoredResponse,
    request: &HeaderMap,
    now: Moment,
) -> Option<Detail> {
    let directives = RequestDirectives::from_headers(request);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    // RFC 9111 sections 5.2.1.4 and 5.4: `no-cache`, in `Cache-Control` or `Pragma`.
    if directives.no_cache {
        return Some(Detail::RequestNoCache);
    }
    // RFC 9111 section 5.2.1.1: `max-age` is the greatest age that the client accepts.
    if directives.max_age.is_some_and(|most| response.current_age(now) > seconds(most)) {
        return Some(Detail::RequestMaxAge);
    }
    // RFC 9111 section 5.2.1.3: the response must stay fresh for at least `min-fresh`.
    let rest = response.head().fresh_until.since(now);
    directives.min_fresh.is_some_and(|least| rest < seconds(least)).then_some(Detail::RequestMinFresh)
}
