//! The responses of an inspector, with the fields that all of them have.

use crate::layer::add_never_cache;
use crate::rules::patch::set_field;
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// The page loads its own style and script only, connects to its own host only, and is shown in no
/// frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds the fields of every response: no cache stores it, and no other site uses it.
pub(super) fn secured(mut response: Response<String>) -> Response<String> {
    add_never_cache(&mut response);
    let fields = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in fields {
        set_field(response.headers_mut(), &name, HeaderValue::from_static(value));
    }
    response
}

/// Returns the response to HEAD, from the response to GET (RFC 9110 section 9.3.2).
pub(super) fn without_body(mut response: Response<String>) -> Response<String> {
    let length = HeaderValue::from(std::mem::take(response.body_mut()).len());
    set_field(response.headers_mut(), &CONTENT_LENGTH, length);
    response
}

pub(super) fn empty(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

/// Returns a response with a body, a constant of this crate.
pub(super) fn asset(content_type: &'static str, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    set_field(response.headers_mut(), &CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn json_with(status: StatusCode, value: &Value) -> Response<String> {
    let mut response = asset("application/json", &value.to_string());
    *response.status_mut() = status;
    response
}

/// Returns the description of a mistake. It is a constant: no part of the request is repeated.
pub(super) fn mistake(status: StatusCode, text: &'static str) -> Response<String> {
    json_with(status, &json!({ "error": text }))
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response<String> {
    let mut response = mistake(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed here");
    set_field(response.headers_mut(), &ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Redirects to a relative reference.
pub(super) fn redirect(location: &str) -> Response<String> {
    let Ok(location) = HeaderValue::from_str(location) else { return empty(StatusCode::NOT_FOUND) };
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    set_field(response.headers_mut(), &LOCATION, location);
    response
}
