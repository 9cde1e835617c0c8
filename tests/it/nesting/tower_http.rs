//! Cache layers among layers of tower-http: which effects are stored, and which are new for each
//! request.

use crate::nesting::layer_orders::Part::*;
use crate::nesting::layer_orders::{CACHES, Shop, adding, app, hit, orders, outside, status_contains, visit};
use crate::support::*;
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::decompression::DecompressionLayer;
use tower_response_cache::key::KeyPart;

async fn unzipped(answer: &Answer) -> Answer {
    let Answer { status, headers, body } = answer.clone();
    let mut response = http::Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    let server = service_fn(move |_: http::Request<Body>| {
        let response = response.clone();
        async move { Ok::<_, Infallible>(response) }
    });
    read(DecompressionLayer::new().layer(server).oneshot(get("/")).await.expect("infallible")).await
}

#[tokio::test]
async fn inner_compression_makes_variants_and_outer_one_entry() {
    let spellings = ["gzip", "gzip, deflate, br", "br, gzip;q=0.8", "identity", ""];
    let by_coding = policy().vary_by_part(KeyPart::encoding(["gzip"]).expect("valid"));
    for order in orders(&[Compression, Site, Route]) {
        let innermost = CACHES.iter().all(|&cache| outside(&order, cache, &[Compression]));
        // With `by_coding`, the coding is a part of the key, so every order stores one entry per
        // coding.
        let table = [(policy(), if innermost { spellings.len() } else { 1 }), (by_coding.clone(), 2)];
        for (policy, copies) in table {
            let app = Shop::new(policy).in_order(&order);
            let mut made = 0;
            for round in 0..2 {
                for accept in spellings {
                    let lines = [("accept-encoding", accept)];
                    let sent = get_with("/long", &lines[..usize::from(!accept.is_empty())]);
                    let answer = send(&app, sent).await;
                    let zipped = answer.header("content-encoding") == Some("gzip");
                    assert_eq!(zipped, accept.contains("gzip"), "{order:?}");
                    assert_eq!(zipped, answer.body.len() < 400, "{order:?}");
                    assert_eq!(unzipped(&answer).await.text(), "vanilla ".repeat(500));
                    assert!(round == 0 || hit(&answer), "{order:?}: {accept}");
                    made += usize::from(!hit(&answer));
                }
            }
            assert_eq!(made, copies, "{order:?}");
        }
    }
}

#[tokio::test]
async fn no_visitor_gets_anothers_request_id_in_any_order() {
    for order in orders(&[SetId, PropagateId, Site]) {
        let app = Shop::new(policy()).in_order(&order);
        let mut ids = Vec::new();
        for first in [true, false, false] {
            let answer = visit(&app, "/long", "").await;
            assert_eq!(hit(&answer), !first);
            let id = answer.headers.get("x-request-id").cloned();
            // A hit has an ID only if `SetId` and `PropagateId` are both outside the cache.
            let answered = first || outside(&order, PropagateId, &[Site]);
            assert_eq!(id.is_some(), answered && outside(&order, SetId, &[PropagateId]), "{order:?}");
            ids.extend(id);
        }
        assert!(ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id)), "{order:?}: {ids:?}");
        for own in ["one", "two"] {
            let answer = send(&app, get_with("/long", &[("x-request-id", own)])).await;
            let outer = outside(&order, PropagateId, &[Site]);
            assert!(hit(&answer), "{order:?}");
            assert_eq!(answer.header("x-request-id"), outer.then_some(own), "{order:?}");
        }
    }
}

#[tokio::test]
async fn a_field_prevents_sharing_only_if_the_cache_sees_it() {
    let table = [
        (CACHE_CONTROL, "private", "private"),
        (CACHE_CONTROL, "no-store", "no-store"),
        (VARY, "*", "vary"),
        (SET_COOKIE, "seen=1", "set-cookie"),
    ];
    for (name, value, why) in table {
        let shop = Shop::new(policy());
        let inside = shop.layered(app().layer(adding(name.clone(), value)), &[Site, Session]);
        let without = shop.in_order(&[Site, Session]).layer(adding(name.clone(), value));
        for (app, shared) in [(inside, false), (without, true)] {
            visit(&app, "/", "").await;
            let answer = visit(&app, "/", "").await;
            assert_eq!((hit(&answer), status_contains(&answer, why)), (shared, !shared), "{name}: {value}");
            assert_eq!(answer.headers[&name], value);
        }
    }
}
