//! The header fields that a proxy forwards, removes and adds.

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, ETAG,
    EXPIRES, HOST, LOCATION, PRAGMA, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, VARY, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// The pseudonym of the proxy in `Via` (RFC 9110 section 7.6.3).
pub(crate) const PSEUDONYM: &str = "tower-response-cache";

/// Connection-specific fields (RFC 9110 section 7.6.1), in addition to the fields that `Connection`
/// names.
const OF_ONE_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that the proxy forwards even if `Connection` names them: they frame, describe or route
/// the message, or control caches.
const FOR_ALL: [HeaderName; 14] = [
    HOST,
    CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    PRAGMA,
    EXPIRES,
    DATE,
    AGE,
    SET_COOKIE,
    VARY,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    ETAG,
    LOCATION,
];

/// Prepares a received header section for forwarding: removes connection-specific fields and adds
/// `Via`.
pub(crate) fn pass_on(headers: &mut HeaderMap, received: Version) {
    take_off(headers);
    let protocol = match received {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    if let Ok(via) = HeaderValue::try_from(format!("{protocol} {PSEUDONYM}")) {
        headers.append(VIA, via);
    }
}

/// Removes connection-specific fields.
pub(crate) fn take_off(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    let names = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let named = names
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| !FOR_ALL.contains(name));
    for name in named.chain(OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

/// Joins the `Cookie` lines of an HTTP/2 request into one (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let (2.., Ok(joined)) = (lines.len(), HeaderValue::from_bytes(&lines.join(&b"; "[..]))) {
        headers.insert(COOKIE, joined);
    }
}
