//! Tests of the circuit breaker, under paused time.

use super::*;
use tokio::time::advance;

const MS: Duration = Duration::from_millis(1);

fn breaker() -> Arc<Breaker> {
    Arc::new(Breaker::new())
}

fn call(breaker: &Arc<Breaker>) -> Permit {
    breaker.acquire(Requester::Operation, false).expect("the circuit permits the call")
}

fn fail(breaker: &Arc<Breaker>, times: usize) {
    (0..times).for_each(|_| call(breaker).failed());
}

fn succeed(breaker: &Arc<Breaker>, times: usize) {
    (0..times).for_each(|_| call(breaker).succeeded(false));
}

fn is_refused(breaker: &Arc<Breaker>, caller: Requester, is_held: bool) -> bool {
    breaker.acquire(caller, is_held).is_none()
}

/// Creates an open circuit, and lets its back-off pass.
async fn after_the_backoff() -> Arc<Breaker> {
    let breaker = breaker();
    fail(&breaker, MIN_FAILURES);
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(breaker.remaining_backoff()).await;
    breaker
}

#[tokio::test(start_paused = true)]
async fn circuit_opens_after_five_failures() {
    let breaker = breaker();
    fail(&breaker, MIN_FAILURES - 1);
    assert_eq!(breaker.state(), CircuitState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn circuit_stays_closed_while_most_calls_succeed() {
    let breaker = breaker();
    succeed(&breaker, 20);
    fail(&breaker, 19);
    assert_eq!(breaker.state(), CircuitState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Open, "half of the calls failed");
}

#[tokio::test(start_paused = true)]
async fn old_outcomes_do_not_count() {
    let breaker = breaker();
    fail(&breaker, MIN_FAILURES - 1);
    advance(WINDOW).await;
    fail(&breaker, MIN_FAILURES - 1);
    assert_eq!(breaker.state(), CircuitState::Closed, "old failures do not count");
    advance(WINDOW).await;
    succeed(&breaker, 20);
    advance(WINDOW).await;
    fail(&breaker, MIN_FAILURES);
    assert_eq!(breaker.state(), CircuitState::Open, "old successes do not protect");
}

#[tokio::test(start_paused = true)]
async fn outcomes_age_one_by_one() {
    let breaker = breaker();
    fail(&breaker, 1);
    advance(WINDOW / 2).await;
    fail(&breaker, MIN_FAILURES - 2);
    advance(WINDOW / 2).await;
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Closed, "the first failure is too old");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn busy_circuit_opens_when_half_of_the_last_calls_fail() {
    let breaker = breaker();
    succeed(&breaker, 9_000);
    fail(&breaker, MAX_OUTCOMES / 2 - 1);
    assert_eq!(breaker.state(), CircuitState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Open, "half of the last calls failed");
}

#[tokio::test(start_paused = true)]
async fn call_without_an_outcome_does_not_count() {
    let breaker = breaker();
    (0..100).for_each(|_| drop(call(&breaker)));
    fail(&breaker, MIN_FAILURES - 1);
    (0..100).for_each(|_| drop(call(&breaker)));
    assert_eq!(breaker.state(), CircuitState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn open_circuit_refuses_until_its_backoff_has_passed() {
    let breaker = breaker();
    fail(&breaker, MIN_FAILURES);
    let backoff = breaker.remaining_backoff();
    assert!((MIN_BACKOFF..=2 * MIN_BACKOFF).contains(&backoff), "{backoff:?}");
    advance(backoff - MS).await;
    for caller in [Requester::Operation, Requester::Delivery] {
        assert!(is_refused(&breaker, caller, caller == Requester::Delivery));
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(MS).await;
    let _probe = call(&breaker);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert_eq!(breaker.remaining_backoff(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn half_open_circuit_permits_one_probe_at_a_time() {
    let breaker = after_the_backoff().await;
    let probe = call(&breaker);
    for caller in [Requester::Operation, Requester::Delivery] {
        assert!(is_refused(&breaker, caller, false));
    }
    drop(probe);
    assert_eq!(breaker.state(), CircuitState::HalfOpen, "a call without an outcome changes nothing");
    let second = call(&breaker);
    assert!(is_refused(&breaker, Requester::Operation, false));
    second.succeeded(false);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probe_that_takes_too_long_is_replaced() {
    let breaker = after_the_backoff().await;
    let forgotten = call(&breaker);
    advance(MAX_PROBE - MS).await;
    assert!(is_refused(&breaker, Requester::Operation, false));
    advance(MS).await;
    let probe = call(&breaker);
    assert!(is_refused(&breaker, Requester::Operation, false));
    drop(forgotten);
    assert!(is_refused(&breaker, Requester::Operation, false), "the other probe is in progress");
    probe.succeeded(false);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn late_probe_does_not_end_the_probe_in_progress() {
    let breaker = after_the_backoff().await;
    let late = call(&breaker);
    breaker.close_if_half_open();
    fail(&breaker, MIN_FAILURES);
    advance(breaker.remaining_backoff()).await;
    let probe = call(&breaker);
    drop(late);
    assert!(is_refused(&breaker, Requester::Operation, false), "a probe is in progress");
    probe.succeeded(false);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn failed_probe_lengthens_the_backoff_up_to_a_limit() {
    let breaker = after_the_backoff().await;
    let mut expected = MIN_BACKOFF;
    for _ in 0..12 {
        call(&breaker).failed();
        assert_eq!(breaker.state(), CircuitState::Open);
        expected = (2 * expected).min(MAX_BACKOFF);
        let backoff = breaker.remaining_backoff();
        assert!((expected..=2 * expected).contains(&backoff), "{backoff:?} for {expected:?}");
        advance(backoff).await;
    }
    call(&breaker).succeeded(false);
    fail(&breaker, MIN_FAILURES);
    assert!(breaker.remaining_backoff() <= 2 * MIN_BACKOFF, "a success resets the back-off");
}

#[tokio::test(start_paused = true)]
async fn closing_forgets_earlier_failures() {
    let breaker = after_the_backoff().await;
    call(&breaker).succeeded(false);
    fail(&breaker, MIN_FAILURES - 1);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn failure_of_a_call_before_the_opening_changes_nothing() {
    let breaker = breaker();
    let (late, later) = (call(&breaker), call(&breaker));
    fail(&breaker, MIN_FAILURES);
    let backoff = breaker.remaining_backoff();
    late.failed();
    assert_eq!(breaker.remaining_backoff(), backoff);
    advance(backoff).await;
    let _probe = call(&breaker);
    later.failed();
    assert_eq!(breaker.state(), CircuitState::HalfOpen, "the probe decides");
}

#[tokio::test(start_paused = true)]
async fn failures_from_before_the_opening_do_not_reopen() {
    let breaker = breaker();
    let late: Vec<_> = (0..2 * MAX_OUTCOMES).map(|_| call(&breaker)).collect();
    fail(&breaker, MIN_FAILURES);
    advance(breaker.remaining_backoff()).await;
    call(&breaker).succeeded(false);
    late.into_iter().for_each(Permit::failed);
    assert_eq!(breaker.state(), CircuitState::Closed);
    fail(&breaker, MIN_FAILURES);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn circuit_does_not_close_while_anything_is_undelivered() {
    let breaker = after_the_backoff().await;
    call(&breaker).succeeded(true);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.close_if_half_open();
    assert_eq!(breaker.state(), CircuitState::Closed);
    breaker.close_if_half_open();
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn delivery_alone_probes_while_anything_is_undelivered() {
    let breaker = after_the_backoff().await;
    assert!(is_refused(&breaker, Requester::Operation, true));
    assert_eq!(breaker.state(), CircuitState::Open);
    let probe = breaker.acquire(Requester::Delivery, true).expect("a probe");
    assert!(is_refused(&breaker, Requester::Operation, true));
    probe.succeeded(true);
    assert!(is_refused(&breaker, Requester::Operation, true), "half-open");
    assert!(!is_refused(&breaker, Requester::Delivery, true));
}

#[tokio::test(start_paused = true)]
async fn delivery_does_not_close_an_open_circuit() {
    let breaker = breaker();
    let delivery = breaker.acquire(Requester::Delivery, true).expect("closed");
    fail(&breaker, MIN_FAILURES);
    delivery.succeeded(false);
    breaker.close_if_half_open();
    assert_eq!(breaker.state(), CircuitState::Open, "the back-off has not passed");
}

/// A subscriber that reads the state of the circuit in each event.
#[cfg(feature = "tracing")]
struct ReadsState(Arc<Breaker>, Arc<Mutex<Vec<CircuitState>>>);

#[cfg(feature = "tracing")]
impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for ReadsState {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        // If the breaker still held the lock, a blocking `lock` would never return.
        let state = self.0.inner.try_lock().map(|inner| inner.state).expect("the lock is free");
        self.1.lock().expect("not poisoned").push(state);
    }
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn events_of_changes_are_emitted_without_the_lock() {
    use tracing_subscriber::layer::SubscriberExt;

    let (breaker, seen) = (breaker(), Arc::new(Mutex::new(Vec::new())));
    let reader = ReadsState(Arc::clone(&breaker), Arc::clone(&seen));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(reader));
    fail(&breaker, MIN_FAILURES);
    advance(breaker.remaining_backoff()).await;
    call(&breaker).failed();
    advance(breaker.remaining_backoff()).await;
    succeed(&breaker, 1);
    use CircuitState::{Closed, HalfOpen, Open};
    assert_eq!(*seen.lock().expect("not poisoned"), [Open, HalfOpen, Open, HalfOpen, Closed]);
}
