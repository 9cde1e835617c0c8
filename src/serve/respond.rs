//! The answer from the cache.

use super::inspect::Context;
use super::service::{HandledWithin, OuterLayer, Shared};
use crate::body::ResponseBody;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::HeaderName;
use http::request::Parts;
use http::{Extensions, HeaderMap, Response};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl Shared {
    /// Makes a response out of a stored one. It copies no body and computes nothing but the age.
    ///
    /// `collapsed` says that the request waited for another one's call (RFC 9211 section 2.6).
    #[inline]
    pub(super) fn hit_response<B>(
        &self,
        stored: &StoredResponse,
        parts: &Parts,
        context: Context,
        now: Moment,
        collapsed: bool,
    ) -> Response<ResponseBody<B>> {
        let (headers, body) = if context.head {
            (stored.headers_for_head(now), Bytes::new())
        } else {
            (stored.headers_at(now), stored.body().clone())
        };
        let mut response = Response::new(ResponseBody::stored(body));
        *response.status_mut() = stored.status();
        *response.version_mut() = parts.version;
        *response.headers_mut() = headers;
        if self.policy.cache_status {
            let status = CacheStatus::hit(stored.head().fresh_until.since(now));
            self.tell(&mut response, if collapsed { status.collapsed() } else { status });
        }
        if was_announced(&parts.extensions) {
            response.extensions_mut().insert(HandledWithin);
        }
        response
    }

    /// Puts the status on a response, if this layer tells it.
    pub(super) fn tell<B>(&self, response: &mut Response<B>, status: CacheStatus) {
        if self.policy.cache_status {
            tell(response.headers_mut(), status);
            response.extensions_mut().insert(status);
        }
    }
}

/// Appends the status to what caches further in said (RFC 9211 section 2).
pub(super) fn tell(headers: &mut HeaderMap, status: CacheStatus) {
    // A header section that is full goes without.
    let _ = headers.try_append(CACHE_STATUS, status.to_value());
}

/// Tells whether a cache layer further out has marked the request.
pub(super) fn was_announced(request: &Extensions) -> bool {
    request.get::<OuterLayer>().is_some()
}
