//! A coded response whose `Vary` does not name `Accept-Encoding` goes to clients that offered the coding.

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

/// A handler that codes by what a request offers, and forgets to say so.
fn negotiating(request: &Request<Body>, call: usize) -> Response<Body> {
    match wants_gzip(request) {
        true => numbered(&[("content-encoding", "gzip")], call),
        false => numbered(&[], call),
    }
}

#[tokio::test]
async fn a_coded_response_is_given_to_clients_that_offer_its_coding() {
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
        assert_eq!(answer.header("cache-status").expect("told").contains("fwd=vary-miss"), !fits);
        assert!(send(&stack, offering("gzip")).await.text() == "1", "{offered}: nothing is displaced");
    }
}

#[tokio::test]
async fn a_client_that_offers_nothing_gets_no_coded_response() {
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

/// One uncoded response suits all of them.
#[tokio::test]
async fn an_uncoded_response_takes_the_place_of_one_that_few_can_have() {
    let (stack, calls) = site(policy(), negotiating);
    let expected = [("gzip", "1"), ("br", "2"), ("gzip", "2"), ("br", "2"), ("", "2"), ("gzip", "2")];
    for (offered, text) in expected {
        assert_eq!(send(&stack, offering(offered)).await.text(), text, "{offered}");
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_coded_response_that_was_not_asked_for_is_not_stored() {
    let (stack, _) = site(policy(), |_, call| numbered(&[("content-encoding", "gzip")], call));
    for _ in 0..2 {
        assert_eq!(send(&stack, get("/")).await.detail(), Some("content-encoding"));
    }
    assert_eq!(send(&stack, offering("gzip")).await.text(), "3");
    assert_eq!(send(&stack, offering("gzip")).await.text(), "3");
}

/// What is negotiated, or has no coding, is not looked at.
#[tokio::test]
async fn what_is_negotiated_is_selected_by_what_negotiates_it() {
    let vary = [("content-encoding", "gzip"), ("vary", "accept-encoding")];
    let (stack, _) = site(policy(), move |_, call| numbered(&vary, call));
    assert!(shares(&stack, get("/"), get("/")).await, "by its Vary");
    let keyed = policy().vary_by_part(KeyPart::encoding(["gzip"]).expect("valid"));
    let (stack, _) = site(keyed, negotiating);
    assert!(shares(&stack, offering("gzip"), offering("br, gzip")).await, "by the key");
    let (stack, _) = site(policy(), |_, call| numbered(&[("content-encoding", "identity")], call));
    assert!(shares(&stack, offering("gzip"), get("/")).await, "no coding");
    let standard = Policy::rfc9111().default_ttl(MINUTE).cache_status(true);
    let (stack, _) = site(standard, |_, call| numbered(&[("content-encoding", "gzip")], call));
    assert!(shares(&stack, get("/"), get("/")).await, "by RFC 9111 alone");
}

/// A follower is checked like a request that finds the response stored.
#[tokio::test]
async fn a_follower_gets_no_coding_that_it_did_not_offer() {
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
    let ask = |coding: &str| {
        let answer = stack.clone().oneshot(offering(coding));
        tokio::spawn(async move { read(answer.await.expect("infallible")).await })
    };
    let (leader, wrong) = (ask("gzip"), ask("br"));
    let (alike, wrong_too) = (ask("gzip, br"), ask("br"));
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
