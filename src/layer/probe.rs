//! The GET by which a layer learns the current validators of a resource.

use crate::marks::OuterLayer;
use crate::rules::entity_tag::TagList;
use crate::rules::preconditions::Validators;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use std::sync::atomic::{AtomicBool, Ordering};
use tower::{Service, ServiceExt};

/// Asks a service for the current validators of a resource.
#[derive(Debug, Default)]
pub(super) struct Probe {
    has_warned: AtomicBool,
}

impl Probe {
    /// Returns the validators of the current representation; `None` if the service does not say.
    pub(super) async fn current<S, ReqBody, B>(
        &self,
        inner: S,
        parts: &Parts,
        body: ReqBody,
    ) -> Result<Option<Validators>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
    {
        let response = inner.oneshot(Request::from_parts(get(parts), body)).await?;
        Ok(match response.status() {
            status if status.is_success() => {
                let current = Validators::of_response(response.headers());
                self.check_strength(&parts.headers, &current);
                Some(current)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Some(Validators::default()),
            _ => None,
        })
    }

    /// Warns once if an `If-Match` fails for want of a strong tag (RFC 9110 section 8.8.3.2).
    fn check_strength(&self, request: &HeaderMap, current: &Validators) {
        let names_tags = matches!(TagList::from_headers(request, &IF_MATCH), TagList::Tags(_));
        let is_weak = current.etag.as_ref().is_some_and(|tag| tag.is_weak());
        if names_tags && is_weak && !self.has_warned.swap(true, Ordering::Relaxed) {
            warning!("If-Match failed: the resource has only a weak tag");
        }
    }
}

/// Returns the head of the GET: without conditions and without what describes the content.
fn get(parts: &Parts) -> Parts {
    let mut parts = parts.clone();
    parts.method = Method::GET;
    for name in [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        TRANSFER_ENCODING,
        EXPECT,
    ] {
        parts.headers.remove(name);
    }
    OuterLayer::require_current(&mut parts.extensions);
    // For caches of others, that know no mark of ours.
    let _ = parts.headers.try_insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    parts
}
