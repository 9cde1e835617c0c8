//! The reasons why a request may not use a stored response.

use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::rules::cache_control::RequestDirectives;
use crate::status::{Detail, ForwardReason, Reason};
use http::HeaderMap;
use std::time::Duration;

/// Why a stored response is not for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum NotReusable {
    /// It is another variant.
    Fields,
    Invalidated,
    /// It was invalidated, and may be used as a stale one may.
    SoftlyInvalidated,
    NotFresh,
    /// The request's directives exclude it; the word says which.
    Directives(Detail),
    /// It is not the one that the request's precondition names.
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

/// Returns which of the request's directives excludes a response (RFC 9111 section 5.2.1).
pub(in crate::serve) fn excluded(
    response: &StoredResponse,
    request: &HeaderMap,
    now: Moment,
) -> Option<Detail> {
    let directives = RequestDirectives::from_headers(request);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    if directives.no_cache {
        return Some(Detail::RequestNoCache);
    }
    if directives.max_age.is_some_and(|most| response.current_age(now) > seconds(most)) {
        return Some(Detail::RequestMaxAge);
    }
    let rest = response.head().fresh_until.since(now);
    directives.min_fresh.is_some_and(|least| rest < seconds(least)).then_some(Detail::RequestMinFresh)
}
