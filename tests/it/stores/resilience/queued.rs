//! A queued invalidation takes effect at once in its own process.

use super::*;
use crate::support::stacks::{begin, is_stale, windowed};
use tower_response_cache::Invalidation;

/// The states that the circuit can have when a request arrives.
const CIRCUITS: [CircuitState; 3] = [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen];

/// Brings the circuit of a process that has an undelivered invalidation to a state.
async fn bring_to(process: &Process, circuit: CircuitState) {
    match circuit {
        CircuitState::Closed => {}
        CircuitState::Open => process.open_circuit(Fault::Error).await,
        CircuitState::HalfOpen => {
            process.open_circuit(Fault::Error).await;
            process.faults.set_all(Fault::Hang);
            process.wait_for(CircuitState::HalfOpen).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn invalidation_without_an_answer_is_queued_within_its_limit() {
    let (process, _, _) = two_processes().await;
    process.faults.set(Operation::Invalidation, Fault::Hang);
    let begun = Instant::now();
    assert_eq!(process.cache.invalidate("/").await, Delivery::Queued);
    assert_eq!(begun.elapsed(), 250 * MS);
    assert_eq!(process.cache.undelivered(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_request_gets_a_page_older_than_a_queued_invalidation() {
    for circuit in CIRCUITS {
        let (one, other, data) = two_processes().await;
        one.faults.set(Operation::Invalidation, Fault::Hang);
        let now = data.change();
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        bring_to(&one, circuit).await;
        assert_eq!(one.cache.circuit(), circuit);
        for _ in 0..3 {
            assert_eq!(one.read("/").await, now, "{circuit:?}");
        }
        assert_eq!(other.read("/").await, "1", "not delivered yet");
        one.recover().await;
        assert_eq!(other.read("/").await, now, "{circuit:?}");
        assert_eq!(one.hit("/").await, Some(now));
    }
}

#[tokio::test(start_paused = true)]
async fn invalidation_is_queued_at_once_while_the_circuit_is_open() {
    for circuit in [CircuitState::Open, CircuitState::HalfOpen] {
        let (one, other, data) = two_processes().await;
        one.faults.set(Operation::Invalidation, Fault::Error);
        assert_eq!(one.cache.invalidate("/queued").await, Delivery::Queued);
        bring_to(&one, circuit).await;
        let (now, begun) = (data.change(), Instant::now());
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(one.read("/").await, now);
        one.recover().await;
        assert_eq!((one.read("/").await, other.read("/").await), (now.clone(), now));
    }
}

#[tokio::test(start_paused = true)]
async fn page_stored_while_its_invalidation_is_queued_is_not_served() {
    let (one, other, data) = two_processes().await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    assert_eq!(one.cache.invalidate("/new").await, Delivery::Queued);
    // Both processes try to store the page. The process with the queued invalidation may refuse.
    for process in [&one, &other] {
        process.read("/new").await;
        settle().await;
    }
    let now = data.change();
    assert_eq!(one.cache.invalidate("/new").await, Delivery::Queued);
    assert_eq!(one.read("/new").await, now);
    one.recover().await;
    assert_eq!((one.read("/new").await, other.read("/new").await), (now.clone(), now));
}

#[tokio::test(start_paused = true)]
async fn flight_gets_no_follower_after_a_queued_invalidation() {
    for fault in [Fault::Error, Fault::Hang, Fault::HangAfter] {
        let (one, _, data) = two_processes().await;
        let early = begin(&one.site, get("/slow"));
        sleep(10 * MS).await;
        let now = data.change();
        one.faults.set(Operation::Invalidation, fault);
        assert_eq!(one.cache.invalidate("/slow").await, Delivery::Queued);
        let late = begin(&one.site, get("/slow"));
        assert_eq!(early.await.expect("no panic").text(), "1");
        assert_eq!(late.await.expect("no panic").text(), now);
        settle().await;
        assert_eq!(one.read("/slow").await, now);
        one.recover().await;
        assert_eq!(one.read("/slow").await, now);
    }
}

#[tokio::test(start_paused = true)]
async fn response_older_than_a_delivered_invalidation_is_not_stored() {
    let (one, other, data) = two_processes().await;
    let early = begin(&one.site, get("/slow"));
    sleep(10 * MS).await;
    let now = data.change();
    one.faults.set(Operation::Invalidation, Fault::Error);
    assert_eq!(one.cache.invalidate("/slow").await, Delivery::Queued);
    one.recover().await;
    assert_eq!(early.await.expect("no panic").text(), "1", "delivered during the flight");
    settle().await;
    assert_eq!((one.read("/slow").await, other.read("/slow").await), (now.clone(), now));
}

/// In some rounds, the queued invalidation is delivered after the check of the stored page has read
/// the store, and before the check returns.
#[tokio::test(start_paused = true)]
async fn delivery_during_the_check_of_a_page_does_not_make_it_valid() {
    for after in 0..50 {
        let (one, _, data) = two_processes().await;
        one.faults.set(Operation::Invalidation, Fault::Error);
        let now = data.change();
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        one.faults
            .set(Operation::Invalidation, Fault::Delay { before: Duration::ZERO, after: Duration::ZERO });
        one.faults.set(Operation::Generation, Fault::Delay { before: Duration::ZERO, after: 40 * MS });
        sleep(after * 5 * MS).await;
        assert_eq!(one.read("/").await, now, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn queued_soft_invalidation_leaves_stale_windows() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let [one, other] = [(); 2].map(|()| Process::with_policy(&shared, &data, windowed()));
    for process in [&one, &other] {
        assert_eq!(process.hit("/").await.as_deref(), Some("1"));
    }
    one.faults.set(Operation::Invalidation, Fault::Error);
    data.change();
    assert_eq!(one.cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Queued);
    let stale = send(&one.site, get("/")).await;
    assert!(is_stale(&stale) && stale.text() == "1", "{stale:?}");
    let hit = send(&other.site, get("/")).await;
    assert!(hit.is_hit() && hit.text() == "1", "{hit:?}");
    one.recover().await;
    settle().await;
    let answer = send(&other.site, get("/")).await;
    assert!(is_stale(&answer) || answer.text() == "2", "{answer:?}");
    settle().await;
    assert_eq!(send(&other.site, get("/")).await.text(), "2", "refreshed");
}

#[tokio::test(start_paused = true)]
async fn hard_invalidation_outranks_a_queued_soft_one() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let process = Process::with_policy(&shared, &data, windowed());
    assert_eq!(process.hit("/").await.as_deref(), Some("1"));
    process.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(process.cache.invalidate("/").await, Delivery::Queued);
    assert_eq!(process.cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Queued);
    assert_eq!(process.read("/").await, now);
}
