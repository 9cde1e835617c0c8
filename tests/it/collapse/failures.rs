//! Leaders that fail, panic or are cancelled, and fetches after a disconnect.

use crate::support::collapse::{all, page, settle, slow, start, start_many, status};
use crate::support::*;
use http::{Request, Response};
use proptest::prelude::*;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::SiteCacheLayer;

const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy)]
enum CallOutcome {
    Page,
    Private,
    Error,
    ServerError,
    Panic,
}

fn call_outcome() -> impl Strategy<Value = CallOutcome> {
    prop_oneof![
        4 => Just(CallOutcome::Page),
        1 => Just(CallOutcome::Private),
        1 => Just(CallOutcome::Error),
        1 => Just(CallOutcome::ServerError),
        1 => Just(CallOutcome::Panic)
    ]
}

#[tokio::test(start_paused = true)]
async fn one_follower_takes_over_from_a_cancelled_leader() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(page(call))
    });
    let leader = start(&service, get("/")).await;
    let followers = start_many(&service, 20).await;
    leader.abort();
    let answers = all(followers).await;
    assert!(answers.iter().all(|answer| answer.as_ref().expect("ok").text() == "2"));
    assert_eq!((calls.count(), cache.flights()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn followers_get_the_body_after_the_leaders_client_leaves() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(page(call))
    });
    // The frames come later than the head, so the body is still being recorded when the client of
    // the leader drops it.
    let cache2 = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let body = http_body_util::StreamBody::new(futures::stream::unfold(0, |n| async move {
            sleep(10 * MS).await;
            (n < 5).then(|| (Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from("x"))), n + 1))
        }));
        async move { Ok::<_, Infallible>(Response::new(body.boxed_unsync_body())) }
    });
    let streaming = SiteCacheLayer::new(&cache2).policy(policy().build().expect("a policy")).layer(inner);
    let leader = streaming.clone().oneshot(get("/stream")).await.expect("infallible");
    let follower = tokio::spawn({
        let call = streaming.clone().oneshot(get("/stream"));
        async move { read(call.await.expect("infallible")).await }
    });
    settle().await;
    drop(leader);
    let answer = timeout(Duration::from_secs(5), follower).await.expect("does not hang").expect("no panic");
    assert_eq!(answer.text(), "xxxxx");
    assert_eq!(cache.flights(), 0);
    drop((service, calls));
}

trait BoxedUnsync: http_body::Body<Data = bytes::Bytes, Error = Infallible> + Send + Sized + 'static {
    fn boxed_unsync_body(self) -> http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Infallible> {
        http_body_util::combinators::UnsyncBoxBody::new(self)
    }
}

impl<B: http_body::Body<Data = bytes::Bytes, Error = Infallible> + Send + 'static> BoxedUnsync for B {}

#[tokio::test(start_paused = true)]
async fn after_an_error_one_follower_retries_before_the_rest() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        if call == 1 { Err(io::Error::other("down")) } else { Ok(page(call)) }
    });
    let answers = all(start_many(&service, 50).await).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((failed, calls.count(), cache.flights()), (1, 2, 0), "only the leader gets the error");
}

#[tokio::test(start_paused = true)]
async fn a_failing_origin_gets_at_most_8_concurrent_calls() {
    for panics in [false, true] {
        let now = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (at_once, peak) = (now.clone(), most.clone());
        let (service, calls, cache) = slow(move |_, _| {
            let (at_once, peak) = (at_once.clone(), peak.clone());
            async move {
                let running = at_once.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                peak.fetch_max(running, std::sync::atomic::Ordering::SeqCst);
                sleep(50 * MS).await;
                at_once.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                assert!(!panics, "the handler panics");
                Err(io::Error::other("down"))
            }
        });
        let answers = all(start_many(&service, 60).await).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!((calls.count(), cache.flights()), (60, 0));
        assert!(most.load(std::sync::atomic::Ordering::SeqCst) <= 8, "{most:?} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_500_response_is_not_shared_with_followers() {
    let (service, calls, _) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(if call == 1 { status(500, call) } else { page(call) })
    });
    let answers = all(start_many(&service, 30).await).await;
    let errors = answers.iter().flatten().filter(|answer| answer.status == 500).count();
    assert_eq!((errors, calls.count()), (1, 2));
}

proptest! {
    #![proptest_config(crate::support::cases(200))]
    /// Under any mix of outcomes and cancellations, no request hangs, and no flight or budget
    /// leaks.
    #[test]
    fn no_request_hangs_if_leaders_fail_panic_or_leave(
        outcomes in prop::collection::vec((call_outcome(), 0..60_u64), 40),
        arrivals in prop::collection::vec(0..150_u64, 1..24),
        aborts in prop::collection::vec(prop::option::of(0..200_u64), 24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async move {
            let (service, _, cache) = slow(move |call, _| {
                let (call_outcome, delay) = outcomes[(call - 1) % outcomes.len()];
                async move {
                    sleep(delay as u32 * MS).await;
                    match call_outcome {
                        CallOutcome::Page => Ok(page(call)),
                        CallOutcome::Private => Ok(numbered(&[("cache-control", "private")], call)),
                        CallOutcome::Error => Err(io::Error::other("down")),
                        CallOutcome::ServerError => Ok(status(503, call)),
                        CallOutcome::Panic => std::panic::resume_unwind(Box::new("the handler panics")),
                    }
                }
            });
            let tasks: Vec<_> = arrivals.iter().zip(&aborts).map(|(arrival, abort)| {
                let (service, arrival, abort) = (service.clone(), *arrival, *abort);
                tokio::spawn(async move {
                    sleep(arrival as u32 * MS).await;
                    let call = async { Ok::<_, io::Error>(read(service.oneshot(get("/")).await?).await) };
                    match abort {
                        Some(after) => timeout(after as u32 * MS, call).await.unwrap_or_else(|_| Err(io::Error::other("the client left"))),
                        None => call.await,
                    }
                })
            }).collect();
            all(tasks).await;
            assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_completes_and_is_stored_after_a_disconnect() {
    for slow_body in [false, true] {
        let (cache, calls) = (memory(), Calls::default());
        let counted = calls.clone();
        let inner = service_fn(move |_: Request<Body>| {
            let call = counted.next();
            async move {
                sleep(10 * MS).await;
                let text = call.to_string();
                let pieces = futures::stream::once(async move {
                    if slow_body {
                        sleep(10 * MS).await;
                    }
                    Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from(text)))
                });
                Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(Box::pin(pieces))))
            }
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(policy().complete_after_disconnect(1000 * MS).build().expect("a policy"))
            .layer(inner);
        // The client leaves while the handler runs, then while the body arrives.
        for leaves in [5 * MS, 15 * MS] {
            let call = async {
                let response = stack.clone().oneshot(get("/")).await.expect("infallible");
                sleep(3 * MS).await;
                drop(response);
                std::future::pending::<()>().await;
            };
            assert!(timeout(leaves, call).await.is_err());
            sleep(50 * MS).await;
            let hit = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
            assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("1", true, 1));
        }
        assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
        cache.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_after_a_disconnect_ends_within_its_limit() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        async move {
            match request.uri().path() {
                "/hangs" => std::future::pending().await,
                "/panics" => panic!("handler"),
                _ => Err::<Response<Body>, _>(io::Error::other("down")),
            }
        }
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().complete_after_disconnect(100 * MS).build().expect("a policy"))
        .layer(inner);
    assert!(timeout(10 * MS, stack.clone().oneshot(get("/hangs"))).await.is_err());
    assert_eq!(cache.flights(), 1);
    sleep(200 * MS).await;
    assert_eq!(cache.flights(), 0);
    // The limit does not apply to a fetch whose client is connected.
    assert!(timeout(1000 * MS, stack.clone().oneshot(get("/hangs"))).await.is_err());
    let panics = tokio::spawn(stack.clone().oneshot(get("/panics")));
    assert!(panics.await.is_err_and(|error| error.is_panic()));
    assert!(stack.clone().oneshot(get("/fails")).await.is_err_and(|error| error.to_string() == "down"));
    sleep(200 * MS).await;
    assert_eq!((calls.count(), cache.flights()), (4, 0));
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn detached_and_background_fetches_keep_the_request_span() {
    use tracing::Instrument;
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (cache, manual) = timed();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (inner, _) = origin(move |_, call| {
        log.lock().expect("not poisoned").push(tracing::Span::current().metadata().map(|span| span.name()));
        numbered(&[], call)
    });
    let policy = policy().complete_after_disconnect(1000 * MS).stale_while_revalidate(MINUTE);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    send(&stack, get("/")).instrument(tracing::info_span!("first")).await;
    manual.advance(MINUTE + 1000 * MS);
    assert!(send(&stack, get("/")).instrument(tracing::info_span!("second")).await.is_hit());
    settle().await;
    assert_eq!(*seen.lock().expect("not poisoned"), [Some("first"), Some("second")]);
}

/// In both rows, the client leaves later after its request than the limit, 100 milliseconds.
#[tokio::test(start_paused = true)]
async fn limit_after_a_disconnect_counts_from_the_disconnect() {
    for (leaves_at, is_stored) in [(250, true), (150, false)] {
        let (cache, calls) = (memory(), Calls::default());
        let counted = calls.clone();
        // The body takes 300 milliseconds, with a piece every 10 milliseconds.
        let inner = service_fn(move |_: Request<Body>| {
            counted.next();
            async {
                let pieces = futures::stream::unfold(0, |piece| async move {
                    sleep(10 * MS).await;
                    (piece < 30).then(|| (Ok::<_, Infallible>(http_body::Frame::data("x".into())), piece + 1))
                });
                let body = http_body_util::StreamBody::new(Box::pin(pieces));
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(policy().complete_after_disconnect(100 * MS).build().expect("a policy"))
            .layer(inner);
        let mut response = stack.clone().oneshot(get("/")).await.expect("infallible");
        let first = http_body_util::BodyExt::frame(response.body_mut()).await;
        assert!(first.is_some_and(|frame| frame.is_ok()));
        sleep(leaves_at * MS).await;
        drop(response);
        sleep(500 * MS).await;
        assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
        let hit = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
        assert_eq!((hit.text().len(), hit.is_hit()), (30, is_stored), "{leaves_at}");
        cache.shutdown().await;
    }
}
