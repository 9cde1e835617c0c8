//! The response fields that are not stored (RFC 9111 section 3.1).

use super::cache_control::ResponseDirectives;
use super::exchange_fields::describes_exchange;
use super::frequent_fields::is_frequent;
use super::list::field_elements;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, VARY,
};
use http::{HeaderMap, HeaderName};

/// Returns `true` if a field describes one connection or one exchange.
fn describes_connection_or_exchange(name: &str) -> bool {
    matches!(
        name,
        // This cache computes `Age` for each hit.
        "age"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "set-cookie"
            | "set-cookie2"
    ) || describes_exchange(name)
}

/// End-to-end fields. They are stored even if `Connection` names them (RFC 9110 section 7.6.1).
const ALWAYS_STORED: [HeaderName; 7] =
    [CACHE_CONTROL, VARY, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LOCATION];

/// Returns the names of the fields that must not be stored. Cookies are stored if `shares_cookies`.
pub(crate) fn fields_not_stored(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    shares_cookies: bool,
) -> Vec<HeaderName> {
    let connection =
        field_elements(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    let named = connection.filter(|name| !ALWAYS_STORED.contains(name));
    let is_listed = |name: &HeaderName| match name.as_str() {
        "set-cookie" | "set-cookie2" if shares_cookies => false,
        name => !is_frequent(name) && describes_connection_or_exchange(name),
    };
    let listed = headers.keys().filter(|name| is_listed(name)).cloned();
    named.chain(listed).chain(directives.qualified_fields().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{ResponseDirectives, fields_not_stored};
    use http::HeaderMap;
    use http::header::CONTENT_TYPE;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn stored(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = headers(lines);
        let directives = ResponseDirectives::from_headers(&headers);
        strip(&mut headers, &directives);
        headers
    }

    fn strip(headers: &mut HeaderMap, directives: &ResponseDirectives) {
        for name in fields_not_stored(headers, directives, false) {
            headers.remove(name);
        }
    }

    /// RFC 9111 section 3.1, RFC 9110 section 7.6.1.
    #[test]
    fn connection_and_exchange_fields_are_removed() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
            "set-cookie",
            "set-cookie2",
            "x-request-id",
            "x-correlation-id",
            "traceparent",
            "tracestate",
            "server-timing",
            "age",
        ] {
            let remaining = stored(&[(name, "1"), (name, "2"), ("x-kept", "3")]);
            assert_eq!(remaining, headers(&[("x-kept", "3")]), "{name}");
        }
    }

    /// RFC 9110 section 7.6.1.
    #[test]
    fn fields_named_by_connection_are_removed() {
        let remaining = stored(&[
            ("connection", "close, X-Foo"),
            ("connection", "x-bar , not a name"),
            ("x-foo", "1"),
            ("x-bar", "2"),
            ("x-bar", "3"),
            ("x-kept", "4"),
        ]);
        assert_eq!(remaining, headers(&[("x-kept", "4")]));
    }

    /// RFC 9110 section 7.6.1: `Connection` must not name fields that all recipients need.
    #[test]
    fn connection_cannot_remove_end_to_end_fields() {
        let needed = [
            ("cache-control", "max-age=1"),
            ("vary", "accept"),
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("content-length", "1"),
            ("etag", "\"a\""),
            ("location", "/"),
        ];
        let option = needed.map(|(name, _)| name).join(", ").to_uppercase();
        let lines: Vec<_> = needed.into_iter().chain([("connection", &*option)]).collect();
        assert_eq!(stored(&lines), headers(&needed));
    }

    /// RFC 9111 sections 5.2.2.4 and 5.2.2.7.
    #[test]
    fn fields_named_by_qualified_directives_are_removed() {
        let control = ("cache-control", "private=\"X-User, x-mail\", no-cache=\"x-token\"");
        let remaining =
            stored(&[control, ("x-user", "1"), ("x-mail", "2"), ("x-token", "3"), ("x-kept", "4")]);
        assert_eq!(remaining, headers(&[control, ("x-kept", "4")]));
    }

    /// RFC 9111 section 7.3.
    #[test]
    fn shared_cookie_is_kept() {
        let headers = headers(&[("set-cookie", "a=1"), ("set-cookie2", "a=1"), ("age", "1")]);
        let names = fields_not_stored(&headers, &ResponseDirectives::default(), true);
        assert_eq!(names, ["age"]);
    }

    #[test]
    fn other_fields_are_kept_with_all_lines() {
        let lines =
            [("etag", "\"a\""), ("link", "</a>"), ("link", "</b>"), ("date", "x"), ("www-authenticate", "y")];
        assert_eq!(stored(&lines), headers(&lines));
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_connection_options_parse_without_a_panic(mut headers in field("connection")) {
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/html"));
            strip(&mut headers, &ResponseDirectives::default());
            prop_assert_eq!(headers.len(), 1);
            prop_assert!(headers.contains_key(CONTENT_TYPE));
        }
    }
}
