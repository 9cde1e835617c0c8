//! Visitors leave, and the service and its bodies fail, hang or panic. No request hangs, and no
//! flight, recording or call is left.

use crate::support::*;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer};

const MS: Duration = Duration::from_millis(1);

/// The course of one call of the service.
#[derive(Debug, Clone)]
struct CallPlan {
    /// The time until the response head, in milliseconds.
    delay: u32,
    head: Head,
    /// The pause before each frame, in milliseconds.
    frames: Vec<u32>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    Page,
    Private,
    Unavailable,
    Error,
    Panic,
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Clean,
    Fails,
    Panics,
    Stalls,
}

fn call_plans() -> impl Strategy<Value = Vec<CallPlan>> {
    let head = prop_oneof![
        6 => Just(Head::Page),
        1 => Just(Head::Private),
        1 => Just(Head::Unavailable),
        1 => Just(Head::Error),
        1 => Just(Head::Panic),
        1 => Just(Head::Hangs),
    ];
    let end = prop_oneof![5 => Just(End::Clean), 1 => Just(End::Fails), 1 => Just(End::Panics), 1 => Just(End::Stalls)];
    let plan = (0..40_u32, head, prop::collection::vec(0..20_u32, 0..6), end);
    prop::collection::vec(
        plan.prop_map(|(delay, head, frames, end)| CallPlan { delay, head, frames, end }),
        12,
    )
}

/// The time at which a visitor sends a request, and how long the visitor waits for the head and
/// then for the body, in milliseconds. A visitor without a limit waits for a second.
#[derive(Debug, Clone, Copy)]
struct Visitor {
    arrives: u32,
    waits: Option<u32>,
    reads: Option<u32>,
}

fn visitors() -> impl Strategy<Value = Vec<Visitor>> {
    let disconnect_delay = || prop::option::weighted(0.4, 0..80_u32);
    let visitor = (0..200_u32, disconnect_delay(), disconnect_delay());
    prop::collection::vec(
        visitor.prop_map(|(arrives, waits, reads)| Visitor { arrives, waits, reads }),
        1..20,
    )
}

/// The outcome of a visit.
#[derive(Debug, PartialEq)]
enum VisitResult {
    Complete(StatusCode, String),
    /// The service or its body failed.
    Failure,
    Left,
}

/// Calls that all answer with a complete page.
fn plans_without_failures() -> impl Strategy<Value = Vec<CallPlan>> {
    let plan = |mut plan: CallPlan| {
        (plan.head, plan.end) = (Head::Page, End::Clean);
        plan
    };
    call_plans().prop_map(move |call_plans| call_plans.into_iter().map(plan).collect())
}

/// The number of running calls, including calls whose bodies still stream, and the highest such
/// number.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A running call, which ends when this value is dropped.
struct Live(Arc<Running>);

impl Live {
    fn new(running: &Arc<Running>) -> Self {
        let now = running.now.fetch_add(1, Ordering::SeqCst) + 1;
        running.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(running))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn policies() -> impl Strategy<Value = (PolicyBuilder, bool)> {
    let plain = || policy().collapse_timeout(500 * MS).origin_timeout(300 * MS);
    prop_oneof![
        Just((plain(), false)),
        Just((plain().complete_after_disconnect(400 * MS), false)),
        Just((plain().max_body_bytes(8), false)),
        Just((plain().default_ttl(30 * MS).stale_while_revalidate(MINUTE).stale_if_error(MINUTE), true)),
    ]
}

async fn visit(
    cache: &Cache,
    policy: PolicyBuilder,
    call_plans: Vec<CallPlan>,
    visitors: &[Visitor],
    live: &Arc<Running>,
) -> Vec<VisitResult> {
    let (calls, running) = (Calls::default(), Arc::clone(live));
    let inner = service_fn(move |_: Request<Body>| {
        let call = calls.next();
        let (plan, running) = (call_plans[(call - 1) % call_plans.len()].clone(), Arc::clone(&running));
        async move {
            let live = Live::new(&running);
            sleep(plan.delay * MS).await;
            let mut response = match plan.head {
                Head::Error => return Err(io::Error::other("down")),
                Head::Panic => std::panic::resume_unwind(Box::new("the handler panics")),
                Head::Hangs => std::future::pending().await,
                Head::Private => Response::builder().header("cache-control", "private"),
                Head::Page | Head::Unavailable => Response::builder(),
            };
            if plan.head == Head::Unavailable {
                response = response.status(503);
            }
            let pauses = plan.frames.into_iter().map(Some).chain([None]);
            let frames = stream::unfold((pauses, live), move |(mut pauses, live)| async move {
                let frame = match pauses.next()? {
                    Some(pause) => {
                        sleep(pause * MS).await;
                        Ok(Frame::data(Bytes::from_static(b"abc")))
                    }
                    None => match plan.end {
                        End::Clean => return None,
                        End::Fails => Err(io::Error::other("torn")),
                        End::Panics => std::panic::resume_unwind(Box::new("the body panics")),
                        End::Stalls => std::future::pending().await,
                    },
                };
                Some((frame, (pauses, live)))
            });
            Ok::<_, io::Error>(response.body(StreamBody::new(Box::pin(frames))).expect("a response"))
        }
    });
    let shop = SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner);
    let tasks: Vec<_> = visitors
        .iter()
        .map(|&visitor| {
            let shop = shop.clone();
            tokio::spawn(async move {
                sleep(visitor.arrives * MS).await;
                let long = 1_000;
                let head = timeout(visitor.waits.unwrap_or(long) * MS, shop.oneshot(get("/"))).await;
                let response = match head {
                    Ok(Ok(response)) => response,
                    Ok(Err(_)) => return VisitResult::Failure,
                    Err(_) => {
                        return if visitor.waits.is_some() {
                            VisitResult::Left
                        } else {
                            panic!("a head hangs")
                        };
                    }
                };
                let status = response.status();
                // A stalled body is the fault of the service, so a timeout here is no failure of
                // the cache.
                match timeout(visitor.reads.unwrap_or(long) * MS, response.into_body().collect()).await {
                    Ok(Ok(complete)) => {
                        let text = String::from_utf8(complete.to_bytes().to_vec()).expect("text");
                        VisitResult::Complete(status, text)
                    }
                    Ok(Err(_)) => VisitResult::Failure,
                    Err(_) => VisitResult::Left,
                }
            })
        })
        .collect();
    let mut got = Vec::new();
    for task in tasks {
        got.push(match task.await {
            Ok(got) => got,
            Err(error) => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                assert!(text.starts_with("the "), "a panic that is not from the service: {text}");
                VisitResult::Failure
            }
        });
    }
    got
}

proptest! {
    #![proptest_config(crate::support::cases(400))]

    #[test]
    fn no_request_hangs_or_gets_half_a_page_and_nothing_leaks(
        call_plans in call_plans(),
        visitors in visitors(),
        (policy, in_background) in policies(),
    ) {
        paused(async move {
            let (cache, ticks) = ticking();
            let live = Arc::new(Running::default());
            let complete_bodies: Vec<String> = call_plans.iter().map(|plan| "abc".repeat(plan.frames.len())).collect();
            let got = visit(&cache, policy, call_plans, &visitors, &live).await;
            for got in &got {
                // Every complete body is the body of one call, except for a 504 of the cache.
                if let VisitResult::Complete(status, text) = got {
                    assert!(*status == StatusCode::GATEWAY_TIMEOUT || complete_bodies.contains(text), "{got:?}");
                }
            }
            ticks.abort();
            // Background work ends by its own time limits.
            sleep(Duration::from_secs(100)).await;
            cache.shutdown().await;
            assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
            assert_eq!(live.now.load(Ordering::SeqCst), 0, "a call or a body is still running");
            assert!(!in_background || cache.refreshes().running() == 0);
        });
    }

    #[test]
    fn at_most_one_call_runs_at_a_time_for_a_storable_page(
        call_plans in plans_without_failures(),
        visitors in visitors(),
        carried in any::<bool>(),
    ) {
        paused(async move {
            let (cache, ticks) = ticking();
            let live = Arc::new(Running::default());
            // The TTL is longer than any body. If a page expired while it streams, later requests
            // would not share it.
            let policy = policy().default_ttl(150 * MS);
            let policy = if carried { policy.complete_after_disconnect(400 * MS) } else { policy };
            visit(&cache, policy, call_plans, &visitors, &live).await;
            assert!(live.most.load(Ordering::SeqCst) <= 1, "{} at a time", live.most.load(Ordering::SeqCst));
            ticks.abort();
        });
    }
}

fn paused(test: impl Future<Output = ()>) {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime").block_on(test);
}

/// Returns a cache whose clock follows the paused time of the runtime, and the task that advances
/// it.
fn ticking() -> (Cache, tokio::task::JoinHandle<()>) {
    let (clock, manual) = Clock::manual();
    let ticks = tokio::spawn(async move {
        loop {
            sleep(5 * MS).await;
            manual.advance(5 * MS);
        }
    });
    let store =
        MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(clock.clone()).build().expect("valid");
    (Cache::builder(store).clock(clock).build().expect("valid"), ticks)
}
