//! The queue of invalidations that the store has not confirmed, and their delivery.

use super::*;
use tower_response_cache::Invalidation;

#[tokio::test(start_paused = true)]
async fn dropped_invalidation_is_queued() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Hang);
    drop(one.cache.invalidate("/"));
    assert_eq!(one.cache.undelivered(), 0, "never polled");
    let now = data.change();
    assert!(tokio::time::timeout(MS, one.cache.invalidate("/")).await.is_err());
    assert_eq!(one.cache.undelivered(), 1);
    assert_eq!(one.read("/").await, now);
    one.recover().await;
    assert_eq!(other.read("/").await, now);
}

#[tokio::test(start_paused = true)]
async fn disconnect_during_an_unsafe_request_queues_its_invalidation() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Hang);
    let now = data.change();
    let post = send(&one.site, request("POST", "/", &[]));
    assert!(tokio::time::timeout(MS, post).await.is_err());
    assert_eq!(one.read("/").await, now);
    one.recover().await;
    assert_eq!(other.read("/").await, now);
}

#[tokio::test(start_paused = true)]
async fn invalidation_during_its_own_delivery_is_delivered_again() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    data.change();
    assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
    // The delivery takes effect in the store at once. Its reply comes 200 ms later.
    let calls = one.faults.calls(Operation::Invalidation);
    one.faults.set(Operation::Invalidation, Fault::Delay { before: Duration::ZERO, after: 200 * MS });
    until(|| one.faults.calls(Operation::Invalidation) > calls).await;
    sleep(MS).await;
    assert_eq!(other.read("/").await, "2", "the delivery took effect");
    one.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
    sleep(250 * MS).await;
    assert_eq!(one.cache.undelivered(), 1, "the first delivery leaves the second invalidation");
    assert_eq!(one.read("/").await, now);
    one.recover().await;
    assert_eq!((one.read("/").await, other.read("/").await), (now.clone(), now));
}

#[tokio::test(start_paused = true)]
async fn invalidation_whose_reply_is_lost_is_delivered_again() {
    for fault in [Fault::ErrorAfter, Fault::HangAfter] {
        let (one, other, data) = two_processes().await;
        one.faults.set(Operation::Invalidation, fault);
        let now = data.change();
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        assert_eq!(other.read("/").await, now, "the invalidation took effect");
        one.recover().await;
        assert_eq!(one.hit("/").await, Some(now));
    }
}

#[tokio::test(start_paused = true)]
async fn full_queue_invalidates_everything() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    for number in 0..16_384 {
        assert_eq!(one.cache.invalidate(Invalidation::tag(number.to_string())).await, Delivery::Queued);
    }
    assert_eq!(one.cache.undelivered(), 16_384);
    assert_eq!(other.read("/").await, "1", "no queued tag covers the page");
    let now = data.change();
    assert_eq!(one.cache.invalidate(Invalidation::tag("last")).await, Delivery::Queued);
    assert_eq!(one.cache.undelivered(), 1);
    assert_eq!(one.read("/").await, now);
    one.recover().await;
    assert_eq!(other.read("/").await, now);
}

#[tokio::test(start_paused = true)]
async fn long_queue_is_delivered() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    for number in 0..3_000 {
        assert_eq!(one.cache.invalidate(format!("/{number}").as_str()).await, Delivery::Queued);
    }
    let now = data.change();
    assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
    one.recover().await;
    assert_eq!(other.read("/").await, now);
}

#[tokio::test(start_paused = true)]
async fn undelivered_invalidations_affect_only_their_namespace() {
    let (one, _, _) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    let blog = one.cache.with_namespace("blog").expect("not empty");
    assert_eq!(blog.clear().await, Delivery::Queued);
    assert_eq!(one.cache.undelivered(), 1);
    assert_eq!(one.hit("/").await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn circuit_closes_only_after_the_delivery() {
    let (one, _, _) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
    one.open_circuit(Fault::Error).await;
    one.faults.clear();
    one.faults.set(Operation::Invalidation, Fault::Error);
    let lookups = one.faults.calls(Operation::Lookup);
    for _ in 0..20 {
        sleep(100 * MS).await;
        one.read("/").await;
        assert_ne!(one.cache.circuit(), CircuitState::Closed);
    }
    assert_eq!(one.faults.calls(Operation::Lookup), lookups, "no request reaches the store");
    one.recover().await;
    assert!(one.hit("/").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn local_store_that_cannot_invalidate_serves_no_old_page() {
    let (memory, data) = (memory_store(1 << 20), Data::default());
    data.change();
    let store = FaultyStore::new(memory).local();
    let process = Process::over(store, &data, Policy::app().default_ttl(3600 * S));
    assert_eq!(process.hit("/").await.as_deref(), Some("1"));
    process.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(process.cache.invalidate("/").await, Delivery::Queued);
    assert_eq!(process.read("/").await, now);
    assert_eq!(process.read("/other").await, now);
    settle().await;
    assert_eq!(process.read("/").await, now);
    for _ in 0..600 {
        sleep(100 * MS).await;
        assert_eq!(process.cache.circuit(), CircuitState::Closed);
    }
    process.recover().await;
    assert_eq!(process.hit("/").await, Some(now));
}
