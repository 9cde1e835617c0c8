//! Suspended machines, changes of the wall clock, and lifetimes under a millisecond.

use crate::support::rfc9111::proxy;
use crate::support::*;
use http::Response;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, CacheHints, MemoryStore, SiteCacheLayer, Ttl};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// A change of the wall clock.
type Step = fn(&ManualClock);

type Handler = fn(usize) -> Response<Body>;
const STEPS: [Step; 2] = [|manual| manual.set_wall_back(HOUR), |manual| manual.set_wall_forward(HOUR)];

fn over(
    cache: &Cache,
    policy: PolicyBuilder,
    answer: impl Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> Stack {
    let (inner, _) = origin(move |_, call| answer(call));
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone()
}

#[tokio::test]
async fn suspended_time_counts_toward_lifetime_and_age() {
    let (cache, manual) = timed();
    let stack = over(&cache, policy(), |call| numbered(&[("cache-control", "max-age=7200")], call));
    send(&stack, get("/")).await;
    manual.sleep(HOUR);
    manual.advance(SECOND);
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.is_hit(), hit.header("age")), (true, Some("3601")));
    manual.sleep(HOUR);
    manual.advance(SECOND);
    assert!(!send(&stack, get("/")).await.is_hit());
}

#[tokio::test]
async fn suspended_time_expires_a_lock_and_a_clock_step_does_not() {
    let (cache, manual) = timed();
    let add = || async { cache.add("lock", "mine", HOUR).await.expect("the store answers") };
    assert!(add().await);
    for step in STEPS {
        step(&manual);
        manual.advance(SECOND);
        assert!(!add().await);
    }
    manual.set_wall_forward(24 * HOUR);
    manual.advance(SECOND);
    assert!(!add().await);
    manual.sleep(HOUR);
    manual.advance(SECOND);
    assert!(add().await);
}

#[tokio::test]
async fn a_wall_clock_step_during_a_call_does_not_change_the_age() {
    const DATED: [(&str, &str); 2] =
        [("cache-control", "max-age=60"), ("date", "Thu, 01 Jan 2026 00:00:00 GMT")];
    for step in STEPS {
        for lines in [&DATED[..1], &DATED] {
            let (cache, manual) = timed();
            let answering = manual.clone();
            let stack = over(&cache, policy(), move |call| {
                step(&answering);
                answering.advance(2 * SECOND);
                numbered(lines, call)
            });
            let first = send(&stack, get("/")).await;
            assert!(first.header("cache-status").is_some_and(|status| status.contains("stored; ttl=58")));
            manual.advance(SECOND);
            assert_eq!(send(&stack, get("/")).await.header("age"), Some("3"), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn the_date_of_a_hit_follows_a_corrected_wall_clock() {
    for step in STEPS {
        let (cache, manual) = timed();
        let stack = over(&cache, policy().client_max_age(MINUTE), |call| numbered(&[], call));
        step(&manual);
        send(&stack, get("/")).await;
        let right = "Thu, 01 Jan 2026 00:00:30 GMT";
        match send(&stack, get("/")).await.header("date") {
            Some("Wed, 31 Dec 2025 23:00:00 GMT") => manual.set_wall_forward(HOUR),
            Some("Thu, 01 Jan 2026 01:00:00 GMT") => manual.set_wall_back(HOUR),
            other => panic!("{other:?}"),
        }
        manual.advance(30 * SECOND);
        for request in [get("/"), request("HEAD", "/", &[]), get_with("/", &[("range", "bytes=0-0")])] {
            let hit = send(&stack, request).await;
            assert_eq!((hit.is_hit(), hit.header("date")), (true, Some(right)));
        }
    }
}

/// Clients count a lifetime from `Date`, so `Date` must not include the time that the handler takes.
#[tokio::test]
async fn the_date_of_a_forwarded_response_is_its_arrival_time() {
    let start = "Thu, 01 Jan 2026 00:00:00 GMT";
    let received = "Thu, 01 Jan 2026 00:00:30 GMT";
    for line in [("cookie", "sid=1"), ("x-nothing", "1")] {
        let (cache, manual) = timed();
        let stack = over(&cache, policy().client_max_age(MINUTE), move |call| {
            manual.advance(30 * SECOND);
            numbered(&[("cache-control", "max-age=600"), ("date", start)], call)
        });
        let answer = send(&stack, get_with("/", &[line])).await;
        assert_eq!(answer.header("date"), Some(received), "{line:?}");
    }
}

#[tokio::test]
async fn a_lock_of_under_a_millisecond_lasts_a_millisecond() {
    let (cache, manual) = timed();
    let add = |ttl| cache.add("lock", "mine", ttl);
    assert!(add(Duration::from_nanos(1)).await.expect("the store answers"));
    assert!(!add(Duration::from_micros(999)).await.expect("the store answers"));
    manual.advance(Duration::from_millis(1));
    assert!(add(Duration::from_micros(999)).await.expect("the store answers"));
}

#[tokio::test]
async fn a_ttl_under_a_millisecond_is_reported_as_zero_ttl() {
    let short = Duration::from_micros(999);
    let hinted = move |call| {
        let mut response = numbered(&[], call);
        response.extensions_mut().insert(CacheHints::new().ttl(short));
        response
    };
    let missing = |call| {
        let mut response = numbered(&[], call);
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    };
    let plain = |call| numbered(&[], call);
    let table: [(PolicyBuilder, Handler); 2] = [
        (policy().default_ttl(short), plain),
        (policy().negative_ttl(http::StatusCode::NOT_FOUND, short), missing),
    ];
    let mut stacks: Vec<_> =
        table.into_iter().map(|(policy, answer)| over(&memory(), policy, answer)).collect();
    stacks.push(over(&memory(), policy(), hinted));
    stacks.push(route_over(&memory(), short, origin(move |_, call| plain(call)).0));
    for (at, stack) in stacks.iter().enumerate() {
        for _ in 0..2 {
            let answer = send(stack, get("/")).await;
            assert_eq!(answer.detail(), Some("zero-ttl"), "{at}");
            assert!(!answer.header("cache-status").is_some_and(|status| status.contains("stored")), "{at}");
        }
    }
    let shortened = policy().default_ttl(Ttl::For(Duration::from_millis(1))).ttl_jitter(1.0);
    let (cache, _) = timed();
    let stack = over(&cache, shortened, plain);
    assert!(shares(&stack, get("/"), get("/")).await, "jitter leaves a lifetime of at least a millisecond");
}

/// The clock of the first cache is an hour ahead, so its entry seems to be from the future. A
/// reload (`no-cache`) through the second cache replaces the entry nevertheless.
#[tokio::test]
async fn an_entry_from_a_clock_that_is_ahead_is_replaced() {
    let (ahead, far) = Clock::manual();
    let (own, _) = Clock::manual();
    far.advance(Duration::from_secs(3600));
    let store = MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(own.clone()).build().expect("valid");
    let caches = [ahead, own].map(|clock| Cache::builder(store.clone()).clock(clock).build().expect("valid"));
    let (inner, _) = origin(|_, call| {
        numbered(&[("cache-control", "max-age=31536000"), ("etag", &format!("\"{call}\""))], call)
    });
    let [first, second] = caches.map(|cache| {
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner.clone())
    });
    assert_eq!(send(&first, get("/")).await.text(), "1");
    assert_eq!(send(&second, get_with("/", &[("cache-control", "no-cache")])).await.text(), "2");
    // The second response has replaced the entry of the first.
    assert_eq!(send(&second, get("/")).await.text(), "2");
}
