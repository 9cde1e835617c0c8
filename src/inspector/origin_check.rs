//! The check that a POST comes from the inspector's own page, or from a program.

use super::form::{FormFields, Rejection};
use super::token::RequestToken;
use crate::serve::public_uri;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const TOKEN_FIELD: HeaderName = HeaderName::from_static("x-inspector-token");
/// The name of the token in a form.
const TOKEN: &str = "token";

/// Rejects a request that a browser sends for another site.
///
/// A browser sends `Sec-Fetch-Site` and `Origin`. If a field is present, it must name the own site.
/// A program sends neither.
///
/// # Errors
/// Returns a 403.
pub(super) fn check_site(request: &Parts) -> Result<(), Rejection> {
    let site = single(&request.headers, &SEC_FETCH_SITE)?;
    if site.is_some_and(|site| site != "same-origin") {
        return Err((StatusCode::FORBIDDEN, "Sec-Fetch-Site is not same-origin"));
    }
    let Some(origin) = single(&request.headers, &ORIGIN)? else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let origin = origin.filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
    match (origin, own_host(request)?) {
        (Some((_, host)), Some(own)) if host.eq_ignore_ascii_case(own) => Ok(()),
        _ => Err((StatusCode::FORBIDDEN, "Origin is not the host of the request")),
    }
}

/// Returns the host that the client requested, with its port.
pub(super) fn own_host(request: &Parts) -> Result<Option<&str>, Rejection> {
    let host = single(&request.headers, &HOST)?.and_then(|host| host.to_str().ok());
    Ok(public_uri(request.into()).authority().map(Authority::as_str).or(host))
}

/// Returns the value of a field that a request has once at most.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Rejection> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (first, None) => Ok(first),
        _ => Err((StatusCode::FORBIDDEN, "Host, Origin, Sec-Fetch-Site or X-Inspector-Token is repeated")),
    }
}

/// Rejects a form without the token. The token is in the field `X-Inspector-Token`, or in the
/// form's field `token`. Removes it from the form.
///
/// # Errors
/// Returns a 403.
pub(super) fn check_token(
    token: &RequestToken,
    headers: &HeaderMap,
    form: &mut FormFields,
) -> Result<(), Rejection> {
    let mut given: Vec<_> =
        form.extract_if(.., |(name, _)| name == TOKEN).map(|(_, token)| token.into_bytes()).collect();
    given.extend(single(headers, &TOKEN_FIELD)?.map(|token| token.as_bytes().to_vec()));
    match given.as_slice() {
        [one] if token.is(one) => Ok(()),
        _ => Err((StatusCode::FORBIDDEN, "the token of token.json is missing, repeated or wrong")),
    }
}
