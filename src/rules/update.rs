//! What a 304 changes of a stored response (RFC 9111 sections 3.2 and 4.3.4).

use http::HeaderMap;
use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, HeaderName};

/// What describes the stored body itself, which a 304 does not bring.
const OF_THE_BODY: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE];

/// Returns the stored fields with those of the 304 in their place. Fields that are not stored at all
/// are sorted out where those of any other response are.
pub(crate) fn updated(stored: &HeaderMap, validated: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    // They are of the last exchange; this one has its own, or is from now.
    headers.remove(AGE);
    headers.remove(DATE);
    for name in validated.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        headers.remove(name);
        for value in validated.get_all(name) {
            let _ = headers.try_append(name, value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::updated;

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
            ("x-old", "1"),
            ("x-both", "1"),
            ("x-both", "2"),
        ]);
        let validated = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/plain"),
            ("content-encoding", "br"),
            ("content-length", "0"),
            ("x-both", "3"),
            ("x-new", "4"),
        ]);
        let expected = headers(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-length", "10"),
            ("etag", "\"a\""),
            ("x-old", "1"),
            ("x-both", "3"),
            ("x-new", "4"),
        ]);
        assert_eq!(updated(&stored, &validated), expected);
    }
}
