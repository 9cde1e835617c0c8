//! Warm-up: pages that are fetched before a client requests them.

use crate::support::*;
use http::{Request, Response, StatusCode, Uri};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::cache::WarmSummary;
use tower_response_cache::{CacheStatus, Policy, SiteCacheLayer};

fn uris(paths: &[&str]) -> Vec<Uri> {
    paths.iter().map(|path| format!("http://shop.example{path}").parse().expect("a URI")).collect()
}

#[tokio::test(start_paused = true)]
async fn warming_limits_concurrency_and_reports_each_outcome() {
    let (cache, at_once, most) = (memory(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&at_once), Arc::clone(&most));
    let inner = service_fn(move |request: Request<Body>| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            match request.uri().path() {
                "/private" => Ok(with_lines(&[("cache-control", "private")], "mine")),
                "/missing" => {
                    let mut response = Response::new(Body::default());
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    Ok(response)
                }
                "/down" => Err(io::Error::other("down")),
                path => Ok(with_lines(&[], path.to_owned())),
            }
        }
    });
    let policy = || Policy::app().default_ttl(MINUTE);
    let route =
        SiteCacheLayer::new(&cache).policy(policy().name("within").build().expect("a policy")).layer(inner);
    for stack in [
        SiteCacheLayer::new(&cache)
            .policy(policy().build().expect("a policy"))
            .layer(route.clone())
            .boxed_clone(),
        SiteCacheLayer::new(&cache)
            .policy(policy().name("other").build().expect("a policy"))
            .layer(route)
            .boxed_clone(),
    ] {
        let mut pages = Vec::new();
        let requests = uris(&["/a", "/b", "/c", "/private", "/missing", "/down"]).into_iter().map(|uri| {
            let mut request = get(uri.path());
            request.headers_mut().insert("host", "shop.example".parse().expect("a host"));
            request
        });
        let warmed = cache
            .warm_with(stack, requests, 2, |page| {
                pages.push((
                    page.uri().path().to_owned(),
                    page.status().map(|s| s.as_u16()),
                    page.is_cached(),
                    page.detail(),
                ));
            })
            .await;
        assert_eq!(format!("{warmed:?}"), "WarmSummary { cached: 3, uncached: 2, failed: 1 }");
        pages.sort();
        let page = |path: &str, status, cached, detail| (path.to_owned(), status, cached, detail);
        assert_eq!(
            pages,
            [
                page("/a", Some(200), true, None),
                page("/b", Some(200), true, None),
                page("/c", Some(200), true, None),
                page("/down", None, false, None),
                page("/missing", Some(404), false, Some("no-lifetime")),
                page("/private", Some(200), false, Some("private")),
            ]
        );
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn warmed_pages_answer_http_1_clients() {
    let cache = memory();
    let (inner, calls) = origin(|request, _| with_lines(&[], request.uri().to_string()));
    let stack = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).status_extension(false).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    let warmed = cache.warm_as(stack.clone(), uris(&["/", "/page?x=1"])).await;
    assert_eq!((warmed.cached(), warmed.failed(), calls.count()), (2, 0, 2));
    for path in ["/", "/page?x=1"] {
        let request = get_with(path, &[("host", "shop.example")]);
        let response = stack.clone().oneshot(request).await.expect("infallible");
        assert!(response.extensions().get::<CacheStatus>().is_none());
        let answer = read(response).await;
        assert_eq!((answer.text(), answer.header("cache-status")), (path, None));
    }
    assert_eq!(calls.count(), 2);
    assert_eq!(cache.warm_as(stack, uris(&["/"])).await.cached(), 1, "the page is already stored");
    assert_eq!(WarmSummary::default().cached(), 0);
}

/// The page is stored under the key of the client's request, for each spelling of the warmed URI.
#[tokio::test]
async fn a_warmed_page_answers_client_requests_in_any_uri_spelling() {
    for (uri, host) in [
        ("http://shop.example:80/", "shop.example"),
        ("https://shop.example:443/", "shop.example"),
        ("http://SHOP.Example/", "shop.example"),
        ("http://shop.example./", "shop.example"),
        ("HTTPS://Shop.Example.:443", "shop.example"),
        ("https://shop.example:80/", "shop.example:80"),
        ("http://Shop.example.:8080/", "shop.example:8080"),
        ("http://[2001:DB8::0:1]:80/", "[2001:db8::1]"),
    ] {
        let cache = memory();
        let (inner, calls) = origin(|request, _| {
            with_lines(&[], request.headers()["host"].to_str().expect("text").to_owned())
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(Policy::app().default_ttl(MINUTE).build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        let warmed = cache.warm_as(stack.clone(), [uri.parse().expect("a URI")]).await;
        assert_eq!(warmed.cached(), 1, "{uri}");
        assert_eq!(send(&stack, get_with("/", &[("host", host)])).await.text(), host, "{uri}");
        assert_eq!(calls.count(), 1, "{uri}");
    }
}
