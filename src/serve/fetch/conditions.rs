//! Conditional requests: takes the client's conditions off a request, and sets the cache's own.

use crate::body::ResponseBody;
use crate::entry::StoredResponse;
use crate::error::BoxError;
use crate::rules::date::{FieldDate, field_date};
use crate::rules::entity_tag::EntityTag;
use crate::rules::patch::set_field;
use crate::rules::preconditions::{Evaluation, Validators, evaluate, matched_tag, not_modified};
use bytes::Bytes;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

/// Removes `If-None-Match` and `If-Modified-Since` from a client's request, and returns them.
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

/// Replaces the conditions of a request by the validators of a stored response
/// (RFC 9111 section 4.3.1).
pub(super) fn set_conditions(stale: &StoredResponse, request: &mut HeaderMap) {
    let stored = stale.headers();
    let is_date = matches!(field_date(stored, &LAST_MODIFIED), FieldDate::At(_));
    let date = stored.get(LAST_MODIFIED).filter(|_| is_date);
    for (condition, validator) in
        [(IF_NONE_MATCH, EntityTag::line_of_response(stored)), (IF_MODIFIED_SINCE, date)]
    {
        request.remove(&condition);
        if let Some(value) = validator {
            // If the header map is full, the condition is left out.
            let _ = request.try_insert(condition, value.clone());
        }
    }
}

/// Replaces a 200 by a 304 if the client's copy is current (RFC 9110 section 15.4.5).
///
/// If `is_encodable`, the client may have an encoded variant, and the 304 has the tag that the client
/// sent. The recording of the body continues in the background. If there is no tokio runtime or no free
/// drain permit, the client gets the complete response instead.
pub(super) fn into_not_modified<B>(
    response: Response<ResponseBody<B>>,
    conditions: &HeaderMap,
    is_encodable: bool,
) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let base = EntityTag::of_response(response.headers()).filter(|_| is_encodable);
    let named = base.as_ref().and_then(|base| matched_tag(conditions, base));
    let current = Validators { base, ..Validators::of_response(response.headers()) };
    let has_it = response.status() == StatusCode::OK
        && evaluate(&Method::GET, conditions, &current) == Evaluation::NotModified;
    if !has_it {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match body.finish_recording() {
        Ok(()) => {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers = not_modified(&parts.headers);
            if let Some(tag) = named {
                set_field(&mut parts.headers, &ETAG, tag.to_value());
            }
            Response::from_parts(parts, ResponseBody::absent())
        }
        Err(body) => Response::from_parts(parts, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::entry::{Generation, Head, headers_for_storage};
    use http::HeaderName;
    use http_body_util::Full;

    type Lines = &'static [(&'static str, &'static str)];

    const DATE: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
    const LATER: &str = "Mon, 07 Nov 1994 08:48:37 GMT";

    fn headers(lines: Lines) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        lines.iter().map(line).collect()
    }

    /// RFC 9110 sections 13.1.2 and 13.1.3: `If-None-Match` and `If-Modified-Since` concern the
    /// client's own copy. The service evaluates all other conditions.
    #[test]
    fn conditions_on_the_clients_copy_are_removed() {
        let table: [(Lines, Lines, Lines); 4] = [
            (&[], &[], &[]),
            (&[("x-a", "1")], &[], &[("x-a", "1")]),
            (
                &[("if-none-match", "\"a\""), ("if-none-match", "\"b\""), ("if-modified-since", DATE)],
                &[("if-none-match", "\"a\""), ("if-none-match", "\"b\""), ("if-modified-since", DATE)],
                &[],
            ),
            (
                &[
                    ("if-match", "\"a\""),
                    ("if-range", "\"a\""),
                    ("range", "bytes=0-1"),
                    ("if-none-match", "*"),
                ],
                &[("if-none-match", "*")],
                &[("if-match", "\"a\""), ("if-range", "\"a\""), ("range", "bytes=0-1")],
            ),
        ];
        for (lines, taken, remaining) in table {
            let mut request = headers(lines);
            assert_eq!(take_conditions(&mut request), headers(taken), "{lines:?}");
            assert_eq!(request, headers(remaining), "{lines:?}");
        }
    }

    /// RFC 9111 section 4.3.1: the preconditions "contain validator metadata sourced from a stored
    /// response".
    #[test]
    fn conditions_are_the_validators_of_the_stored_response() {
        let own: Lines = &[("if-none-match", "\"own\""), ("if-modified-since", LATER), ("x-a", "1")];
        let table: [(Lines, Lines, Lines); 8] = [
            (&[], &[], &[]),
            (&[("etag", "\"a\"")], &[], &[("if-none-match", "\"a\"")]),
            (&[("etag", "W/\"a\"")], &[], &[("if-none-match", "W/\"a\"")]),
            (&[("last-modified", DATE)], &[], &[("if-modified-since", DATE)]),
            (
                &[("etag", "\"a\""), ("last-modified", DATE)],
                &[],
                &[("if-none-match", "\"a\""), ("if-modified-since", DATE)],
            ),
            (&[("etag", "*"), ("last-modified", "yesterday")], own, &[("x-a", "1")]),
            (&[("etag", "\"a\"")], own, &[("x-a", "1"), ("if-none-match", "\"a\"")]),
            (&[("last-modified", DATE)], own, &[("x-a", "1"), ("if-modified-since", DATE)]),
        ];
        for (stored, request, expected) in table {
            let now = Clock::system().now();
            let lines = headers_for_storage(&headers(stored), &[]);
            let head = Head::new(StatusCode::OK, lines, Generation::new(1, 0), now);
            let mut request = headers(request);
            set_conditions(&StoredResponse::new(head, Bytes::new()), &mut request);
            assert_eq!(request, headers(expected), "{stored:?}");
        }
    }

    /// RFC 9110 section 13.1.2: tags are compared weakly, and take precedence over a date.
    /// Section 15.4.5: a 304 answers a GET that "would have resulted in a 200 (OK) response".
    #[tokio::test]
    async fn client_with_a_current_copy_gets_a_304() {
        let tagged: Lines = &[("etag", "\"a\""), ("content-type", "text/html")];
        let dated: Lines = &[("last-modified", DATE)];
        let table: [(u16, Lines, Lines, u16); 12] = [
            (200, tagged, &[], 200),
            (200, tagged, &[("if-none-match", "\"a\"")], 304),
            (200, tagged, &[("if-none-match", "\"b\"")], 200),
            (200, tagged, &[("if-none-match", "\"b\", W/\"a\"")], 304),
            (200, tagged, &[("if-none-match", "*")], 304),
            (404, tagged, &[("if-none-match", "\"a\"")], 404),
            (206, tagged, &[("if-none-match", "\"a\"")], 206),
            (200, dated, &[("if-modified-since", DATE)], 304),
            (200, dated, &[("if-modified-since", LATER)], 304),
            (200, &[("last-modified", LATER)], &[("if-modified-since", DATE)], 200),
            (200, dated, &[("if-none-match", "\"a\""), ("if-modified-since", DATE)], 200),
            (200, &[], &[("if-none-match", "\"a\"")], 200),
        ];
        for (status, lines, conditions, expected) in table {
            let body = ResponseBody::forwarded(Full::new(Bytes::from_static(b"page")));
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            *response.headers_mut() = headers(lines);
            let response = into_not_modified(response, &headers(conditions), false);
            assert_eq!(response.status().as_u16(), expected, "{lines:?} {conditions:?}");
            let is_304 = expected == 304;
            assert_eq!(response.body().is_end_stream(), is_304, "{lines:?} {conditions:?}");
            let has_type = response.headers().contains_key("content-type");
            assert_eq!(has_type, lines == tagged && !is_304, "{lines:?} {conditions:?}");
        }
    }
}
