//! The `key` parameter of `Cache-Status` (RFC 9211 section 2.7).

use super::target::public_uri;
use crate::key::{QueryKey, RequestHead};
use crate::serve::config::LayerConfig;
use http::header::HOST;
use http::uri::Authority;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Returns the `key` parameter, if clients get one: the host, the path and the keyed query, cut to
/// 512 characters, and a digest of the whole key. The key itself may contain data of the visitor,
/// e.g. the values of keyed fields.
#[inline]
pub(in crate::serve) fn shown_key(
    config: &LayerConfig,
    request: RequestHead<'_>,
    key: &[u8],
) -> Option<Arc<str>> {
    let policy = &config.policy;
    (policy.cache_status_key && policy.cache_status).then(|| show_key(&policy.key.query, request, key))
}

#[inline(never)]
fn show_key(query: &QueryKey, request: RequestHead<'_>, key: &[u8]) -> Arc<str> {
    let uri = public_uri(request);
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or(host).unwrap_or_default();
    let query = query.normalized(uri.query());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut shown = format!("{host}{}{query}", uri.path());
    let longest = shown.char_indices().nth(MAX_SHOWN).map_or(shown.len(), |(at, _)| at);
    shown.truncate(longest);
    format!("{shown} #{}", short_digest(key)).into()
}

/// Returns the beginning of the digest of a key, as text.
pub(in crate::serve) fn short_digest(key: &[u8]) -> String {
    Sha256::digest(key)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The most characters of the URL in the `key` parameter.
const MAX_SHOWN: usize = 512;
