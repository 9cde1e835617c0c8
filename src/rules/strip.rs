//! Which response fields are not stored (RFC 9111 section 3.1).

use super::cache_control::{Qualified, ResponseDirectives};
use super::list::field_elements;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, VARY,
};
use http::{HeaderMap, HeaderName};

/// Fields of one connection or one exchange.
const NOT_STORED: [&str; 19] = [
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
    // Of the request that filled the cache, misleading on all others.
    "x-request-id",
    "x-correlation-id",
    "traceparent",
    "tracestate",
    "server-timing",
    "x-trace-id",
    "x-amzn-trace-id",
];

/// What means something to every recipient can't be for one connection (RFC 9110 section 7.6.1).
const FOR_ALL: [HeaderName; 7] =
    [CACHE_CONTROL, VARY, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LOCATION];

/// Removes what is not to be stored.
pub(crate) fn strip_for_storage(headers: &mut HeaderMap, directives: &ResponseDirectives) {
    let connection =
        field_elements(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    let named: Vec<_> = connection.filter(|name| !FOR_ALL.contains(name)).collect();
    for name in &named {
        headers.remove(name);
    }
    for name in NOT_STORED {
        headers.remove(name);
    }
    headers.remove(AGE);
    for qualified in [&directives.private, &directives.no_cache] {
        if let Qualified::Fields(fields) = qualified {
            for name in fields {
                headers.remove(name);
            }
        }
    }
}
