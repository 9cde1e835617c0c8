//! Selects the requests that may use a response with a content coding, but without
//! `Vary: Accept-Encoding`.

use super::not_reusable::NotReusable;
use super::outcome::Lookup;
use crate::entry::StoredResponse;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::policy::{Policy, Sharing};
use crate::rules::accept;
use crate::serve::config::LayerConfig;
use crate::status::{Detail, ForwardReason};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName};

/// Returns `true` if a response has a content coding, but neither its `Vary` nor the key has
/// `Accept-Encoding`. Such a response is only for requests that offer the coding in
/// `Accept-Encoding`.
///
/// Returns `false` under [`Policy::rfc9111`]: `Vary` alone decides (RFC 9111 section 4.1).
pub(in crate::serve) fn requires_coding(
    policy: &Policy,
    response: &HeaderMap,
    varies_on: &[HeaderName],
) -> bool {
    policy.sharing == Sharing::App
        && accept::is_coded(response)
        && !varies_on.contains(&ACCEPT_ENCODING)
        && !policy.key.covers(&ACCEPT_ENCODING)
}

/// Returns `true` if a request selects a response by its nominated fields (RFC 9111 section 4.1).
/// If the response [requires its coding](requires_coding), the request must also offer that coding.
#[inline]
pub(in crate::serve) fn selects(
    config: &LayerConfig,
    response: &StoredResponse,
    request: &HeaderMap,
) -> bool {
    let is_offered = !response.head().requires_coding || accept::offers_codings(request, response.headers());
    is_offered && response.selected_by(request, config.selection())
}

/// Returns the key of the flight for a request that may not use this stored response. `None` stands
/// for the key of the URL.
///
/// The result is `variant`, with one exception: the request needs another variant or coding, and
/// the response [requires its coding](requires_coding). Then the key includes `Accept-Encoding`.
///
/// # Errors
/// Returns [`Detail::KeyLength`] if the key for another coding is too long.
pub(in crate::serve) fn refused_flight_key(
    config: &LayerConfig,
    response: &StoredResponse,
    (key, variant): (KeyRef<'_>, Option<KeyRef<'_>>),
    request: &HeaderMap,
    refusal: NotReusable,
) -> Result<Option<CacheKey>, Detail> {
    match refusal == NotReusable::Fields && response.head().requires_coding {
        true => other_flight_key(config, response, key, request).map(Some),
        false => Ok(variant.map(KeyRef::to_key)),
    }
}

/// Returns the flight key of requests for another variant or coding than this response.
fn other_flight_key(
    config: &LayerConfig,
    response: &StoredResponse,
    key: KeyRef<'_>,
    request: &HeaderMap,
) -> Result<CacheKey, Detail> {
    let nominated = response.head().nominated.iter().map(|field| field.name().clone());
    let coding = response.head().requires_coding.then_some(ACCEPT_ENCODING);
    let fields: Vec<_> = nominated.chain(coding).collect();
    let mut buf = KeyBuf::new();
    config.selection().write_key(&mut buf, key, &fields, request);
    if buf.is_too_long() { Err(Detail::KeyLength) } else { Ok(buf.key().to_key()) }
}

/// Returns the look-up result of a request if the arriving response is another variant. The result
/// is a miss of the request's own variant, or a bypass if the key of that variant is too long.
pub(in crate::serve) fn other_variant(
    config: &LayerConfig,
    arriving: &StoredResponse,
    key: KeyRef<'_>,
    request: &HeaderMap,
) -> Lookup {
    match other_flight_key(config, arriving, key, request) {
        Ok(flight) => Lookup::miss(ForwardReason::VaryMiss, Some(flight)),
        Err(why) => Lookup::Bypass(why),
    }
}
