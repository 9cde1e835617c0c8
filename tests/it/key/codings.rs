//! An encoded response without `Vary: Accept-Encoding` is served only to clients that accept its
//! content coding.

use crate::support::*;
use http::{Request, Response};
use std::sync::Arc;
use tokio::sync::Barrier;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::key::KeyPart;
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer};

fn offering(coding: &str) -> Request<Body> {
    get_with("/", &[("accept-encoding", coding)])
}

fn wants_gzip(request: &Request<Body>) -> bool {
    let field = request.headers().get("accept-encoding");
    field.is_some_and(|field| field.to_str().expect("text").contains("gzip"))
}

/// A handler that selects the coding by `Accept-Encoding`, but does not name the field in `Vary`.
fn negotiating(request: &Request<Body>, call: usize) -> Response<Body> {
    match wants_gzip(request) {
        true => numbered(&[("content-encoding", "gzip")], call),
        false => numbered(&[], call),
    }
}

#[tokio::test]
async fn an_encoded_response_is_served_if_the_client_accepts_it() {
    let table = [
        ("gzip", true),
        ("x-gzip", true),
        ("br, GZIP;q=0.1", true),
        ("*", true),
        ("br;q=1, *;q=0.5", true),
        ("gzip;q=0", false),
        ("gzip;q=0, *", false),
        ("identity", false),
        ("br", false),
        ("", false),
    ];
    for (offered, fits) in table {
        let (stack, _) = site(policy(), |_, call| numbered(&[("content-encoding", "gzip")], call));
        assert!(send(&stack, offering("gzip")).await.header("cache-status").is_some());
        let answer = send(&stack, offering(offered)).await;
        assert_eq!(answer.is_hit(), fits, "{offered}");
        assert_eq!(answer.header("cache-status").expect("a status").contains("fwd=vary-miss"), !fits);
        assert!(send(&stack, offering("gzip")).await.text() == "1", "{offered}: the entry stays");
    }
}

#[tokio::test]
async fn a_client_without_accept_encoding_gets_no_encoded_entry() {
    for level in ["site", "route"] {
        let inner = origin(|_, call| numbered(&[("content-encoding", "br, gzip")], call)).0;
        let stack = match level {
            "site" => site_over(&memory(), inner),
            _ => RouteCacheLayer::new(&memory(), MINUTE).layer(inner).boxed_clone(),
        };
        for (request, text) in [
            (offering("br, gzip"), "1"),
            (get("/"), "2"),
            (get("/"), "3"),
            (offering("gzip"), "4"),
            (request("HEAD", "/", &[]), "5"),
            (get_with("/", &[("range", "bytes=0-0")]), "6"),
            (offering("gzip, br"), "1"),
        ] {
            assert_eq!(send(&stack, request).await.text(), text, "{level}");
        }
    }
}

/// The unencoded response is acceptable for every client.
#[tokio::test]
async fn an_unencoded_response_replaces_an_encoded_entry() {
    let (stack, calls) = site(policy(), negotiating);
    let expected = [("gzip", "1"), ("br", "2"), ("gzip", "2"), ("br", "2"), ("", "2"), ("gzip", "2")];
    for (offered, text) in expected {
        assert_eq!(send(&stack, offering(offered)).await.text(), text, "{offered}");
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_coding_that_the_client_does_not_accept_is_not_stored() {
    let (stack, _) = site(policy(), |_, call| numbered(&[("content-encoding", "gzip")], call));
    for _ in 0..2 {
        assert_eq!(send(&stack, get("/")).await.detail(), Some("content-encoding"));
    }
    assert_eq!(send(&stack, offering("gzip")).await.text(), "3");
    assert_eq!(send(&stack, offering("gzip")).await.text(), "3");
}

#[tokio::test]
async fn negotiated_responses_are_selected_by_vary_or_by_the_key() {
    let vary = [("content-encoding", "gzip"), ("vary", "accept-encoding")];
    let (stack, _) = site(policy(), move |_, call| numbered(&vary, call));
    assert!(shares(&stack, get("/"), get("/")).await, "selected by `Vary`");
    let keyed = policy().vary_by_part(KeyPart::encoding(["gzip"]).expect("valid"));
    let (stack, _) = site(keyed, negotiating);
    assert!(shares(&stack, offering("gzip"), offering("br, gzip")).await, "selected by the key");
    let (stack, _) = site(policy(), |_, call| numbered(&[("content-encoding", "identity")], call));
    assert!(shares(&stack, offering("gzip"), get("/")).await, "`identity` is no coding");
    let standard = Policy::rfc9111().default_ttl(MINUTE).cache_status(true);
    let (stack, _) = site(standard, |_, call| numbered(&[("content-encoding", "gzip")], call));
    assert!(shares(&stack, get("/"), get("/")).await, "`Policy::rfc9111` shares it");
}

#[tokio::test]
async fn a_follower_gets_no_coding_that_it_does_not_accept() {
    let barrier = Arc::new(Barrier::new(2));
    let (calls, gate) = (Calls::default(), Arc::clone(&barrier));
    let inner = service_fn(move |request: Request<Body>| {
        let (call, gate) = (calls.next(), Arc::clone(&gate));
        async move {
            if call == 1 {
                gate.wait().await;
            }
            Ok::<_, std::convert::Infallible>(negotiating(&request, call))
        }
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner).boxed_clone();
    let request_page = |coding: &str| {
        let answer = stack.clone().oneshot(offering(coding));
        tokio::spawn(async move { read(answer.await.expect("infallible")).await })
    };
    let (leader, wrong) = (request_page("gzip"), request_page("br"));
    let (alike, wrong_too) = (request_page("gzip, br"), request_page("br"));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    barrier.wait().await;
    assert_eq!(leader.await.expect("joins").text(), "1");
    assert_eq!(wrong.await.expect("joins").header("content-encoding"), None);
    assert_eq!(wrong_too.await.expect("joins").header("content-encoding"), None);
    let alike = alike.await.expect("joins");
    assert!(alike.is_hit() || alike.text() == "1", "{alike:?}");
}
