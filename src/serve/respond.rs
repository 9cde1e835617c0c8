//! The answer from the cache.

use super::inspect::Context;
use super::service::{HandledWithin, OuterLayer, Shared};
use crate::body::ResponseBody;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::key::RequestHead;
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::HeaderName;
use http::{Extensions, HeaderMap, Response, Version};
use std::sync::Arc;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// An answer from the cache, not written out yet: that is done in the place where it is wanted.
#[derive(Debug)]
pub(super) struct Hit {
    stored: Arc<StoredResponse>,
    now: Moment,
    version: Version,
    head: bool,
    collapsed: bool,
    tell: bool,
    mark: bool,
}

impl Shared {
    /// Answers a request with a stored response.
    ///
    /// `collapsed` says that the request waited for another one's call (RFC 9211 section 2.6).
    #[inline]
    pub(super) fn hit(
        &self,
        stored: Arc<StoredResponse>,
        request: RequestHead<'_>,
        context: Context,
        now: Moment,
        collapsed: bool,
    ) -> Hit {
        Hit {
            stored,
            now,
            version: request.version,
            head: context.head,
            collapsed,
            tell: self.policy.cache_status,
            mark: was_announced(request.extensions),
        }
    }
}

impl Hit {
    /// Makes a response out of the stored one. It copies no body and computes nothing but the age.
    #[inline]
    pub(super) fn response<B>(&self) -> Response<ResponseBody<B>> {
        let stored = &*self.stored;
        let (mut parts, body) = if self.head {
            (stored.parts_for_head(self.now), Bytes::new())
        } else {
            (stored.parts_at(self.now), stored.body().clone())
        };
        parts.version = self.version;
        if self.tell {
            let status = CacheStatus::hit(stored.head().fresh_until.since(self.now));
            let status = if self.collapsed { status.collapsed() } else { status };
            tell(&mut parts.headers, status);
            parts.extensions.insert(status);
        }
        if self.mark {
            parts.extensions.insert(HandledWithin);
        }
        Response::from_parts(parts, ResponseBody::stored(body))
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
