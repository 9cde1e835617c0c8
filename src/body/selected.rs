//! The part of a complete response that a request selects: the whole, ranges, a 304, or an error.

use super::ResponseBody;
use crate::rules::preconditions::not_modified;
use crate::rules::range::{boundary, content_range, multipart, unsatisfied_range};
use crate::rules::selection::Selection;
use crate::rules::update::CONTENT_DIGESTS;
use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPIRES};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

impl<B> ResponseBody<B> {
    /// Returns the selected part of a complete response. The body is not copied.
    pub(crate) fn selected(selection: &Selection, mut parts: Parts, body: Bytes) -> Response<Self> {
        let length = body.len() as u64;
        let body = match selection {
            Selection::Whole => Self::stored(body),
            Selection::NotModified => {
                // RFC 9110 section 15.4.5.
                parts.status = StatusCode::NOT_MODIFIED;
                parts.headers = not_modified(&parts.headers);
                Self::absent()
            }
            Selection::Failed => {
                // RFC 9110 section 15.5.13.
                parts.status = StatusCode::PRECONDITION_FAILED;
                parts.headers = error_headers(&parts.headers);
                Self::default()
            }
            Selection::Unsatisfiable => {
                // RFC 9110 section 15.5.17.
                parts.status = StatusCode::RANGE_NOT_SATISFIABLE;
                parts.headers = error_headers(&parts.headers);
                insert(&mut parts.headers, &CONTENT_RANGE, unsatisfied_range(length));
                Self::default()
            }
            Selection::Parts(ranges) => {
                // RFC 9110 section 15.3.7.
                parts.status = StatusCode::PARTIAL_CONTENT;
                for name in CONTENT_DIGESTS {
                    parts.headers.remove(name);
                }
                match &ranges[..] {
                    // RFC 9110 section 15.3.7.1.
                    [range] => {
                        insert(&mut parts.headers, &CONTENT_RANGE, content_range(range, length));
                        insert(
                            &mut parts.headers,
                            &CONTENT_LENGTH,
                            HeaderValue::from(range.end - range.start),
                        );
                        Self::stored(body.slice(range.start as usize..range.end as usize))
                    }
                    ranges => {
                        let boundary = boundary();
                        let several = multipart(ranges, parts.headers.get(CONTENT_TYPE), &body, &boundary);
                        // RFC 9110 section 15.3.7.2: each part has its own `Content-Range`.
                        parts.headers.remove(CONTENT_RANGE);
                        insert(&mut parts.headers, &CONTENT_TYPE, several.content_type);
                        insert(&mut parts.headers, &CONTENT_LENGTH, HeaderValue::from(several.length));
                        Self::pieces(several.pieces)
                    }
                }
            }
        };
        Response::from_parts(parts, body)
    }
}

/// Returns the header fields of a 412 or 416. They include `no-store`, so that no cache stores the
/// error in place of the page.
fn error_headers(headers: &HeaderMap) -> HeaderMap {
    let mut headers_of_error = not_modified(headers);
    let is_targeted = |name: &&http::HeaderName| name.as_str().ends_with("-cache-control");
    let targeted: Vec<_> = headers_of_error.keys().filter(is_targeted).cloned().collect();
    for name in [EXPIRES, AGE].into_iter().chain(targeted) {
        headers_of_error.remove(name);
    }
    insert(&mut headers_of_error, &CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers_of_error
}

/// Inserts a field. If the header map is full, the field is omitted.
fn insert(headers: &mut HeaderMap, name: &http::HeaderName, value: HeaderValue) {
    let _ = headers.try_insert(name.clone(), value);
}
