//! A late response or 304 does not replace a newer entry.

use crate::support::rfc9111::{SECOND, date, field, proxy, with_status};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::SiteCacheLayer;

/// Asserts that a late response does not replace a newer stored response.
async fn overtaken(vary: &'static str, expired: bool) {
    let (sender, receiver) = futures::channel::oneshot::channel::<()>();
    let (receiver, calls) = (Arc::new(Mutex::new(Some(receiver))), Calls::default());
    let counted = calls.clone();
    let (cache, manual) = timed();
    let inner = service_fn(move |_: Request<Body>| {
        let (call, first) = (counted.next(), receiver.lock().expect("no panic").take());
        async move {
            let body = futures::stream::once(async move {
                if let Some(first) = first {
                    first.await.expect("a signal");
                }
                Ok::<_, Infallible>(Frame::data(Bytes::from(call.to_string())))
            });
            let mut response = Response::new(StreamBody::new(Box::pin(body)));
            let at = date(if call == 1 { 0 } else { 5 });
            let lifetime = if call == 2 && expired { "max-age=10" } else { "max-age=600" };
            for (name, value) in [("cache-control", lifetime), ("date", at.as_str()), ("vary", vary)] {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    let streaming = stack.clone().oneshot(get("/")).await.expect("infallible");
    manual.advance(5 * SECOND);
    // A client reloads the page.
    let reload = get_with("/", &[("cache-control", "no-cache")]);
    let newer = read(stack.clone().oneshot(reload).await.expect("infallible")).await;
    assert_eq!(newer.text(), "2");
    let before = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    if expired {
        manual.advance(20 * SECOND);
    }
    sender.send(()).expect("a receiver");
    assert_eq!(read(streaming).await.text(), "1");
    let after = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!(
        (before.text(), after.text(), calls.count()),
        ("2", if expired { "3" } else { "2" }, if expired { 3 } else { 2 })
    );
}

/// RFC 9111 section 4: a cache uses the most recent response.
#[tokio::test]
async fn a_late_older_response_does_not_replace_a_newer_one() {
    // The page has no variants or several, and the newer response is fresh or has expired.
    for (vary, expired) in [("", false), ("accept-language", false), ("", true), ("accept-language", true)] {
        overtaken(vary, expired).await;
    }
}

/// A slow 304 confirms the old page after a newer page was stored.
#[tokio::test(start_paused = true)]
async fn a_late_304_does_not_restore_an_older_page() {
    let (cache, manual) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            let at = date(match call {
                1 => 0,
                2 => 61,
                _ => 66,
            });
            let lines = [("cache-control", "max-age=60"), ("date", at.as_str())];
            let one = [&lines[..], &[("etag", "\"1\"")]].concat();
            let two = [&lines[..], &[("etag", "\"2\"")]].concat();
            Ok::<_, Infallible>(match call {
                1 => with_lines(&one, "old"),
                2 => {
                    assert_eq!(field(&request, "if-none-match"), "\"1\"");
                    tokio::time::sleep(10 * SECOND).await;
                    with_status(304, with_lines(&one, ""))
                }
                _ => with_lines(&two, "new"),
            })
        }
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    manual.advance(61 * SECOND);
    let slow = send(&stack, get("/"));
    let reload = async {
        tokio::time::sleep(SECOND).await;
        manual.advance(5 * SECOND);
        // A range request does not join the flight. The origin answers it with the whole page.
        let answer = send(&stack, get_with("/", &[("range", "bytes=0-")])).await;
        (answer, send(&stack, get("/")).await)
    };
    let (slow, (newer, hit)) = tokio::join!(slow, reload);
    let after = send(&stack, get("/")).await;
    assert_eq!(
        [slow.text(), newer.text(), hit.text(), after.text()],
        ["old", "new", "new", "new"],
        "{:?}",
        after.headers
    );
}

/// RFC 9111 section 4: a cache uses the most recent response. A freshened variant is only as recent
/// as the validation request.
#[tokio::test(start_paused = true)]
async fn a_late_304_does_not_replace_a_variant_fetched_later() {
    let (cache, manual) = timed();
    let (slow, rewritten) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (slow2, rewritten2) = (slow.clone(), rewritten.clone());
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let (slow, rewritten) = (slow2.clone(), rewritten2.clone());
        let nth = counted.next();
        let which = field(&request, "x-a").to_owned();
        async move {
            Ok::<_, Infallible>(match (which.as_str(), nth) {
                (_, 1 | 2) => with_lines(
                    &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
                // This call validates the variant `one`, slowly.
                ("one", _) => {
                    slow.notified().await;
                    with_status(304, with_lines(&[("etag", "\"1\""), ("vary", "x-a")], ""))
                }
                // The variant `two` has changed since it was stored.
                (_, _) => {
                    rewritten.notified().await;
                    with_lines(
                        &[("cache-control", "max-age=60"), ("etag", "\"2\""), ("vary", "x-a")],
                        format!("new {which}"),
                    )
                }
            })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    send(&stack, get_with("/", &[("x-a", "one")])).await;
    send(&stack, get_with("/", &[("x-a", "two")])).await;
    manual.advance(61 * SECOND);
    let s = stack.clone();
    let validation = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "one")])).await });
    tokio::task::yield_now().await;
    manual.advance(5 * SECOND);
    // Five seconds after the validation began, a client requests the variant `two`.
    let s = stack.clone();
    let newer = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "two")])).await });
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 4);
    manual.advance(5 * SECOND);
    slow.notify_one();
    validation.await.expect("no panic");
    manual.advance(SECOND);
    rewritten.notify_one();
    assert_eq!(newer.await.expect("no panic").text(), "new two");
    let after = send(&stack, get_with("/", &[("x-a", "two")])).await;
    assert_eq!(after.text(), "new two", "{after:?}");
}

/// A newer page was stored while the older response arrived. The cache revalidates the newer page.
#[tokio::test(start_paused = true)]
async fn a_late_response_does_not_replace_a_newer_no_cache_page() {
    for control in ["no-cache", "max-age=0, stale-if-error=600", "max-age=2"] {
        let (cache, manual) = timed();
        let gate = Arc::new(Notify::new());
        let held = gate.clone();
        let calls = Calls::default();
        let counted = calls.clone();
        let inner = service_fn(move |request: Request<Body>| {
            let (nth, gate) = (counted.next(), held.clone());
            let tag = field(&request, "if-none-match").to_owned();
            let answer = match nth {
                1 | 2 => with_lines(
                    &[("cache-control", control), ("etag", &format!("\"{nth}\""))],
                    format!("version {nth}"),
                ),
                _ => with_status(503, with_lines(&[], format!("asked about {tag}"))),
            };
            async move {
                if nth == 1 {
                    gate.notified().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let stack: Stack = tower::ServiceExt::boxed_clone(
            SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner),
        );
        let s = stack.clone();
        let old = tokio::spawn(async move {
            read(tower::ServiceExt::oneshot(s, get("/")).await.expect("infallible")).await
        });
        tokio::task::yield_now().await;
        manual.advance(SECOND);
        let new = send(&stack, get_with("/", &[("cache-control", "no-cache")])).await;
        manual.advance(3 * SECOND);
        gate.notify_one();
        assert_eq!((old.await.expect("ok").text(), new.text()), ("version 1", "version 2"));
        let after = send(&stack, get("/")).await;
        assert!(["asked about \"2\"", "version 2"].contains(&after.text()), "{control}: {after:?}");
    }
}

/// The 304 freshens all variants with its tag, but a newer variant may have other fields.
#[tokio::test]
async fn a_late_304_of_one_variant_updates_no_newer_variant() {
    let (cache, manual) = timed();
    let slow = Arc::new(Notify::new());
    let held = slow.clone();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let (slow, nth) = (held.clone(), counted.next());
        let which = field(&request, "x-a").to_owned();
        async move {
            Ok::<_, Infallible>(match (which.as_str(), nth) {
                (_, 1 | 2) => with_lines(
                    &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
                ("one", _) => {
                    slow.notified().await;
                    with_status(
                        304,
                        with_lines(
                            &[("cache-control", "max-age=600"), ("etag", "\"1\""), ("vary", "x-a")],
                            "",
                        ),
                    )
                }
                // The later response has a short lifetime, because the page is about to change.
                (_, _) => with_lines(
                    &[("cache-control", "max-age=5"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
            })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    send(&stack, get_with("/", &[("x-a", "one")])).await;
    send(&stack, get_with("/", &[("x-a", "two")])).await;
    manual.advance(61 * SECOND);
    let s = stack.clone();
    let validation = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "one")])).await });
    tokio::task::yield_now().await;
    manual.advance(5 * SECOND);
    let newer = send(&stack, get_with("/", &[("x-a", "two"), ("cache-control", "no-cache")])).await;
    assert_eq!(newer.header("cache-control"), Some("max-age=5"));
    manual.advance(SECOND);
    slow.notify_one();
    validation.await.expect("no panic");
    manual.advance(10 * SECOND);
    let before = calls.count();
    let after = send(&stack, get_with("/", &[("x-a", "two")])).await;
    assert_eq!(calls.count(), before + 1, "{after:?}");
}
