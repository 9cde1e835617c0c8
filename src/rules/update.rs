//! What a 304 or a HEAD changes of a stored response (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).

use super::entity_tag::EntityTag;
use super::storability::declared_length;
use http::HeaderMap;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName, LAST_MODIFIED,
};

/// RFC 1864.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// RFC 9530 section 2.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Digests of the content of one message, which are not those of its parts.
pub(crate) const CONTENT_DIGESTS: [HeaderName; 2] = [CONTENT_DIGEST, CONTENT_MD5];

/// What describes the bytes of the stored body, which a 304 does not bring (RFC 9530 sections 2 and 3, RFC 3230).
const OF_THE_BODY: [HeaderName; 6] = [
    CONTENT_DIGEST,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Returns the stored fields with those of the 304 in their place. Fields that are not stored at all
/// are sorted out where those of any other response are.
///
/// `retyped` says whether `Content-Type` and `Content-MD5` are among them: by RFC 9111 section 3.2 they are; but frameworks
/// put the default type, or the digest of nothing, on a 304 whose handler has set none.
pub(crate) fn updated(stored: &HeaderMap, validated: &HeaderMap, retyped: bool) -> HeaderMap {
    let mut headers = stored.clone();
    // They are of the last exchange; this one has its own, or is from now.
    headers.remove(AGE);
    headers.remove(DATE);
    let has_tag = EntityTag::line_of_response(validated).is_some();
    let stays = |name: &HeaderName| {
        OF_THE_BODY.contains(name)
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

/// Tells whether the answer to a HEAD is about a stored response: the validators and the length that it has are those
/// of what is stored.
pub(crate) fn is_still(stored: &HeaderMap, length: u64, head: &HeaderMap) -> bool {
    let same = |name: &HeaderName| head.get(name).is_none_or(|value| stored.get(name) == Some(value));
    let declared = declared_length(head);
    same(&ETAG)
        && same(&LAST_MODIFIED)
        && declared.is_ok_and(|declared| declared.is_none_or(|own| own == length))
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{is_still, updated};

    /// RFC 9111 section 4.3.5: "matching values for any received validator fields (ETag and Last-Modified) and, if the
    /// HEAD response has a Content-Length header field, the value of Content-Length matches".
    #[test]
    fn a_head_is_about_what_is_stored_if_all_that_it_says_agrees() {
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
            assert_eq!(is_still(&stored, 3, &headers(lines)), expected, "{lines:?}");
        }
        assert!(!is_still(&headers(&[]), 3, &headers(&[("etag", "\"a\"")])));
    }

    /// RFC 9111 section 3.2.
    #[test]
    fn fields_of_the_304_replace_stored_ones_but_those_of_the_body() {
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
        assert_eq!(updated(&stored, &validated, false), expected);
        let mut retyped = expected.clone();
        retyped.insert("content-type", http::HeaderValue::from_static("text/plain"));
        assert_eq!(updated(&stored, &validated, true), retyped);
    }
}
