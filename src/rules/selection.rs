//! Selects the part of a complete response that answers a request: the whole response, ranges or no
//! content (RFC 9110 sections 13 and 14).

use super::preconditions::{
    Evaluation, Validators, evaluate, has_preconditions, if_modified_since_matches_date, range_applies,
    range_applies_to,
};
use super::range::{Ranges, ranges};
use http::header::RANGE;
use http::{HeaderMap, Method};
use std::ops::Range;

/// The part of a complete response that answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    Whole,
    /// 304: the client has the current representation.
    NotModified,
    /// 412: a precondition failed.
    Failed,
    /// 206: these byte ranges.
    Parts(Vec<Range<u64>>),
    /// 416: no range can be satisfied.
    Unsatisfiable,
}

/// Selects the answer from a successful response. Evaluates ranges only if the `length` of the
/// body, in bytes, is known.
///
/// With `strong_dates`, a date in `If-Range` can be a strong validator.
pub(crate) fn select(
    method: &Method,
    request: &HeaderMap,
    response: &HeaderMap,
    length: Option<u64>,
    strong_dates: bool,
) -> Selection {
    if has_preconditions(request)
        && let Some(selection) = by_preconditions(method, request, &Validators::of_response(response))
    {
        return selection;
    }
    // RFC 9110 section 14.2: `Range` is defined only for GET.
    let ranged = *method == Method::GET && request.contains_key(RANGE);
    let Some(length) = length.filter(|_| ranged && range_applies(request, response, strong_dates)) else {
        return Selection::Whole;
    };
    by_ranges(request, length)
}

/// Selects the answer from a response that may have encoded variants. `current` has the validators
/// of the selected variant, and the tag of the representation as its `base`.
///
/// A date in `If-Range` is never a strong validator: all variants have the same date.
pub(crate) fn select_variant(
    method: &Method,
    request: &HeaderMap,
    current: &Validators,
    response: &HeaderMap,
    length: Option<u64>,
) -> Selection {
    if let Some(selection) = by_preconditions(method, request, current) {
        return selection;
    }
    let ranged = *method == Method::GET && request.contains_key(RANGE);
    match length.filter(|_| ranged && range_applies_to(request, current, response, false)) {
        Some(length) => by_ranges(request, length),
        None => Selection::Whole,
    }
}

/// Returns the answer if the preconditions decide on it.
fn by_preconditions(method: &Method, request: &HeaderMap, current: &Validators) -> Option<Selection> {
    match evaluate(method, request, current) {
        Evaluation::Proceed => None,
        Evaluation::NotModified => Some(Selection::NotModified),
        Evaluation::Failed => Some(Selection::Failed),
    }
}

fn by_ranges(request: &HeaderMap, length: u64) -> Selection {
    match ranges(request, length) {
        Ranges::Whole => Selection::Whole,
        Ranges::Parts(parts) => Selection::Parts(parts),
        Ranges::Unsatisfiable => Selection::Unsatisfiable,
    }
}

/// Selects the answer from a stored response.
///
/// If the stored response has no `Last-Modified`, `If-Modified-Since` is compared with its `Date`
/// (RFC 9111 section 4.3.2).
pub(crate) fn select_stored(
    method: &Method,
    request: &HeaderMap,
    stored: &HeaderMap,
    length: Option<u64>,
    strong_dates: bool,
) -> Selection {
    let selection = select(method, request, stored, length, strong_dates);
    let proceeds = !matches!(selection, Selection::NotModified | Selection::Failed);
    match proceeds && if_modified_since_matches_date(request, stored) {
        true => Selection::NotModified,
        false => selection,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{Selection, select, select_stored};
    use http::Method;

    type Lines = [(&'static str, &'static str)];

    /// RFC 9111 section 4.3.2: "and the Last-Modified header field is not present … use the stored
    /// response's Date".
    #[test]
    fn if_modified_since_uses_date_if_last_modified_is_absent() {
        const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
        const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
        let dated: &Lines = &[("date", NOW)];
        let table: [(&Lines, &Lines, bool); 9] = [
            (&[("if-modified-since", NOW)], dated, true),
            (&[("if-modified-since", LATER)], dated, true),
            (&[("if-modified-since", LATER), ("range", "bytes=0-0")], dated, true),
            (&[("if-modified-since", EARLIER)], dated, false),
            (&[("if-modified-since", "x")], dated, false),
            (&[("if-modified-since", NOW), ("if-none-match", "\"a\"")], dated, false),
            (&[("if-modified-since", NOW)], &[("date", NOW), ("last-modified", LATER)], false),
            (&[("if-modified-since", NOW)], &[], false),
            (&[("if-unmodified-since", EARLIER)], dated, false),
        ];
        for (request, stored, not_modified) in table {
            let selection = select_stored(&Method::GET, &headers(request), &headers(stored), Some(100), true);
            assert_eq!(selection == Selection::NotModified, not_modified, "{request:?} {stored:?}");
        }
    }

    const RESPONSE: &Lines = &[("etag", "\"a\""), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")];

    fn selected(method: &Method, request: &Lines) -> Selection {
        select(method, &headers(request), &headers(RESPONSE), Some(100), true)
    }

    /// RFC 9110 section 13.2.2, step 5, and section 14.2.
    #[test]
    fn ranges_are_evaluated_after_preconditions_and_only_for_get() {
        let range = ("range", "bytes=0-9");
        let part = |range| Selection::Parts(vec![range]);
        let table: [(Method, &Lines, Selection); 8] = [
            (Method::GET, &[range], part(0..10)),
            (Method::HEAD, &[range], Selection::Whole),
            (Method::GET, &[range, ("if-none-match", "\"a\"")], Selection::NotModified),
            (Method::GET, &[range, ("if-match", "\"b\"")], Selection::Failed),
            (Method::GET, &[range, ("if-match", "\"a\"")], part(0..10)),
            (Method::GET, &[range, ("if-range", "\"a\"")], part(0..10)),
            (Method::GET, &[range, ("if-range", "\"b\"")], Selection::Whole),
            (Method::GET, &[("range", "bytes=100-")], Selection::Unsatisfiable),
        ];
        for (method, request, selection) in table {
            assert_eq!(selected(&method, request), selection, "{method} {request:?}");
        }
    }
}
