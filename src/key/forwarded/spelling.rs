//! Canonical forms of the values of forwarded fields.

use super::super::authority::canonical_authority;
use super::super::query::QueryKey;
use http::Uri;
use http::uri::Scheme;

/// Returns a scheme in lower case, or `None` if it is not valid.
pub(super) fn scheme(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    // RFC 3986 section 3.1.
    let is_scheme =
        text.starts_with(|first: char| first.is_ascii_alphabetic()) && Scheme::try_from(text).is_ok();
    is_scheme.then(|| text.to_ascii_lowercase())
}

/// Returns a port without leading zeros, or `None` if it is not valid.
pub(super) fn port(text: &[u8]) -> Option<String> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse::<u16>().ok().filter(|port| *port != 0).map(|port| port.to_string())
}

/// Returns the canonical form of a path prefix that a proxy has removed: with a leading slash, and
/// without a trailing one.
///
/// The canonical form of `/` is an empty text. Returns `None` if the prefix is not a valid path.
pub(crate) fn prefix_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim_matches('/');
    // RFC 3986 section 3.3.
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:@%/".contains(&byte);
    let prefix = if text.is_empty() { String::new() } else { format!("/{text}") };
    prefix.bytes().all(is_of_path).then_some(prefix)
}

/// Returns the authority of a URL in canonical form.
pub(super) fn host_of(uri: &Uri) -> Option<String> {
    canonical_authority(uri.authority()?.as_str().as_bytes(), uri.scheme_str())
}

/// Returns a URL in canonical form, with only the keyed parameters of its query.
pub(super) fn url_text(uri: &Uri, query: &QueryKey) -> String {
    let query = query.normalized(uri.query()).map(|query| format!("?{query}")).unwrap_or_default();
    let origin = uri.scheme_str().zip(host_of(uri));
    let origin = origin.map(|(scheme, host)| format!("{}://{host}", scheme.to_ascii_lowercase()));
    format!("{}{}{query}", origin.unwrap_or_default(), uri.path())
}
