//! `InspectorService`: who may use it, what it shows, and what it changes.

mod access;
#[cfg(feature = "axum")]
mod browser;
mod caches;
#[cfg(feature = "axum")]
mod chromium;
mod lookups;
mod nested;
mod numbers;
mod writes;

use crate::support::*;
use http::Request;
use serde_json::Value;
use tower_response_cache::{Cache, InspectorService};

/// The field by which the predicate of these tests knows an operator.
const OPERATOR: (&str, &str) = ("x-operator", "ann");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn inspector(cache: &Cache) -> InspectorService {
    InspectorService::new(cache, |request| request.headers.contains_key(OPERATOR.0))
}

/// Creates a request of an operator with a body.
fn operator_request(method: &str, uri: &str, lines: &[(&str, &str)], body: &str) -> Request<Body> {
    let lines = [&[OPERATOR, ("host", "shop.example")], lines].concat();
    request(method, uri, &lines).map(|_| Body::from(body.to_owned()))
}

async fn operator_get(service: &InspectorService, uri: &str) -> Answer {
    send(service, operator_request("GET", uri, &[], "")).await
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

async fn stats(service: &InspectorService) -> Value {
    json(&operator_get(service, "/stats.json").await)
}

async fn token(service: &InspectorService) -> String {
    let answer = json(&operator_get(service, "/token.json").await);
    answer["token"].as_str().expect("a token").to_owned()
}

/// Sends a form with the token, as a script does.
async fn post(service: &InspectorService, uri: &str, form: &str) -> Answer {
    let token = token(service).await;
    let lines = [FORM, ("x-inspector-token", &*token)];
    send(service, operator_request("POST", uri, &lines, form)).await
}
