//! Followers: which response they get, and how long they wait.

use crate::support::collapse::{all, page, settle, slow, start, start_many};
use crate::support::rfc9111::{SECOND, field, proxy, with_status};
use crate::support::validators::not_modified;
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Policy, SiteCacheLayer};

/// Sends concurrent requests of Alice and Bob, whose names are in the field `name`, and returns the
/// texts they get. Under RFC 9111 sections 5.2.2.4 and 4.2.4, neither may get the response to the
/// other.
async fn two_at_once(name: &'static str, lines: &'static [(&'static str, &'static str)]) -> [String; 2] {
    let inner = service_fn(move |request: Request<Body>| {
        let visitor = field(&request, name).to_owned();
        async move {
            tokio::time::sleep(SECOND).await;
            let tag = format!("\"{visitor}\"");
            let lines: Vec<_> = lines.iter().copied().chain([("etag", tag.as_str())]).collect();
            Ok::<_, Infallible>(with_lines(&lines, format!("page of {visitor}")))
        }
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    let request_page = async |visitor| send(&stack, get_with("/account", &[(name, visitor)])).await;
    let (one, two) = tokio::join!(request_page("alice"), request_page("bob"));
    [one.text().to_owned(), two.text().to_owned()]
}

#[tokio::test(start_paused = true)]
async fn follower_never_gets_another_visitors_no_cache_response() {
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
        let cookie = field(&request, "cookie").to_owned();
        let is_conditional = field(&request, "if-none-match") == "\"p\"";
        let lines = [("cache-control", "no-cache"), ("etag", "\"p\"")];
        if !cookie.is_empty() {
            tokio::time::sleep(SECOND).await;
        }
        Ok::<_, Infallible>(match cookie.as_str() {
            "bob" => with_lines(&[("cache-control", "private")], "bob's"),
            _ if is_conditional => with_status(304, with_lines(&lines, "")),
            _ => with_lines(&lines, "public"),
        })
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    let request_page = |cookie| send(&stack, get_with("/", &[("cookie", cookie)]));
    let (one, two) = tokio::join!(request_page("alice"), request_page("bob"));
    assert_eq!([one.text(), two.text()], ["public", "bob's"]);
}

/// RFC 9111 section 5.2.2.4: the first follower cannot use the response for which it waited, and
/// fetches its own. Later requests do not wait.
#[tokio::test(start_paused = true)]
async fn a_no_cache_page_stops_collapsing_after_the_first_wait() {
    for response_control in ["no-cache", "max-age=0"] {
        let inner = service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Infallible>(with_lines(&[("cache-control", response_control), ("etag", "\"1\"")], "page"))
        });
        let stack = SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner);
        let mut took = Vec::new();
        for _ in 0..3 {
            let sent = tokio::time::Instant::now();
            futures::join!(send(&stack, get("/")), send(&stack, get("/")));
            took.push(sent.elapsed().as_secs());
        }
        assert_eq!(took, [2, 1, 1], "{response_control}");
    }
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn followers_of_an_unstorable_response_are_released_at_once() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(numbered(&[("cache-control", "private")], call))
    });
    let begun = Instant::now();
    all(start_many(&service, 100).await).await;
    assert!(
        begun.elapsed() < 120 * MS,
        "followers wait once, then are forwarded in parallel: {:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    all(start_many(&service, 100).await).await;
    assert!(begun.elapsed() < 60 * MS, "the key is hit-for-miss, so no request waits: {:?}", begun.elapsed());
    assert_eq!((calls.count(), cache.flights()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_storable_response_is_stored_despite_hit_for_miss() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        let lines: &[_] =
            if call == 1 { &[("set-cookie", "sid=1")] } else { &[("cache-control", "max-age=60")] };
        drop(request);
        Ok(numbered(lines, call))
    });
    all(start_many(&service, 1).await).await;
    all(start_many(&service, 1).await).await;
    let answers = all(start_many(&service, 10).await).await;
    assert!(answers.iter().flatten().all(Answer::is_hit));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_at_most_collapse_timeout() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(if call == 1 { Duration::from_secs(3600) } else { 50 * MS }).await;
            Ok::<_, io::Error>(page(call))
        }
    });
    let service = SiteCacheLayer::new(&memory())
        .policy(policy().collapse_timeout(200 * MS).build().expect("a policy"))
        .layer(inner);
    let leader = start(&service, get("/")).await;
    let begun = Instant::now();
    let answers = all(start_many(&service, 3).await).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(begun.elapsed() < 300 * MS, "{:?}", begun.elapsed());
    leader.abort();
}

#[tokio::test(start_paused = true)]
async fn no_follower_waits_after_another_one_timed_out() {
    let (service, calls, _) = slow(|call, _| async move {
        sleep(if call == 1 { Duration::from_secs(3600) } else { 500 * MS }).await;
        Ok(numbered(&[("cache-control", "no-store")], call))
    });
    let leader = start(&service, get("/")).await;
    let in_vain = start(&service, get("/")).await;
    sleep(Duration::from_secs(10)).await;
    settle().await;
    assert_eq!(calls.count(), 2, "the first follower has timed out");
    let begun = Instant::now();
    let later = start(&service, get("/")).await.await.expect("runs").expect("answers");
    assert_eq!((later.text(), begun.elapsed() <= 501 * MS), ("3", true));
    in_vain.await.expect("runs").expect("answers");
    leader.abort();
}

#[tokio::test(start_paused = true)]
async fn all_waits_of_a_follower_together_stay_within_the_limit() {
    // Each leader is slow and then fails, so a follower waits for several leaders in turn.
    let (service, _, _) = slow(|call, _| async move {
        sleep(if call < 20 { 8 * Duration::from_secs(1) } else { MS }).await;
        Err::<Response<Body>, _>(io::Error::other("down"))
    });
    let begun = Instant::now();
    let answers = all(start_many(&service, 40).await).await;
    assert!(answers.iter().all(Result::is_err));
    // After 10 seconds of waiting, a follower is forwarded. Its own call takes at most 8 seconds.
    assert!(begun.elapsed() < Duration::from_secs(19), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_late_request_does_not_share_a_no_cache_response() {
    let (sender, receiver) = futures::channel::oneshot::channel::<()>();
    let (receiver, calls) = (Arc::new(Mutex::new(Some(receiver))), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let (call, first) = (counted.next(), receiver.lock().expect("no panic").take());
        async move {
            let body = futures::stream::once(async move {
                if let Some(first) = first {
                    first.await.expect("the sender is not dropped");
                }
                Ok::<_, Infallible>(Frame::data(Bytes::from(call.to_string())))
            });
            let mut response = Response::new(StreamBody::new(Box::pin(body)));
            for (name, value) in [("cache-control", "no-cache"), ("etag", "\"1\"")] {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let streaming = stack.clone().oneshot(get("/")).await.expect("infallible");
    let later = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!(later.text(), "2");
    sender.send(()).expect("the body waits");
    assert_eq!(read(streaming).await.text(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_304_to_an_authorized_request_does_not_stop_collapsing() {
    let (cache, manual) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        let is_conditional = request.headers().contains_key("if-none-match");
        async move {
            sleep(Duration::from_millis(20)).await;
            let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
            Ok::<_, Infallible>(if is_conditional {
                not_modified(&lines)
            } else {
                with_lines(&lines, "page")
            })
        }
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(Policy::rfc9111().cache_status(true).build().expect("a policy"))
        .layer(inner);
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    // The 304 has no directive that permits sharing (RFC 9111 section 3.5), so the stored page is
    // not updated.
    send(&stack, get_with("/", &[("authorization", "Basic bogus")])).await;
    futures::future::join_all((0..20).map(|_| send(&stack, get("/")))).await;
    assert_eq!(calls.count(), 3);
}
