//! A 304 of the origin: its effects on the stored response, and on the response to the client.

use crate::support::validators::not_modified;
use crate::support::*;
use http::{Request, StatusCode};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, SiteCacheLayer};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The `ETag` of the current version.
type Version = Arc<Mutex<String>>;

/// The requests that the origin received.
type ReceivedRequests = Arc<Mutex<Vec<Request<()>>>>;

/// A cache over an origin whose `ETag` is its version. A request whose `If-None-Match` has the
/// current version gets a 304.
fn versioned(cache: &Cache, cache_control: &'static str) -> (Stack, Calls, Version, ReceivedRequests) {
    let (version, seen) = (Arc::new(Mutex::new("\"1\"".to_owned())), Arc::new(Mutex::new(Vec::new())));
    let (current, log) = (Arc::clone(&version), Arc::clone(&seen));
    let (inner, calls) = origin(move |request, call| {
        let (parts, _) = request.clone().into_parts();
        log.lock().expect("no panic").push(Request::from_parts(parts, ()));
        let tag = current.lock().expect("no panic").clone();
        let lines = [("cache-control", cache_control), ("etag", &tag), ("x-call", &call.to_string())];
        match request.headers().get("if-none-match") {
            Some(given) if *given == *tag => not_modified(&lines),
            _ => with_lines(&lines, format!("page of {tag}")),
        }
    });
    (site_over(cache, inner), calls, version, seen)
}

fn timed_versioned(cache_control: &'static str) -> (Stack, Calls, Version, ReceivedRequests, ManualClock) {
    let (cache, manual) = timed();
    let (stack, calls, version, seen) = versioned(&cache, cache_control);
    (stack, calls, version, seen, manual)
}

#[tokio::test]
async fn a_stale_response_is_revalidated_with_its_own_validators() {
    let (stack, calls, version, seen, manual) = timed_versioned("max-age=60");
    send(&stack, get_with("/", &[("if-none-match", "\"mine\"")])).await;
    manual.advance(MINUTE);
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"mine\"")])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (200, "page of \"1\""),
        "the client has another version"
    );
    assert_eq!((answer.header("x-call"), answer.detail()), (Some("2"), Some("revalidated")));
    let conditions: Vec<_> =
        seen.lock().expect("no panic").iter().map(|r| r.headers().get("if-none-match").cloned()).collect();
    assert_eq!(conditions, [None, Some("\"1\"".parse().expect("a value"))]);
    assert!(send(&stack, get("/")).await.is_hit(), "the 304 makes it fresh again");
    // The client sent no condition, so it gets a 200 although the origin answers with a 304.
    manual.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.status, 200);
    // The origin changes to a new version.
    *version.lock().expect("no panic") = "\"2\"".to_owned();
    manual.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.text(), "page of \"2\"");
    assert_eq!((send(&stack, get("/")).await.is_hit(), calls.count()), (true, 4));
}

#[tokio::test]
async fn a_client_with_the_revalidated_version_gets_a_304() {
    let (stack, calls, _, _, manual) = timed_versioned("max-age=60");
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"1\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), calls.count()), (304, 0, 2));
}

#[tokio::test]
async fn no_cache_responses_are_stored_and_revalidated_each_time() {
    for cache_control in ["no-cache", "max-age=0, must-revalidate", "no-cache, max-age=60"] {
        let (stack, calls, _, seen, _) = timed_versioned(cache_control);
        for call in 1..=3 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.is_hit()),
                (200, "page of \"1\"", false)
            );
            assert_eq!(calls.count(), call, "{cache_control}");
        }
        let revalidations = seen
            .lock()
            .expect("no panic")
            .iter()
            .filter(|r| r.headers().contains_key("if-none-match"))
            .count();
        assert_eq!(revalidations, 2, "{cache_control}");
    }
}

#[tokio::test]
async fn a_304_updates_stored_fields_except_content_fields() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, _| {
        if request.headers().contains_key("if-none-match") {
            let lines = [("cache-control", "max-age=10"), ("x-note", "new"), ("content-type", "text/plain")];
            return not_modified(&lines);
        }
        let lines = [
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("x-note", "old"),
            ("content-type", "text/html"),
        ];
        with_lines(&lines, "page")
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    for _ in 0..2 {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.header("x-note")), ("page", Some("new")));
        assert_eq!(
            (answer.header("content-type"), answer.header("etag")),
            (Some("text/html"), Some("\"a\""))
        );
    }
    manual.advance(Duration::from_secs(9));
    assert!(send(&stack, get("/")).await.is_hit());
    manual.advance(Duration::from_secs(1));
    assert!(!send(&stack, get("/")).await.is_hit(), "the new lifetime counts");
}

#[tokio::test]
async fn a_304_that_forbids_storing_removes_the_entry() {
    for line in [("cache-control", "no-store"), ("set-cookie", "sid=1")] {
        let (cache, manual) = timed();
        let (inner, calls) = origin(move |request, _| {
            if request.headers().contains_key("if-none-match") {
                return not_modified(&[line]);
            }
            with_lines(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "page")
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        for call in 2..=3 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.is_hit()),
                (200, "page", false),
                "{line:?}"
            );
            assert_eq!(calls.count(), call, "{line:?}");
        }
    }
}

#[tokio::test]
async fn range_and_precondition_requests_do_not_revalidate() {
    for own in [("range", "bytes=0-0"), ("if-match", "\"1\"")] {
        let (stack, _, _, seen, manual) = timed_versioned("max-age=60");
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        assert_eq!(send(&stack, get_with("/", &[own])).await.status, 200, "{own:?}");
        let seen = seen.lock().expect("no panic");
        let sent = seen.last().expect("a request").headers();
        assert!(sent.contains_key(own.0) && !sent.contains_key("if-none-match"), "{own:?}");
    }
}

#[tokio::test]
async fn an_invalidated_response_is_not_revalidated() {
    let (cache, _) = timed();
    let (stack, _, _, seen) = versioned(&cache, "max-age=60");
    send(&stack, get("/")).await;
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    send(&stack, get("/")).await;
    assert!(seen.lock().expect("no panic").iter().all(|r| !r.headers().contains_key("if-none-match")));
}

#[tokio::test]
async fn a_failed_revalidation_can_be_repeated() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        if call == 2 {
            let mut response = with_lines(&[], "down");
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return response;
        }
        let lines = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        if request.headers().contains_key("if-none-match") {
            not_modified(&lines)
        } else {
            with_lines(&lines, "page")
        }
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.status, 502);
    let again = send(&stack, get("/")).await;
    assert_eq!((again.text(), again.detail()), ("page", Some("revalidated")));
}

#[tokio::test(start_paused = true)]
async fn collapsed_requests_share_a_revalidation() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        let lines = [("cache-control", "no-cache"), ("etag", "\"a\"")];
        let revalidates = request.headers().contains_key("if-none-match");
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(if revalidates { not_modified(&lines) } else { with_lines(&lines, "page") })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    for round in 1..=2 {
        let requests = (0..100).map(|number| {
            let own = [("if-none-match", "\"a\"")];
            let request = if number % 2 == 0 { get("/") } else { get_with("/", &own) };
            let stack = stack.clone();
            async move { (number, send(&stack, request).await) }
        });
        for (number, answer) in futures::future::join_all(requests).await {
            let expected = if number % 2 == 0 { (200, "page") } else { (304, "") };
            assert_eq!((answer.status.as_u16(), answer.text()), expected, "round {round}, {number}");
        }
        assert_eq!(calls.count(), round);
    }
}

#[tokio::test]
async fn variants_are_revalidated_separately() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, _| {
        let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
        let tag = format!("\"{language}\"");
        let lines = [("cache-control", "max-age=60"), ("etag", &*tag), ("vary", "accept-language")];
        let revalidates = request.headers().get("if-none-match").is_some_and(|given| *given == *tag);
        if revalidates { not_modified(&lines) } else { with_lines(&lines, language) }
    });
    let stack = site_over(&cache, inner);
    let page = async |language| send(&stack, get_with("/", &[("accept-language", language)])).await;
    for language in ["en", "de"] {
        page(language).await;
    }
    manual.advance(MINUTE);
    for language in ["en", "de"] {
        let answer = page(language).await;
        assert_eq!((answer.text(), answer.detail()), (language, Some("revalidated")));
        assert!(page(language).await.is_hit());
    }
    assert_eq!(calls.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_follower_does_not_revalidate_an_invalidated_response() {
    let (cache, manual) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            if call == 2 {
                sleep(Duration::from_millis(100)).await;
                return Ok::<_, Infallible>(with_lines(&[("cache-control", "no-store")], "mine"));
            }
            // Both versions were modified in the same second, so the origin mistakes the new
            // version for the old version.
            let lines = [("cache-control", "max-age=60"), ("last-modified", MODIFIED)];
            let revalidates = request.headers().contains_key("if-modified-since");
            Ok(if revalidates { not_modified(&lines) } else { with_lines(&lines, call.to_string()) })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    let invalidate = async {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    };
    let (_, follower, ()) = futures::join!(send(&stack, get("/")), send(&stack, get("/")), invalidate);
    assert_eq!(follower.text(), "3");
    assert_eq!(send(&stack, get("/")).await.text(), "3", "no response from before the invalidation returns");
}

#[tokio::test]
async fn a_304_of_an_inner_cache_layer_is_not_stored() {
    let (cache, manual) = timed();
    let within = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (inner, _) = origin(|_, _| with_lines(&[("cache-control", "max-age=60"), ("etag", "\"1\"")], "page"));
    let (route, switch) = (route_over(&cache, MINUTE, inner.clone()), Arc::clone(&within));
    // The inner cache layer is switched on after the outer layer has stored the page.
    let either = service_fn(move |request: Request<Body>| {
        let (route, plain) = (route.clone(), inner.clone());
        let within = switch.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            match within {
                true => route.oneshot(request).await,
                false => Ok(plain
                    .oneshot(request)
                    .await?
                    .map(|_| tower_response_cache::response_cache::ResponseBody::default())),
            }
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(either);
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    within.store(true, std::sync::atomic::Ordering::SeqCst);
    manual.advance(MINUTE);
    for _ in 0..3 {
        let answer = send(&stack, get("/")).await;
        let outer = answer.headers.get_all("cache-status").iter().next_back().expect("a status");
        assert!(!outer.to_str().expect("text").contains("; hit"), "{outer:?}");
    }
}
