//! `/_cache`: the inspector, for operators with a password.

use axum::Router;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::error::Error;
use subtle::ConstantTimeEq;
use tower_response_cache::{Cache, InspectorService};

/// The name of the only operator.
const OPERATOR: &str = "operator";

/// Returns the routes of the inspector, and the random password that they need.
pub(crate) fn routes(cache: &Cache) -> Result<(Router, String), Box<dyn Error>> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{OPERATOR}:{password}")));
    let is_operator = move |request: &Parts| {
        let mut given = request.headers.get_all(AUTHORIZATION).iter();
        let is_expected = |given: &HeaderValue| given.as_bytes().ct_eq(expected.as_bytes()).into();
        given.next().is_some_and(is_expected) && given.next().is_none()
    };
    let inspector = InspectorService::new(cache, is_operator).on_refusal(|_| {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = HeaderValue::from_static("Basic realm=\"cache\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    });
    Ok((Router::new().nest_service("/_cache", inspector), password))
}
