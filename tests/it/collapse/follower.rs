//! Followers: whose response they get, and how long they wait.

use crate::support::rfc9111::{SECOND, field, proxy, with_status};
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::SiteCacheLayer;

/// RFC 9111 section 5.2.2.4, 4.2.4.
async fn two_at_once(name: &'static str, lines: &'static [(&'static str, &'static str)]) -> [String; 2] {
    let inner = service_fn(move |request: Request<Body>| {
        let who = field(&request, name).to_owned();
        async move {
            tokio::time::sleep(SECOND).await;
            let tag = format!("\"{who}\"");
            let lines: Vec<_> = lines.iter().copied().chain([("etag", tag.as_str())]).collect();
            Ok::<_, Infallible>(with_lines(&lines, format!("page of {who}")))
        }
    });
    let stack = SiteCacheLayer::new(&memory()).policy(proxy()).layer(inner).boxed_clone();
    let ask = async |who| send(&stack, get_with("/account", &[(name, who)])).await;
    let (one, two) = tokio::join!(ask("alice"), ask("bob"));
    [one.text().to_owned(), two.text().to_owned()]
}

#[tokio::test(start_paused = true)]
async fn follower_gets_no_no_cache_response_of_another_visitor() {
    let mut leaked = Vec::new();
    for lines in [
        &[("cache-control", "no-cache")][..],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=0, must-revalidate")],
        &[("expires", "0")],
        &[("cdn-cache-control", "no-cache")],
    ] {
        for name in ["cookie", "authorization", "x-api-key", "x-forwarded-user"] {
            let [one, two] = two_at_once(name, lines).await;
            if [one.as_str(), two.as_str()] != ["page of alice", "page of bob"] {
                leaked.push((name, lines[0], two));
            }
        }
    }
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test(start_paused = true)]
async fn follower_does_not_use_the_304_of_another_visitor() {
    let inner = service_fn(move |request: Request<Body>| async move {
        let who = field(&request, "cookie").to_owned();
        let asked = field(&request, "if-none-match") == "\"p\"";
        let lines = [("cache-control", "no-cache"), ("etag", "\"p\"")];
        if !who.is_empty() {
            tokio::time::sleep(SECOND).await;
        }
        Ok::<_, Infallible>(match who.as_str() {
            "bob" => with_lines(&[("cache-control", "private")], "bob's"),
            _ if asked => with_status(304, with_lines(&lines, "")),
            _ => with_lines(&lines, "public"),
        })
    });
    let stack = SiteCacheLayer::new(&memory()).policy(proxy()).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    let ask = |cookie| send(&stack, get_with("/", &[("cookie", cookie)]));
    let (one, two) = tokio::join!(ask("alice"), ask("bob"));
    assert_eq!([one.text(), two.text()], ["public", "bob's"]);
}

/// RFC 9111 section 5.2.2.4: each asks for itself; those who come later know.
#[tokio::test(start_paused = true)]
async fn a_no_cache_page_stops_collapsing_after_the_first_wait() {
    for said in ["no-cache", "max-age=0"] {
        let inner = service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Infallible>(with_lines(&[("cache-control", said), ("etag", "\"1\"")], "page"))
        });
        let stack = SiteCacheLayer::new(&memory()).policy(proxy()).layer(inner);
        let mut took = Vec::new();
        for _ in 0..3 {
            let asked = tokio::time::Instant::now();
            futures::join!(send(&stack, get("/")), send(&stack, get("/")));
            took.push(asked.elapsed().as_secs());
        }
        assert_eq!(took, [2, 1, 1], "{said}");
    }
}
