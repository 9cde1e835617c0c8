//! Updates of a stored response by a 304 or by the response to a HEAD (RFC 9111 sections 3.2, 4.3.4
//! and 4.3.5).

use super::entity_tag::EntityTag;
use super::preconditions::Validators;
use super::storability::declared_length;
use http::HeaderMap;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName, LAST_MODIFIED,
};

/// `Content-MD5` (RFC 1864).
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// `Content-Digest` (RFC 9530 section 2).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Digests of the content of one message. They do not apply to a part of the content.
pub(crate) const CONTENT_DIGESTS: [HeaderName; 2] = [CONTENT_DIGEST, CONTENT_MD5];

/// Digests of a content or a representation (RFC 9530 sections 2 and 3, RFC 3230, RFC 1864). Each
/// content coding has others.
pub(crate) const DIGESTS: [HeaderName; 4] =
    [CONTENT_DIGEST, CONTENT_MD5, HeaderName::from_static("repr-digest"), HeaderName::from_static("digest")];

/// Fields that describe the bytes of the body. The stored body stays, so a 304 does not replace
/// these fields (RFC 9530 sections 2 and 3, RFC 3230).
const BODY_FIELDS: [HeaderName; 6] = [
    CONTENT_DIGEST,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Returns the stored fields, updated by the fields of a 304 (RFC 9111 section 3.2).
///
/// The result may contain fields that must not be stored.
///
/// With `retyped`, the 304 also replaces `Content-Type` and `Content-MD5`, as RFC 9111 section 3.2
/// requires. Otherwise these two fields stay: some frameworks add a default type, or the digest of
/// an empty body, to a 304.
pub(crate) fn updated_fields(stored: &HeaderMap, validated: &HeaderMap, retyped: bool) -> HeaderMap {
    let mut headers = stored.clone();
    // `Age` and `Date` describe the previous exchange.
    headers.remove(AGE);
    headers.remove(DATE);
    let has_tag = EntityTag::line_of_response(validated).is_some();
    let stays = |name: &HeaderName| {
        BODY_FIELDS.contains(name)
            || ([CONTENT_TYPE, CONTENT_MD5].contains(name) && !retyped)
            || (*name == ETAG && !has_tag)
    };
    for name in validated.keys().filter(|name| !stays(name)) {
        headers.remove(name);
        for value in validated.get_all(name) {
            let _ = headers.try_append(name, value.clone());
        }
    }
    headers
}

/// The relation between the validators of a 304 and of the stored response (RFC 9111 section
/// 4.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValidatorMatch {
    /// The validators match: the 304 updates the stored response.
    Same,
    /// The validators are not strong enough for an update. For example, a compressing layer has
    /// weakened the tag of the 200, but not the tag of the 304.
    Weak,
    /// The 304 describes another representation.
    Another,
}

impl ValidatorMatch {
    /// Compares the validators of both responses:
    /// - If both have a tag, different tags are [`Another`](Self::Another), and a strong tag of the
    ///   304 with a weak stored tag is [`Weak`](Self::Weak).
    /// - If only the 304 has a tag, the result is `Another` unless both have the same date. With
    ///   the same date, a strong tag is `Weak`.
    /// - If the 304 has only a date, the result is `Another` unless the stored response has the
    ///   same date.
    /// - All other pairs are [`Same`](Self::Same), as is a 304 without validators.
    pub(crate) fn new(stored: &HeaderMap, validated: &HeaderMap) -> Self {
        let (own, given) = (Validators::of_response(stored), Validators::of_response(validated));
        let is_same_date = own.last_modified == given.last_modified;
        match (own.etag, given.etag) {
            (Some(own), Some(given)) if !own.weak_eq(&given) => Self::Another,
            (Some(own), Some(given)) if given.is_weak() || !own.is_weak() => Self::Same,
            (Some(_), Some(_)) => Self::Weak,
            (None, Some(_)) if own.last_modified.is_none() || !is_same_date => Self::Another,
            // A date counts as a weak validator.
            (None, Some(given)) => {
                if given.is_weak() {
                    Self::Same
                } else {
                    Self::Weak
                }
            }
            (_, None) if given.last_modified.is_some() && !is_same_date => Self::Another,
            (_, None) => Self::Same,
        }
    }
}

/// Returns `true` if the response to a HEAD matches a stored response with a body of `length`
/// bytes.
///
/// Each validator of the response to the HEAD must be equal to the stored validator. Its
/// `Content-Length` must be `length` (RFC 9111 section 4.3.5). Absent fields are ignored.
pub(crate) fn matches_stored_body(stored: &HeaderMap, length: u64, head: &HeaderMap) -> bool {
    let same = |name: &HeaderName| head.get(name).is_none_or(|value| stored.get(name) == Some(value));
    let declared = declared_length(head);
    same(&ETAG)
        && same(&LAST_MODIFIED)
        && declared.is_ok_and(|declared| declared.is_none_or(|own| own == length))
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{ValidatorMatch, matches_stored_body, updated_fields};

    /// RFC 9111 section 4.3.4.
    #[test]
    fn a_304_updates_a_response_with_matching_validators() {
        use ValidatorMatch::{Another, Same, Weak};
        type Lines = &'static [(&'static str, &'static str)];
        const DATE: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT");
        const LATER: (&str, &str) = ("last-modified", "Mon, 07 Nov 1994 08:48:37 GMT");
        let (strong, weak): (Lines, Lines) = (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")]);
        let table: [(Lines, Lines, ValidatorMatch); 16] = [
            (strong, strong, Same),
            (strong, weak, Same),
            (weak, weak, Same),
            (weak, strong, Weak),
            (strong, &[("etag", "\"b\"")], Another),
            (strong, &[("etag", "W/\"b\"")], Another),
            (weak, &[("etag", "\"b\"")], Another),
            (strong, &[], Same),
            (strong, &[DATE], Another),
            (&[DATE], &[DATE], Same),
            (&[DATE], &[LATER], Another),
            (&[DATE], &[DATE, ("etag", "\"a\"")], Weak),
            (&[DATE], &[DATE, ("etag", "W/\"a\"")], Same),
            (&[DATE], &[LATER, ("etag", "\"a\"")], Another),
            (&[DATE], strong, Another),
            (&[DATE, ("etag", "\"a\"")], &[LATER, ("etag", "\"a\"")], Same),
        ];
        for (stored, validated, expected) in table {
            let found = ValidatorMatch::new(&headers(stored), &headers(validated));
            assert_eq!(found, expected, "{stored:?} {validated:?}");
        }
    }

    /// RFC 9111 section 4.3.5: "matching values for any received validator fields (ETag and
    /// Last-Modified) and, if the HEAD response has a Content-Length header field, the value of
    /// Content-Length matches".
    #[test]
    fn head_matches_if_its_validators_and_length_match() {
        const DATE: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
        let stored = headers(&[("etag", "\"a\""), ("last-modified", DATE)]);
        let table: [(&[(&'static str, &'static str)], bool); 9] = [
            (&[], true),
            (&[("etag", "\"a\"")], true),
            (&[("etag", "\"a\""), ("last-modified", DATE), ("content-length", "3")], true),
            (&[("content-length", "3")], true),
            (&[("content-length", "4")], false),
            (&[("content-length", "3"), ("content-length", "4")], false),
            (&[("etag", "\"b\"")], false),
            (&[("etag", "W/\"a\"")], false),
            (&[("etag", "\"a\""), ("last-modified", "Mon, 07 Nov 1994 08:48:37 GMT")], false),
        ];
        for (lines, expected) in table {
            assert_eq!(matches_stored_body(&stored, 3, &headers(lines)), expected, "{lines:?}");
        }
        assert!(!matches_stored_body(&headers(&[]), 3, &headers(&[("etag", "\"a\"")])));
    }

    /// RFC 9111 section 3.2.
    #[test]
    fn a_304_replaces_stored_fields_except_body_fields() {
        let stored = headers(&[
            ("age", "100"),
            ("date", "Sun, 06 Nov 1994 08:48:37 GMT"),
            ("cache-control", "max-age=1"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-length", "10"),
            ("etag", "\"a\""),
            ("content-digest", "sha-256=:cGFnZQ==:"),
            ("x-old", "1"),
            ("x-both", "1"),
            ("x-both", "2"),
        ]);
        let validated = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/plain"),
            ("content-encoding", "br"),
            ("content-length", "0"),
            ("content-digest", "sha-256=:bm9uZQ==:"),
            ("repr-digest", "sha-256=:bm9uZQ==:"),
            ("etag", "*"),
            ("x-both", "3"),
            ("x-new", "4"),
        ]);
        let expected = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-length", "10"),
            ("etag", "\"a\""),
            ("content-digest", "sha-256=:cGFnZQ==:"),
            ("x-old", "1"),
            ("x-both", "3"),
            ("x-new", "4"),
        ]);
        assert_eq!(updated_fields(&stored, &validated, false), expected);
        let mut retyped = expected.clone();
        retyped.insert("content-type", http::HeaderValue::from_static("text/plain"));
        assert_eq!(updated_fields(&stored, &validated, true), retyped);
    }
}
