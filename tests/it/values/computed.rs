//! Computed values: their followers and their dependencies.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use std::time::Duration;
use tower_response_cache::{Cache, Ttl};

const S: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_computed_value_moves_to_the_next_version() {
    let cache = memory();
    cache.get_or_set("k", Ttl::Forever, || async { 5_u32 }).await.expect("v");
    let next = cache.incr_version("k").await.expect("moved");
    let found = cache.with_version(next).get::<u32>("k").await;
    assert!(matches!(found, Ok(Some(5))), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_value_computed_from_itself_does_not_wait_for_itself() {
    let cache = memory();
    let began = tokio::time::Instant::now();
    let within = cache.clone();
    let v = cache
        .get_or_set("k", Ttl::Forever, || async move {
            Box::pin(within.get_or_set("k", Ttl::Forever, || async { 1_u32 })).await.expect("v") + 1
        })
        .await
        .expect("v");
    assert_eq!((v, began.elapsed()), (2, Duration::ZERO));
}

/// The dependency of the value expires before the value. The stale window begins when the
/// dependency expires.
#[tokio::test(start_paused = true)]
async fn a_stale_value_serves_no_longer_than_its_window() {
    let (cache, manual) = timed();
    cache.set("dep", &1_u32, 10 * S).await.expect("set");
    let handle = cache.clone();
    let total = cache.value("total").ttl(3600 * S).stale_while_revalidate(S);
    total
        .get_or_set(|| async move { handle.get::<u32>("dep").await.ok().flatten().unwrap_or(0) })
        .await
        .expect("v");
    manual.advance(1800 * S);
    let slow = total.get_or_set(|| async {
        tokio::time::sleep(S).await;
        2_u32
    });
    let quick = async {
        tokio::time::sleep(S / 10).await;
        total.get_or_set(|| async { 3_u32 }).await.expect("v")
    };
    let (_, quick) = tokio::join!(slow, quick);
    assert_eq!(quick, 2, "the stale window ended half an hour ago");
}

/// The set begins before the end of the computation, at that end, or after it.
#[tokio::test(start_paused = true)]
async fn a_set_is_not_lost_to_a_concurrent_computation() {
    let mut lost = Vec::new();
    for offset in 80..160 {
        let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
        let cache = Cache::new(store);
        let compute = cache.get_or_set("k", Ttl::Forever, || async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            1_u32
        });
        let set = async {
            tokio::time::sleep(Duration::from_millis(offset)).await;
            cache.set("k", &2_u32, Ttl::Forever).await.expect("set")
        };
        let (_, stored) = tokio::join!(compute, set);
        assert!(stored);
        let found = cache.get::<u32>("k").await.ok().flatten();
        if found != Some(2) {
            lost.push((offset, found));
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_touched_value_does_not_outlive_its_dependencies() {
    let (cache, manual) = timed();
    cache.set("dep", &1_u32, 10 * S).await.expect("set");
    let handle = cache.clone();
    cache
        .get_or_set("total", 3600 * S, || async move {
            handle.get::<u32>("dep").await.ok().flatten().unwrap_or(0)
        })
        .await
        .expect("v");
    cache.touch("total", 3600 * S).await.expect("touched");
    manual.advance(11 * S);
    assert!(cache.get::<u32>("total").await.expect("read").is_none());
}

/// The value depends on a value of another namespace, so it cannot be stored.
#[tokio::test(start_paused = true)]
async fn followers_of_an_unstorable_value_wait_once() {
    let cache = memory();
    let other = cache.with_namespace("other").expect("ok");
    let calls = Calls::default();
    let began = tokio::time::Instant::now();
    let all = futures::future::join_all((0..5).map(|_| {
        let (cache, other, calls) = (cache.clone(), other.clone(), calls.clone());
        async move {
            cache
                .get_or_set("k", Ttl::Forever, || async move {
                    calls.next();
                    tokio::time::sleep(S).await;
                    let _ = other.get::<u32>("x").await;
                    1_u32
                })
                .await
                .expect("v")
        }
    }))
    .await;
    assert_eq!(
        (all, calls.count(), began.elapsed()),
        (vec![1; 5], 5, 2 * S),
        "the followers compute at the same time"
    );
}

#[tokio::test(start_paused = true)]
async fn two_values_computed_from_each_other_do_not_deadlock() {
    let cache = memory();
    let began = tokio::time::Instant::now();
    let one = |a: &'static str, b: &'static str, cache: Cache| async move {
        let within = cache.clone();
        cache
            .get_or_set(a, Ttl::Forever, || async move {
                tokio::time::sleep(S / 10).await;
                within.get_or_set(b, Ttl::Forever, || async { 1_u32 }).await.expect("v") + 1
            })
            .await
            .expect("v")
    };
    let both = tokio::join!(one("a", "b", cache.clone()), one("b", "a", cache.clone()));
    assert!(both.0 > 1 && both.1 > 1);
    assert!(began.elapsed() < 11 * S);
}
