//! Collapse: one call for many requests, whatever becomes of the one who makes it.

use crate::support::*;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

const MS: Duration = Duration::from_millis(1);

/// A cached service whose handler is this; and how often it was called.
fn slow<F, Fut>(handler: F) -> (impl CachedService, Calls, Cache)
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, io::Error>> + Send + 'static,
{
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| handler(counted.next(), request));
    (SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner), calls, cache)
}

trait CachedService:
    Service<
        Request<Body>,
        Response = Response<tower_response_cache::ResponseBody<Body>>,
        Error = io::Error,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> CachedService for S where
    S: Service<
            Request<Body>,
            Response = Response<tower_response_cache::ResponseBody<Body>>,
            Error = io::Error,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

fn page(call: usize) -> Response<Body> {
    numbered(&[], call)
}

fn status(code: u16, call: usize) -> Response<Body> {
    let mut response = numbered(&[], call);
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

/// Starts a request and lets it get as far as it can.
async fn start(service: &impl CachedService, request: Request<Body>) -> JoinHandle<io::Result<Answer>> {
    let call = service.clone().oneshot(request);
    let task = tokio::spawn(async move { Ok(read(call.await?).await) });
    settle().await;
    task
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn start_many(service: &impl CachedService, count: usize) -> Vec<JoinHandle<io::Result<Answer>>> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(start(service, get("/")).await);
    }
    tasks
}

/// Waits for all, and fails if one hangs.
async fn all(tasks: Vec<JoinHandle<io::Result<Answer>>>) -> Vec<io::Result<Answer>> {
    let joined = timeout(Duration::from_secs(100), join_all(tasks)).await.expect("nobody hangs");
    joined.into_iter().map(|task| task.unwrap_or_else(|_| Err(io::Error::other("panicked")))).collect()
}

#[tokio::test(start_paused = true)]
async fn five_hundred_requests_on_a_cold_key_make_one_call() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(page(call))
    });
    let begun = Instant::now();
    let answers = all(start_many(&service, 500).await).await;
    assert!(answers.iter().all(|answer| answer.as_ref().expect("ok").text() == "1"));
    let collapsed =
        answers.iter().flatten().filter(|a| a.header("cache-status").expect("told").contains("collapsed"));
    assert_eq!((collapsed.count(), calls.count(), cache.flights()), (499, 1, 0));
    assert!(begun.elapsed() < 100 * MS, "nobody waited twice");
}

#[tokio::test(start_paused = true)]
async fn with_collapse_off_every_request_makes_its_own_call() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(50 * MS).await;
            Ok::<_, io::Error>(page(call))
        }
    });
    let service = SiteCacheLayer::new(&memory())
        .policy(policy().collapse(false).build().expect("a policy"))
        .layer(inner);
    all(start_many(&service, 5).await).await;
    assert_eq!(calls.count(), 5);
}

tokio::task_local! {
    static VISITOR: &'static str;
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_in_the_context_of_its_own_visitor_alone() {
    let (service, calls, _) = slow(|_, request| async move {
        let mine = request.headers()["x-visitor"].to_str().expect("text").to_owned();
        for _ in 0..5 {
            assert_eq!(VISITOR.get(), mine);
            sleep(10 * MS).await;
        }
        Ok(with_lines(&[("cache-control", "no-store")], mine))
    });
    let visit = |visitor: &'static str| {
        let call = service.clone().oneshot(get_with("/", &[("x-visitor", visitor)]));
        tokio::spawn(VISITOR.scope(visitor, async move { Ok(read(call.await?).await) }))
    };
    let leader = visit("alice");
    settle().await;
    let followers = ["bob", "carol", "dave"].map(visit);
    settle().await;
    // The leader goes away: a follower starts over with its own request, in its own context.
    leader.abort();
    let answers = all(followers.into()).await;
    let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().expect("ok").text()).collect();
    assert_eq!((texts, calls.count()), (vec!["bob", "carol", "dave"], 4));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_is_followed_by_exactly_one_follower() {
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
async fn a_leader_whose_client_leaves_midway_in_the_body_leaves_nobody_hanging() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(page(call))
    });
    // More than the eager part, so that the body is still being recorded when it is dropped.
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
async fn after_an_error_one_successor_is_tried_before_the_rest_are_released() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        if call == 1 { Err(io::Error::other("down")) } else { Ok(page(call)) }
    });
    let answers = all(start_many(&service, 50).await).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((failed, calls.count(), cache.flights()), (1, 2, 0), "only the leader gets its error");
}

#[tokio::test(start_paused = true)]
async fn a_failing_origin_is_not_stormed_and_everybody_gets_an_answer() {
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
async fn a_server_error_counts_as_a_failure_and_is_shared_with_nobody() {
    let (service, calls, _) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(if call == 1 { status(500, call) } else { page(call) })
    });
    let answers = all(start_many(&service, 30).await).await;
    let errors = answers.iter().flatten().filter(|answer| answer.status == 500).count();
    assert_eq!((errors, calls.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn followers_of_an_uncacheable_response_are_released_at_once_and_later_ones_never_wait() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(numbered(&[("cache-control", "private")], call))
    });
    let begun = Instant::now();
    all(start_many(&service, 100).await).await;
    assert!(begun.elapsed() < 120 * MS, "one wait, then all in parallel: {:?}", begun.elapsed());
    let begun = Instant::now();
    all(start_many(&service, 100).await).await;
    assert!(begun.elapsed() < 60 * MS, "no wait at all: {:?}", begun.elapsed());
    assert_eq!((calls.count(), cache.flights()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_turns_out_cacheable_collapses_again() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        let lines: &[_] =
            if call == 1 { &[("cache-control", "private")] } else { &[("cache-control", "max-age=60")] };
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
async fn a_follower_waits_no_longer_than_the_limit() {
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
async fn who_comes_after_a_wait_in_vain_does_not_wait_again() {
    let (service, calls, _) = slow(|call, _| async move {
        sleep(if call == 1 { Duration::from_secs(3600) } else { 500 * MS }).await;
        Ok(numbered(&[("cache-control", "no-store")], call))
    });
    let leader = start(&service, get("/")).await;
    let in_vain = start(&service, get("/")).await;
    sleep(Duration::from_secs(10)).await;
    settle().await;
    assert_eq!(calls.count(), 2, "the follower's wait is over");
    let begun = Instant::now();
    let later = start(&service, get("/")).await.await.expect("runs").expect("answers");
    assert_eq!((later.text(), begun.elapsed() <= 501 * MS), ("3", true));
    in_vain.await.expect("runs").expect("answers");
    leader.abort();
}

#[tokio::test(start_paused = true)]
async fn all_waits_of_a_request_together_stay_within_the_limit() {
    // Each leader is slow, then fails, so that a follower waits for one after the other.
    let (service, _, _) = slow(|call, _| async move {
        sleep(if call < 20 { 8 * Duration::from_secs(1) } else { MS }).await;
        Err::<Response<Body>, _>(io::Error::other("down"))
    });
    let begun = Instant::now();
    let answers = all(start_many(&service, 40).await).await;
    assert!(answers.iter().all(Result::is_err));
    // The limit of 10 seconds, and one call of a service of one's own.
    assert!(begun.elapsed() < Duration::from_secs(19), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_variant_of_a_cold_key_is_made_once() {
    let (service, calls, _) = slow(|_, request| async move {
        sleep(50 * MS).await;
        let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
        Ok(with_lines(&[("vary", "accept-language")], language))
    });
    let mut tasks = Vec::new();
    for i in 0..500 {
        let language = format!("l{}", i % 10);
        tasks.push((
            language.clone(),
            start(&service, get_with("/", &[("accept-language", &language)])).await,
        ));
    }
    for (language, task) in tasks {
        let answer = timeout(Duration::from_secs(60), task).await.expect("does not hang").expect("no panic");
        assert_eq!(answer.expect("ok").text(), language);
    }
    assert_eq!(calls.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn returning_browsers_share_one_call_and_are_answered_in_full() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        Ok(if request.headers().contains_key("if-none-match") { status(304, call) } else { page(call) })
    });
    let returning = || {
        get_with("/", &[("if-none-match", "\"x\""), ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT")])
    };
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(start(&service, returning()).await);
        tasks.push(start(&service, get("/")).await);
    }
    assert!(all(tasks).await.iter().flatten().all(|answer| answer.status == 200));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_service_can_evaluate_goes_there_alone() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        Ok(if request.headers().contains_key("if-match") { status(412, call) } else { page(call) })
    });
    let conditional = start(&service, get_with("/", &[("if-match", "\"x\"")])).await;
    let plain = all(start_many(&service, 3).await).await;
    assert!(plain.iter().flatten().all(|answer| answer.status == 200));
    assert_eq!(conditional.await.expect("no panic").expect("ok").status, 412);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_provoked_by_one_request_does_not_keep_others_from_collapsing() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        let lines = [("cache-control", "max-age=60"), ("vary", "accept")];
        let mut response = numbered(&lines, call);
        if request.headers().contains_key("accept") {
            *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        }
        Ok(response)
    });
    start(&service, get_with("/", &[("accept", "odd")])).await.await.expect("runs").expect("answers");
    all(start_many(&service, 100).await).await;
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_authorization_neither_leads_others_nor_keeps_them_from_collapsing() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(50 * MS).await;
            Ok::<_, io::Error>(numbered(&[("cache-control", "max-age=60")], call))
        }
    });
    let service =
        SiteCacheLayer::new(&cache).policy(Policy::rfc9111().build().expect("a policy")).layer(inner);
    let authorized = start(&service, get_with("/", &[("authorization", "Basic bogus")])).await;
    let others = all(start_many(&service, 100).await).await;
    assert!(others.iter().flatten().all(|answer| answer.text() == "2"));
    authorized.await.expect("runs").expect("answers");
    start(&service, get_with("/x", &[("authorization", "Basic bogus")]))
        .await
        .await
        .expect("runs")
        .expect("answers");
    cache.invalidate(tower_response_cache::Invalidation::all()).await.expect("local");
    all(start_many(&service, 100).await).await;
    assert_eq!(calls.count(), 4);
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Page,
    Private,
    Error,
    ServerError,
    Panic,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Page),
        1 => Just(Fate::Private),
        1 => Just(Fate::Error),
        1 => Just(Fate::ServerError),
        1 => Just(Fate::Panic)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any mix of fates and cancellations: nobody hangs, nothing is left behind.
    #[test]
    fn whatever_becomes_of_the_leaders_nobody_hangs_and_nothing_is_left(
        fates in prop::collection::vec((fate(), 0..60_u64), 40),
        arrivals in prop::collection::vec(0..150_u64, 1..24),
        aborts in prop::collection::vec(prop::option::of(0..200_u64), 24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async move {
            let (service, _, cache) = slow(move |call, _| {
                let (fate, delay) = fates[(call - 1) % fates.len()];
                async move {
                    sleep(delay as u32 * MS).await;
                    match fate {
                        Fate::Page => Ok(page(call)),
                        Fate::Private => Ok(numbered(&[("cache-control", "private")], call)),
                        Fate::Error => Err(io::Error::other("down")),
                        Fate::ServerError => Ok(status(503, call)),
                        Fate::Panic => std::panic::resume_unwind(Box::new("the handler panics")),
                    }
                }
            });
            let tasks: Vec<_> = arrivals.iter().zip(&aborts).map(|(arrival, abort)| {
                let (service, arrival, abort) = (service.clone(), *arrival, *abort);
                tokio::spawn(async move {
                    sleep(arrival as u32 * MS).await;
                    let call = async { Ok::<_, io::Error>(read(service.oneshot(get("/")).await?).await) };
                    match abort {
                        Some(after) => timeout(after as u32 * MS, call).await.unwrap_or_else(|_| Err(io::Error::other("left"))),
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
async fn two_tenants_keyed_by_an_inner_layer_alone_never_share_through_the_outer_flight() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        async move {
            sleep(50 * MS).await;
            let tenant = request.headers()["x-tenant"].to_str().expect("text").to_owned();
            Ok::<_, io::Error>(Response::new(Full::from(tenant)))
        }
    });
    let by_tenant = policy().vary_by("tenant", |request| {
        request.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok()).map(str::to_owned)
    });
    let nested =
        SiteCacheLayer::new(&cache).policy(by_tenant.name("inner").build().expect("a policy")).layer(inner);
    let service = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).build().expect("a policy"))
        .layer(nested);
    for _round in 0..3 {
        let mut tasks = Vec::new();
        for i in 0..40 {
            let tenant = ["red", "blue"][i % 2];
            let call = service.clone().oneshot(get_with("/", &[("x-tenant", tenant)]));
            tasks.push((tenant, tokio::spawn(async move { read(call.await.expect("ok")).await })));
            settle().await;
        }
        for (tenant, task) in tasks {
            let answer =
                timeout(Duration::from_secs(60), task).await.expect("does not hang").expect("no panic");
            assert_eq!(answer.text(), tenant);
        }
    }
    assert_eq!((calls.count(), cache.flights()), (2, 0), "one call a tenant, one copy stored");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_carried_on_is_stored_though_nobody_waits_any_more() {
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
        // The client leaves during the call, or during the body.
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
async fn a_call_that_is_carried_on_ends_within_its_limit_and_fails_as_it_would_have() {
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
    // With its client there, a call takes as long as it takes.
    assert!(timeout(1000 * MS, stack.clone().oneshot(get("/hangs"))).await.is_err());
    let panics = tokio::spawn(stack.clone().oneshot(get("/panics")));
    assert!(panics.await.is_err_and(|error| error.is_panic()));
    assert!(stack.clone().oneshot(get("/fails")).await.is_err_and(|error| error.to_string() == "down"));
    sleep(200 * MS).await;
    assert_eq!((calls.count(), cache.flights()), (4, 0));
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn calls_in_tasks_of_their_own_keep_the_span_of_their_request() {
    use tracing::Instrument;
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (cache, hand) = timed();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (inner, _) = origin(move |_, call| {
        log.lock().expect("not poisoned").push(tracing::Span::current().metadata().map(|span| span.name()));
        numbered(&[], call)
    });
    let policy = policy().complete_after_disconnect(1000 * MS).stale_while_revalidate(MINUTE);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    send(&stack, get("/")).instrument(tracing::info_span!("first")).await;
    hand.advance(MINUTE + 1000 * MS);
    assert!(send(&stack, get("/")).instrument(tracing::info_span!("second")).await.is_hit());
    settle().await;
    assert_eq!(*seen.lock().expect("not poisoned"), [Some("first"), Some("second")]);
}
