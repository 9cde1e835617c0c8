//! Preconditions, evaluated in their order of precedence (RFC 9110 section 13).

use super::date::{FieldDate, field_date, parse};
use super::entity_tag::{EntityTag, TagList, single};
use super::targeted::is_targeted;
use http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, SET_COOKIE, VARY,
};
use http::{HeaderMap, Method};
use std::time::{Duration, SystemTime};

/// The validators of the selected representation (RFC 9110 section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Validators {
    pub(crate) etag: Option<EntityTag>,
    pub(crate) last_modified: Option<SystemTime>,
    /// The tag of the representation without a coding, if the representation has encoded variants.
    /// `If-None-Match` compares with this tag and the tags of all variants: a client that has any of
    /// them has the current representation.
    pub(crate) base: Option<EntityTag>,
    /// Whether a current representation exists.
    pub(crate) exists: bool,
}

impl Validators {
    /// Reads the validators of a response.
    pub(crate) fn of_response(headers: &HeaderMap) -> Self {
        let last_modified = match field_date(headers, &LAST_MODIFIED) {
            FieldDate::At(date) => Some(date),
            FieldDate::Absent | FieldDate::Invalid => None,
        };
        Self { etag: EntityTag::of_response(headers), last_modified, base: None, exists: true }
    }
}

/// Returns the first tag in `If-None-Match` that is the tag `base` or the tag of one of its encoded
/// variants.
pub(crate) fn matched_tag(request: &HeaderMap, base: &EntityTag) -> Option<EntityTag> {
    let TagList::Tags(tags) = TagList::from_headers(request, &IF_NONE_MATCH) else { return None };
    tags.into_iter().find(|tag| is_of_representation(tag, base))
}

fn is_of_representation(tag: &EntityTag, base: &EntityTag) -> bool {
    tag.weak_eq(base) || tag.is_of_variant(base)
}

/// Returns `true` if a response has a valid validator (RFC 9111 section 4.3.1).
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    EntityTag::line_of_response(headers).is_some()
        || matches!(field_date(headers, &LAST_MODIFIED), FieldDate::At(_))
}

/// The result of a request's preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evaluation {
    Proceed,
    /// 304: the client has the current representation.
    NotModified,
    /// 412: a precondition failed.
    Failed,
}

/// Returns `true` if a request has a precondition that [`evaluate`] evaluates.
pub(crate) fn has_preconditions(request: &HeaderMap) -> bool {
    [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE]
        .iter()
        .any(|name| request.contains_key(name))
}

/// Evaluates the preconditions of a request against the current representation (RFC 9110 section
/// 13.2.2).
pub(crate) fn evaluate(method: &Method, request: &HeaderMap, current: &Validators) -> Evaluation {
    let reads = *method == Method::GET || *method == Method::HEAD;
    let tag_is = |tags: &[EntityTag], same: fn(&EntityTag, &EntityTag) -> bool| {
        current.etag.as_ref().is_some_and(|own| tags.iter().any(|tag| same(own, tag)))
    };
    let matched = match TagList::from_headers(request, &IF_MATCH) {
        // Without `If-Match`, `If-Unmodified-Since` counts if the representation has a date.
        TagList::Absent => match (field_date(request, &IF_UNMODIFIED_SINCE), current.last_modified) {
            (FieldDate::At(since), Some(modified)) => whole_seconds(modified) <= since,
            _ => true,
        },
        TagList::Any => current.exists,
        TagList::Tags(tags) => tag_is(&tags, EntityTag::strong_eq),
    };
    if !matched {
        return Evaluation::Failed;
    }
    let has_copy = match TagList::from_headers(request, &IF_NONE_MATCH) {
        TagList::Absent => match (field_date(request, &IF_MODIFIED_SINCE), current.last_modified) {
            (FieldDate::At(since), Some(modified)) => reads && whole_seconds(modified) <= since,
            _ => false,
        },
        TagList::Any => current.exists,
        TagList::Tags(tags) => match &current.base {
            Some(base) => tags.iter().any(|tag| is_of_representation(tag, base)),
            None => tag_is(&tags, EntityTag::weak_eq),
        },
    };
    match (has_copy, reads) {
        (false, _) => Evaluation::Proceed,
        (true, true) => Evaluation::NotModified,
        (true, false) => Evaluation::Failed,
    }
}

/// Returns `true` if `If-Modified-Since` is not older than the `Date` of a stored response. The
/// client's copy is then current (RFC 9111 section 4.3.2).
///
/// `If-None-Match` in the request and `Last-Modified` in the stored response have precedence: with
/// either of them, the result is `false`.
pub(crate) fn if_modified_since_matches_date(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let by_date = !request.contains_key(IF_NONE_MATCH) && !stored.contains_key(LAST_MODIFIED);
    match (field_date(request, &IF_MODIFIED_SINCE), field_date(stored, &DATE)) {
        (FieldDate::At(since), FieldDate::At(sent)) => by_date && sent <= since,
        _ => false,
    }
}

/// Returns `true` if `Range` may be evaluated: `If-Range` is absent, or shows that the bytes of the
/// representation are unchanged (RFC 9110 section 13.1.5).
///
/// With `strong_dates`, a date can be a strong validator. If an outer layer may change the bytes,
/// `strong_dates` must be `false`: a compressed copy has the same date.
pub(crate) fn range_applies(request: &HeaderMap, response: &HeaderMap, strong_dates: bool) -> bool {
    !request.contains_key(IF_RANGE)
        || range_applies_to(request, &Validators::of_response(response), response, strong_dates)
}

/// Returns the same as [`range_applies`] for a response whose validators are `current`.
pub(crate) fn range_applies_to(
    request: &HeaderMap,
    current: &Validators,
    response: &HeaderMap,
    strong_dates: bool,
) -> bool {
    let mut lines = request.get_all(IF_RANGE).into_iter();
    let (condition, more) = (lines.next(), lines.next());
    let Some(condition) = condition else { return true };
    if more.is_some() {
        return false;
    }
    if let Some(tag) = single(condition.as_bytes()) {
        return current.etag.as_ref().is_some_and(|own| own.strong_eq(&tag));
    }
    let (Some(date), Some(modified)) = (parse(condition.as_bytes()), current.last_modified) else {
        return false;
    };
    // `Last-Modified` is strong only if it is at least a second before `Date` (RFC 9110 section
    // 8.8.2.2).
    let settled = match field_date(response, &DATE) {
        FieldDate::At(sent) => modified + Duration::from_secs(1) <= sent,
        FieldDate::Absent | FieldDate::Invalid => false,
    };
    strong_dates && settled && date == modified
}

/// Cuts a date to whole seconds. Dates in fields have no fractions.
fn whole_seconds(date: SystemTime) -> SystemTime {
    let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Returns `true` if a 304 repeats this field of the 200 (RFC 9110 section 15.4.5).
///
/// Besides the required fields, a 304 has the fields that its recipients obey: `Last-Modified`,
/// targeted fields (RFC 9213, and older fields of CDNs), `Set-Cookie` and CORS fields. It also has
/// `Age` and `Cache-Status`.
pub(crate) fn belongs_in_304(name: &HeaderName) -> bool {
    const FIELDS_OF_304: [HeaderName; 8] =
        [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY, SET_COOKIE];
    FIELDS_OF_304.contains(name)
        || matches!(name.as_str(), "age" | "cache-status")
        || name.as_str().starts_with("access-control-")
        || is_targeted(name)
}

/// Returns the fields for a 304 (RFC 9110 section 15.4.5).
pub(crate) fn not_modified(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(NOT_MODIFIED_ROOM);
    for (name, value) in headers.iter().filter(|(name, _)| belongs_in_304(name)) {
        let _ = kept.try_append(name.clone(), value.clone());
    }
    kept
}

/// The initial capacity of a 304's header section, in fields.
pub(crate) const NOT_MODIFIED_ROOM: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{Evaluation, Validators, belongs_in_304, evaluate, range_applies};
    use Evaluation::{Failed, NotModified, Proceed};
    use http::Method;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    type Lines<'a> = &'a [(&'static str, &'a str)];

    const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NOW_RFC850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const NOW_ASCTIME: &str = "Sun Nov  6 08:49:37 1994";
    const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

    fn current(lines: Lines<'_>) -> Validators {
        Validators { exists: !lines.is_empty(), ..Validators::of_response(&headers(lines)) }
    }

    /// RFC 9110 section 13.2.2, step by step, for GET and PUT.
    #[test]
    fn preconditions_are_evaluated_in_order() {
        let (a, weak_a, none): (Lines<'_>, Lines<'_>, Lines<'_>) =
            (&[("etag", "\"a\""), ("last-modified", NOW)], &[("etag", "W/\"a\"")], &[]);
        let undated: Lines<'_> = &[("etag", "\"a\"")];
        let untagged: Lines<'_> = &[("last-modified", NOW)];
        let table: [(Lines<'_>, Lines<'_>, Evaluation, Evaluation); 39] = [
            (&[], a, Proceed, Proceed),
            // Step 1, section 13.1.1: strong comparison.
            (&[("if-match", "\"a\"")], a, Proceed, Proceed),
            (&[("if-match", "\"b\", \"a\"")], a, Proceed, Proceed),
            (&[("if-match", "\"b\""), ("if-match", "\"a\"")], a, Proceed, Proceed),
            (&[("if-match", "\"b\"")], a, Failed, Failed),
            (&[("if-match", "W/\"a\"")], a, Failed, Failed),
            (&[("if-match", "\"a\"")], weak_a, Failed, Failed),
            (&[("if-match", "*")], a, Proceed, Proceed),
            (&[("if-match", "*")], none, Failed, Failed),
            (&[("if-match", "*")], untagged, Proceed, Proceed),
            (&[("if-none-match", "*")], untagged, NotModified, Failed),
            (&[("if-match", "\"a\"")], none, Failed, Failed),
            (&[("if-match", "a")], a, Failed, Failed),
            // Step 2, section 13.1.4: only without If-Match.
            (&[("if-unmodified-since", NOW)], a, Proceed, Proceed),
            (&[("if-unmodified-since", NOW_RFC850)], a, Proceed, Proceed),
            (&[("if-unmodified-since", EARLIER)], a, Failed, Failed),
            (&[("if-unmodified-since", EARLIER)], undated, Proceed, Proceed),
            (&[("if-unmodified-since", "yesterday")], a, Proceed, Proceed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)], a, Proceed, Proceed),
            (&[("if-match", "\"b\""), ("if-unmodified-since", LATER)], a, Failed, Failed),
            // Step 3, section 13.1.2: weak comparison.
            (&[("if-none-match", "\"a\"")], a, NotModified, Failed),
            (&[("if-none-match", "W/\"a\"")], a, NotModified, Failed),
            (&[("if-none-match", "\"a\"")], weak_a, NotModified, Failed),
            (&[("if-none-match", "\"b\"")], a, Proceed, Proceed),
            (&[("if-none-match", "\"b\", \"a\"")], a, NotModified, Failed),
            (&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], a, NotModified, Failed),
            (&[("if-none-match", "*")], a, NotModified, Failed),
            (&[("if-none-match", "*")], none, Proceed, Proceed),
            (&[("if-none-match", "a")], a, Proceed, Proceed),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], a, NotModified, Failed),
            (&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], a, Failed, Failed),
            // Step 4, section 13.1.3: GET and HEAD, only without If-None-Match.
            (&[("if-modified-since", NOW)], a, NotModified, Proceed),
            (&[("if-modified-since", LATER)], a, NotModified, Proceed),
            (&[("if-modified-since", NOW_ASCTIME)], a, NotModified, Proceed),
            (&[("if-modified-since", EARLIER)], a, Proceed, Proceed),
            (&[("if-modified-since", NOW)], undated, Proceed, Proceed),
            (&[("if-modified-since", "0")], a, Proceed, Proceed),
            (&[("if-none-match", "\"b\""), ("if-modified-since", NOW)], a, Proceed, Proceed),
            (&[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], a, NotModified, Failed),
        ];
        for (request, of, get, put) in table {
            let (request_headers, of) = (headers(request), current(of));
            assert_eq!(evaluate(&Method::GET, &request_headers, &of), get, "GET {request:?}");
            assert_eq!(evaluate(&Method::HEAD, &request_headers, &of), get, "HEAD {request:?}");
            assert_eq!(evaluate(&Method::PUT, &request_headers, &of), put, "PUT {request:?}");
        }
    }

    /// RFC 9110 section 13.1.5.
    #[test]
    fn range_applies_only_to_identical_bytes() {
        let settled: Lines<'_> = &[("etag", "\"a\""), ("last-modified", EARLIER), ("date", NOW)];
        let table: [(Lines<'_>, Lines<'_>, bool); 11] = [
            (&[], settled, true),
            (&[("if-range", "\"a\"")], settled, true),
            (&[("if-range", "\"b\"")], settled, false),
            (&[("if-range", "W/\"a\"")], settled, false),
            (&[("if-range", "\"a\"")], &[("etag", "W/\"a\"")], false),
            (&[("if-range", "\"a\", \"b\"")], settled, false),
            (&[("if-range", "\"a\""), ("if-range", "\"a\"")], settled, false),
            (&[("if-range", EARLIER)], settled, true),
            (&[("if-range", NOW)], settled, false),
            (&[("if-range", NOW)], &[("last-modified", NOW), ("date", NOW)], false),
            (&[("if-range", "soon")], settled, false),
        ];
        for (request, response, applies) in table {
            let resumes = |strong_dates| range_applies(&headers(request), &headers(response), strong_dates);
            assert_eq!(resumes(true), applies, "{request:?} {response:?}");
            let by_date = request == [("if-range", EARLIER)];
            assert_eq!(resumes(false), applies && !by_date, "{request:?} {response:?}");
        }
    }

    /// RFC 9110 section 15.4.5.
    #[test]
    fn a_304_has_only_fields_that_caches_and_browsers_need() {
        let name = |text: &'static str| http::HeaderName::from_static(text);
        for kept in [
            "cache-control",
            "content-location",
            "date",
            "etag",
            "expires",
            "last-modified",
            "vary",
            "set-cookie",
            "access-control-allow-origin",
            "cdn-cache-control",
            "surrogate-control",
            "x-accel-expires",
        ] {
            assert!(belongs_in_304(&name(kept)), "{kept}");
        }
        for dropped in ["content-type", "content-length", "content-encoding", "content-language", "x-other"] {
            assert!(!belongs_in_304(&name(dropped)), "{dropped}");
        }
    }

    /// RFC 9110 sections 13.1.1 and 13.1.2: the client that has a variant has the current
    /// representation. `If-Match` protects the selected bytes.
    #[test]
    fn if_none_match_compares_by_the_base_and_if_match_by_the_whole_tag() {
        let tag = |text: &str| super::single(text.as_bytes());
        let of = Validators {
            etag: tag("\"a.br.00000000\""),
            base: tag("\"a\""),
            exists: true,
            ..Validators::default()
        };
        let table: [(Lines<'_>, Evaluation); 10] = [
            (&[("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "W/\"a\"")], NotModified),
            (&[("if-none-match", "\"a.br.00000000\"")], NotModified),
            (&[("if-none-match", "W/\"b\", \"a.gzip.12345678\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"a.br\"")], Proceed),
            (&[("if-none-match", "\"b.br.00000000\"")], Proceed),
            (&[("if-match", "\"a.br.00000000\"")], Proceed),
            (&[("if-match", "\"a.br.12345678\"")], Failed),
            (&[("if-match", "\"a\"")], Failed),
        ];
        for (request, expected) in table {
            assert_eq!(evaluate(&Method::GET, &headers(request), &of), expected, "{request:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_fields_evaluate_without_a_panic(
            fields in proptest::collection::vec((0..5_usize, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        ) {
            let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
            let mut request = http::HeaderMap::new();
            for (which, value) in &fields {
                if let Ok(value) = http::HeaderValue::from_bytes(value) {
                    request.append(names[*which], value);
                }
            }
            let response = headers(&[("etag", "\"a\""), ("last-modified", NOW), ("date", LATER)]);
            let of = Validators::of_response(&response);
            let evaluation = evaluate(&Method::GET, &request, &of);
            if !request.contains_key("if-match") && !request.contains_key("if-unmodified-since") {
                prop_assert!(evaluation != Evaluation::Failed);
            }
            prop_assert_eq!(range_applies(&request, &response, true) || request.contains_key("if-range"), true);
        }
    }
}
