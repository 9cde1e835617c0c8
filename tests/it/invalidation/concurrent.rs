//! Concurrent invalidations, and callers that stop polling.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use std::time::Duration;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation};

#[tokio::test(start_paused = true)]
async fn an_unpolled_invalidation_does_not_block_others() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::SlowWithoutGenerations));
    assert_eq!(cache.invalidate(Invalidation::tag("begin")).await, Delivery::Delivered);
    let mut one = Box::pin(cache.invalidate(Invalidation::tag("one")));
    // From now on, the invalidation `one` is in the middle of its store operations, and no task
    // polls it.
    assert!(tokio::time::timeout(Duration::from_millis(2), &mut one).await.is_err());
    let other = cache.clone();
    let two = tokio::spawn(async move { other.invalidate(Invalidation::tag("two")).await })
        .await
        .expect("no panic");
    let first = one.await;
    assert!(two.is_delivered(), "{two:?} {first:?} errors={}", cache.store_errors());
}

/// The second invalidation begins during the first.
#[tokio::test(start_paused = true)]
async fn an_unpolled_second_invalidation_does_not_block_a_third() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::SlowWithoutGenerations));
    assert_eq!(cache.invalidate(Invalidation::tag("begin")).await, Delivery::Delivered);
    let c = cache.clone();
    let leader = tokio::spawn(async move { c.invalidate(Invalidation::tag("leader")).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut waits = Box::pin(cache.invalidate(Invalidation::tag("waits")));
    assert!(tokio::time::timeout(Duration::from_millis(2), &mut waits).await.is_err());
    let c = cache.clone();
    let third = tokio::spawn(async move { c.invalidate(Invalidation::tag("third")).await });
    let third = third.await.expect("no panic");
    assert_eq!(leader.await.expect("no panic"), Delivery::Delivered);
    assert_eq!((third, waits.await), (Delivery::Delivered, Delivery::Delivered));
}

/// The invalidation that a write through a cache layer causes does not wait for an unpolled
/// invalidation.
#[tokio::test(start_paused = true)]
async fn a_write_is_visible_during_another_invalidation() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::SlowWithoutGenerations));
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    let mut elsewhere = Box::pin(cache.invalidate(Invalidation::tag("unrelated")));
    let begun = tokio::time::timeout(Duration::from_millis(2), &mut elsewhere).await;
    assert!(begun.is_err());
    assert_eq!(send(&stack, request("POST", "/", &[])).await.status, 200);
    let after = send(&stack, get("/")).await;
    assert!(!after.is_hit(), "{after:?}, store errors: {}", cache.store_errors());
}
