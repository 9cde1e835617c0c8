//! Conditional requests: those of the client, and the cache's own.

use crate::body::ResponseBody;
use crate::entry::StoredResponse;
use crate::error::BoxError;
use crate::rules::date::{FieldDate, field_date};
use crate::rules::entity_tag::EntityTag;
use crate::rules::preconditions::not_modified;
use crate::rules::selection::{Selection, select};
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

/// Takes a client's conditions off a request.
pub(super) fn take_conditions(request: &mut HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        for value in request.get_all(&name) {
            let _ = conditions.try_append(&name, value.clone());
        }
        request.remove(&name);
    }
    conditions
}

/// Puts the cache's own conditions on a request (RFC 9111 section 4.3.1).
pub(super) fn ask_about(stale: &StoredResponse, request: &mut HeaderMap) {
    let stored = stale.headers();
    let is_date = matches!(field_date(stored, &LAST_MODIFIED), FieldDate::At(_));
    let date = stored.get(LAST_MODIFIED).filter(|_| is_date);
    for (condition, validator) in
        [(IF_NONE_MATCH, EntityTag::line_of_response(stored)), (IF_MODIFIED_SINCE, date)]
    {
        request.remove(&condition);
        if let Some(value) = validator {
            // A header section that is full goes without.
            let _ = request.try_insert(condition, value.clone());
        }
    }
}

/// Sends a 304 instead of a complete response to a client that has it, while that goes on to be stored.
pub(super) fn into_not_modified<B>(
    response: Response<ResponseBody<B>>,
    conditions: &HeaderMap,
) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let has_it = response.status() == StatusCode::OK
        && select(&Method::GET, conditions, response.headers(), None, true) == Selection::NotModified;
    if !has_it {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match body.finish_recording() {
        Ok(()) => {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers = not_modified(&parts.headers);
            Response::from_parts(parts, ResponseBody::absent())
        }
        Err(body) => Response::from_parts(parts, body),
    }
}
