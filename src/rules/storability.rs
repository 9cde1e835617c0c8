//! Decides whether a response may be stored in a shared cache (RFC 9111 sections 3 and 3.5).

use super::cache_control::{Qualified, ResponseDirectives};
use super::vary::Vary;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, SET_COOKIE};
use http::{HeaderMap, StatusCode};

/// The inputs that decide whether the response to a GET request may be stored: the exchange, and
/// the options of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storability<'a> {
    /// Whether the request has `Authorization`.
    pub(crate) authorization: bool,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) directives: &'a ResponseDirectives,
    pub(crate) vary: &'a Vary,
    /// Whether the response is a 200 with a validator, so that it can be revalidated before each
    /// use.
    pub(crate) revalidatable: bool,
    /// Whether the handler has set a lifetime for this cache with `CacheHints`.
    pub(crate) hinted: bool,
    /// Whether the response is stored for its own visitor only.
    pub(crate) personal: bool,
    /// Whether the rules of RFC 9111 apply, without the stricter rules of `Policy::app`.
    pub(crate) is_rfc9111: bool,
    /// Whether a response with `Set-Cookie` may be stored.
    pub(crate) shares_cookies: bool,
}

/// The reason why a response may not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStorable {
    Status,
    /// The response has `must-understand`, and this cache does not know the requirements of its
    /// status.
    MustUnderstand,
    Partial,
    NoStore,
    NoCache,
    Private,
    SetCookie,
    VaryAny,
    Authorization,
    ContentLength,
    EventStream,
}

/// `Set-Cookie2` is obsolete since RFC 6265, but as private as `Set-Cookie`.
pub(crate) const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// Returns `Ok` if the response may be stored.
///
/// # Errors
/// Returns the first reason against storing it.
pub(crate) fn storable(exchange: &Storability<'_>) -> Result<(), NotStorable> {
    let Storability { status, headers, directives, vary, revalidatable, .. } = *exchange;
    let Storability { authorization, hinted, personal, is_rfc9111, shares_cookies, .. } = *exchange;
    // `Content-Range` has a meaning only in a 206 or 416 (RFC 9110 section 14.4). `Policy::app`
    // rejects other responses with this field, because they may be partial.
    let partial =
        status == StatusCode::PARTIAL_CONTENT || (!is_rfc9111 && headers.contains_key(CONTENT_RANGE));
    // These statuses concern one request only, not the resource.
    let of_one_request = matches!(status.as_u16(), 304 | 407 | 412 | 413 | 416 | 417 | 431);
    let never = status.is_informational() || of_one_request || (!is_rfc9111 && status.as_u16() == 405);
    let must_understand = directives.must_understand && !is_understood(status);
    let no_store = has_no_store(directives, is_rfc9111);
    // RFC 9111 section 3.5: a response to a request with `Authorization` needs a directive that
    // permits sharing it.
    let private = directives.private == Qualified::All;
    let shareable = directives.shares_authorized() || (private && personal);
    // A private response to a request with `Authorization` is stored only for its own visitor.
    let is_private_to_another = private && authorization && !personal;
    let sets_cookie = headers.contains_key(SET_COOKIE) || headers.contains_key(SET_COOKIE2);
    let refusals = [
        (partial, NotStorable::Partial),
        (never, NotStorable::Status),
        (must_understand, NotStorable::MustUnderstand),
        (no_store, NotStorable::NoStore),
        ((private && !hinted && !personal) || is_private_to_another, NotStorable::Private),
        (directives.no_cache == Qualified::All && !revalidatable && !hinted, NotStorable::NoCache),
        (sets_cookie && !shares_cookies, NotStorable::SetCookie),
        (*vary == Vary::Any, NotStorable::VaryAny),
        (authorization && !shareable, NotStorable::Authorization),
        (is_event_stream(headers), NotStorable::EventStream),
    ];
    match refusals.iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(*why),
        None => declared_length(headers).map(drop),
    }
}

/// Returns `true` if `no-store` applies to a response.
///
/// RFC 9111 section 5.2.2.3: a cache that knows the status ignores `no-store` beside
/// `must-understand`. `Policy::app` always obeys `no-store`.
pub(crate) fn has_no_store(directives: &ResponseDirectives, is_rfc9111: bool) -> bool {
    directives.no_store && !(is_rfc9111 && directives.permits.must_understand)
}

/// Returns `true` if this cache knows the caching requirements of a status (RFC 9111 section 3).
/// These are the final statuses that RFC 9110 defines.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=206 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

/// Returns `true` for an event stream. The stream does not end, so its response is never complete.
fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).into_iter().any(|value| {
        let media_type = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Returns the length in `Content-Length`, if all of its lines agree (RFC 9110 section 8.6).
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, NotStorable> {
    let mut declared = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        let text = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = text.and_then(|text| text.parse::<u64>().ok()).ok_or(NotStorable::ContentLength)?;
        if declared.replace(length).is_some_and(|other| other != length) {
            return Err(NotStorable::ContentLength);
        }
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{NotStorable, ResponseDirectives, Storability, Vary, declared_length, storable};
    use http::StatusCode;

    type Lines = [(&'static str, &'static str)];

    type Declared = Result<Option<u64>, NotStorable>;

    fn decide(authorization: bool, is_rfc9111: bool, status: u16, lines: &Lines) -> Result<(), NotStorable> {
        let headers = headers(lines);
        storable(&Storability {
            authorization,
            status: StatusCode::from_u16(status).expect("a status"),
            headers: &headers,
            directives: &ResponseDirectives::from_headers(&headers),
            vary: &Vary::from_headers(&headers),
            revalidatable: false,
            hinted: false,
            personal: false,
            is_rfc9111,
            shares_cookies: false,
        })
    }

    fn of_get(lines: &Lines) -> Result<(), NotStorable> {
        decide(false, false, 200, lines)
    }

    /// RFC 9111 sections 3 and 3.3.
    #[test]
    fn interim_partial_and_conditional_responses_are_not_stored() {
        for is_rfc9111 in [false, true] {
            for status in [100, 101, 103, 199, 304, 407, 412, 413, 416, 417, 431] {
                assert_eq!(decide(false, is_rfc9111, status, &[]), Err(NotStorable::Status), "{status}");
            }
            assert_eq!(decide(false, is_rfc9111, 206, &[]), Err(NotStorable::Partial));
            for status in [200, 203, 204, 301, 404, 410, 500] {
                assert_eq!(decide(false, is_rfc9111, status, &[]), Ok(()), "{status}");
            }
        }
    }

    /// RFC 9110 sections 14.4 and 15.1.
    #[test]
    fn app_policy_refuses_a_content_range_in_a_200_and_a_405() {
        let range: &Lines = &[("content-range", "bytes 0-1/2")];
        assert_eq!(decide(false, false, 200, range), Err(NotStorable::Partial));
        assert_eq!(decide(false, true, 200, range), Ok(()));
        assert_eq!(decide(false, false, 405, &[]), Err(NotStorable::Status));
        assert_eq!(decide(false, true, 405, &[]), Ok(()));
    }

    /// RFC 9111 section 5.2.2.3: "limits caching of the response to a cache that understands and
    /// conforms to the requirements for that response's status code".
    #[test]
    fn must_understand_overrides_no_store_if_the_status_is_known() {
        let both: &Lines = &[("cache-control", "must-understand, no-store, max-age=60")];
        let alone: &Lines = &[("cache-control", "must-understand, max-age=60")];
        let (unknown, no_store) = (Err(NotStorable::MustUnderstand), Err(NotStorable::NoStore));
        for status in [200, 203, 301, 404, 410, 503] {
            assert_eq!(decide(false, true, status, both), Ok(()), "{status}");
            assert_eq!(decide(false, false, status, both), no_store, "{status}");
            assert_eq!(decide(false, true, status, alone), Ok(()), "{status}");
        }
        for status in [207, 226, 299, 306, 418, 451, 499, 511, 599] {
            for lines in [both, alone] {
                assert_eq!(decide(false, true, status, lines), unknown, "{status}");
                assert_eq!(decide(false, false, status, lines), unknown, "{status}");
            }
        }
    }

    /// RFC 9111 section 7.3.
    #[test]
    fn set_cookie_is_shared_only_if_permitted() {
        for name in ["set-cookie", "set-cookie2"] {
            let headers = headers(&[(name, "a=1")]);
            let of = |shares_cookies| {
                storable(&Storability {
                    authorization: false,
                    status: StatusCode::OK,
                    headers: &headers,
                    directives: &ResponseDirectives::default(),
                    vary: &Vary::from_headers(&headers),
                    revalidatable: false,
                    hinted: false,
                    personal: false,
                    is_rfc9111: true,
                    shares_cookies,
                })
            };
            assert_eq!((of(false), of(true)), (Err(NotStorable::SetCookie), Ok(())));
        }
    }

    /// RFC 9111 sections 3, 5.2.2 and 5.4.
    #[test]
    fn response_with_a_restricting_directive_is_not_stored() {
        let cases: [(&Lines, Result<(), NotStorable>); 20] = [
            (&[("cache-control", "max-age=60")], Ok(())),
            (&[("cache-control", "max-age=60, no-store")], Err(NotStorable::NoStore)),
            (&[("cache-control", "max-age=60"), ("cache-control", "NO-STORE=x")], Err(NotStorable::NoStore)),
            (&[("cache-control", "private")], Err(NotStorable::Private)),
            (&[("cache-control", "private=\"\"")], Err(NotStorable::Private)),
            (&[("cache-control", "private=\"X-User\"")], Ok(())),
            (&[("cache-control", "public, private")], Err(NotStorable::Private)),
            (&[("cache-control", "no-cache")], Err(NotStorable::NoCache)),
            (&[("cache-control", "no-cache=\"X-User\"")], Ok(())),
            (&[("pragma", "no-cache")], Ok(())),
            (&[("set-cookie", "a=1")], Err(NotStorable::SetCookie)),
            (&[("set-cookie2", "a=1")], Err(NotStorable::SetCookie)),
            (
                &[("set-cookie", "a=1"), ("cache-control", "private=\"Set-Cookie\"")],
                Err(NotStorable::SetCookie),
            ),
            (
                &[("set-cookie", "a=1"), ("cache-control", "no-cache=\"Set-Cookie\"")],
                Err(NotStorable::SetCookie),
            ),
            (&[("vary", "Accept")], Ok(())),
            (&[("vary", "Accept"), ("vary", "Origin, *")], Err(NotStorable::VaryAny)),
            (&[("content-type", "text/event-stream")], Err(NotStorable::EventStream)),
            (&[("content-type", " Text/Event-Stream ; charset=utf-8")], Err(NotStorable::EventStream)),
            (&[("content-type", "text/event-stream-like")], Ok(())),
            (&[("content-length", "1"), ("content-length", "2")], Err(NotStorable::ContentLength)),
        ];
        for (lines, expected) in cases {
            assert_eq!(of_get(lines), expected, "{lines:?}");
        }
    }

    /// RFC 9111 section 3.5.
    #[test]
    fn response_to_authorization_must_be_marked_as_shareable() {
        let cases = [
            ("max-age=60", false),
            ("max-age=60, proxy-revalidate", false),
            ("max-age=60, public=yes", false),
            ("max-age=60, x=\"public\"", false),
            ("max-age=60, must-revalidate=bad", false),
            ("max-age=60, s-maxage=bad", false),
            ("max-age=60, public", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ];
        for (value, stored) in cases {
            let expected = if stored { Ok(()) } else { Err(NotStorable::Authorization) };
            assert_eq!(decide(true, true, 200, &[("cache-control", value)]), expected, "{value}");
            assert_eq!(of_get(&[("cache-control", value)]), Ok(()), "{value}");
        }
        assert_eq!(decide(true, true, 200, &[]), Err(NotStorable::Authorization));
    }

    /// RFC 9110 section 8.6.
    #[test]
    fn content_length_is_read_if_its_lines_agree() {
        let wrong = Err(NotStorable::ContentLength);
        let cases: [(&[&'static str], Declared); 12] = [
            (&[], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["42"], Ok(Some(42))),
            (&["42", "42"], Ok(Some(42))),
            (&["18446744073709551615"], Ok(Some(u64::MAX))),
            (&["18446744073709551616"], wrong),
            (&["42", "43"], wrong),
            (&["42", ""], wrong),
            (&["+42"], wrong),
            (&["-1"], wrong),
            (&["4 2"], wrong),
            (&["\u{e9}"], wrong),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("content-length", *line)).collect();
            assert_eq!(declared_length(&headers(&lines)), expected, "{lines:?}");
        }
    }

    /// A lifetime from `CacheHints` does not permit sharing a private response to a request with
    /// `Authorization` (RFC 9111 section 3.5).
    #[test]
    fn private_response_to_authorization_is_stored_per_visitor() {
        for is_rfc9111 in [false, true] {
            for directives in
                ["private", "private, public", "private, s-maxage=60", "private, must-revalidate"]
            {
                let headers = headers(&[("cache-control", directives)]);
                let (directives, vary) =
                    (ResponseDirectives::from_headers(&headers), Vary::from_headers(&headers));
                let exchange = |personal| Storability {
                    authorization: true,
                    status: StatusCode::OK,
                    headers: &headers,
                    directives: &directives,
                    vary: &vary,
                    revalidatable: false,
                    hinted: true,
                    personal,
                    is_rfc9111,
                    shares_cookies: false,
                };
                assert_eq!(storable(&exchange(false)), Err(NotStorable::Private), "{headers:?}");
                assert_eq!(storable(&exchange(true)), Ok(()), "{headers:?}");
            }
        }
    }
}
