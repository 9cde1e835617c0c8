//! Caches over a remote store that fails: time limits, the circuit, and invalidations that are
//! queued until the store works again.
//!
//! The circuit is closed while the store works. It opens after failures, and then only probes reach
//! the store.

mod copies;
mod deliveries;
mod queued;
mod random;
mod refused;
mod runtimes;
mod spared;
mod values;

use crate::support::stacks::{MS, S, layered, settle};
use crate::support::*;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};
use tower_response_cache::cache::CircuitState;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::store::faulty::{Fault, Faults, FaultyStore, Operation};
use tower_response_cache::{Cache, MemoryStore, Policy};

const LOOKUP_LIMIT: Duration = Duration::from_millis(50);

/// The data of pages, as the number of its last change. A page shows the number that was current
/// when its handler began.
#[derive(Debug, Clone, Default)]
struct Data(Arc<AtomicUsize>);

impl Data {
    fn change(&self) -> String {
        (self.0.fetch_add(1, Ordering::SeqCst) + 1).to_string()
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// One of several processes that share a store. The faults of its connection affect no other
/// process.
struct Process {
    cache: Cache,
    site: Stack,
    faults: Faults,
}

impl Process {
    fn new(shared: &MemoryStore, data: &Data) -> Self {
        Self::with_policy(shared, data, Policy::app().default_ttl(3600 * S))
    }

    fn with_policy(shared: &MemoryStore, data: &Data, policy: PolicyBuilder) -> Self {
        Self::over(FaultyStore::new(shared.clone()), data, policy)
    }

    fn over(store: FaultyStore, data: &Data, policy: PolicyBuilder) -> Self {
        let faults = store.faults();
        let cache = Cache::new(store);
        Self { site: site(&cache, data, policy), cache, faults }
    }

    async fn read(&self, path: &str) -> String {
        send(&self.site, get(path)).await.text().to_owned()
    }

    /// Reads a page, and returns the time that this took. Unlike other helpers, it does not sleep
    /// before or after.
    async fn time_of(&self, path: &str) -> Duration {
        let begun = Instant::now();
        self.read(path).await;
        begun.elapsed()
    }

    /// Sends requests that fail, until the circuit opens.
    async fn open_circuit(&self, fault: Fault) {
        self.faults.set_all(fault);
        // Earlier successes keep the circuit closed until half of the last operations have failed.
        for number in 0..100 {
            if self.cache.circuit() == CircuitState::Closed {
                self.read(&format!("/opens/{number}")).await;
            }
        }
        assert_eq!(self.cache.circuit(), CircuitState::Open);
    }

    async fn wait_for(&self, circuit: CircuitState) {
        until(|| self.cache.circuit() == circuit).await;
    }

    /// Ends all faults, and waits until the store has confirmed every invalidation.
    async fn recover(&self) {
        self.faults.clear();
        until(|| self.cache.undelivered() == 0).await;
        assert_eq!(self.cache.circuit(), CircuitState::Closed);
    }

    /// Reads a page twice, and returns it if the second read was a hit.
    async fn hit(&self, path: &str) -> Option<String> {
        self.read(path).await;
        settle().await;
        let answer = send(&self.site, get(path)).await;
        answer.is_hit().then(|| answer.text().to_owned())
    }
}

/// Creates a site on which every page contains the current number of `data`. A page below `/slow`
/// takes a second.
fn site(cache: &Cache, data: &Data, policy: PolicyBuilder) -> Stack {
    let data = data.clone();
    let handler = service_fn(move |request: http::Request<Body>| {
        let number = data.get().to_string();
        async move {
            if request.uri().path().starts_with("/slow") {
                sleep(S).await;
            }
            Ok::<_, Infallible>(with_lines(&[], number))
        }
    });
    layered(cache, policy, handler.boxed_clone())
}

/// Waits until a condition holds, at most for a minute.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        sleep(MS).await;
    }
    panic!("the condition does not hold after a minute");
}

/// Returns two processes over one store, and their data. The store has the page `/`, made from the
/// first data, and both processes hit it.
async fn two_processes() -> (Process, Process, Data) {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let (one, other) = (Process::new(&shared, &data), Process::new(&shared, &data));
    for process in [&one, &other] {
        assert_eq!(process.hit("/").await.as_deref(), Some("1"));
    }
    (one, other, data)
}

#[tokio::test(start_paused = true)]
async fn hung_store_delays_at_most_five_requests() {
    let (process, _, _) = two_processes().await;
    process.faults.set_all(Fault::Hang);
    sleep(20 * S).await;
    let mut delayed = 0;
    for number in 0..50 {
        let took = process.time_of(&format!("/{number}")).await;
        assert!(took <= LOOKUP_LIMIT, "request {number} took {took:?}");
        delayed += usize::from(took > Duration::ZERO);
    }
    assert!(delayed <= 5, "{delayed} requests were delayed");
    assert_eq!(process.cache.circuit(), CircuitState::Open);
    assert_eq!(process.cache.store_errors(), 5);
}

#[tokio::test(start_paused = true)]
async fn hung_store_delays_only_probes_later() {
    let (process, _, _) = two_processes().await;
    process.open_circuit(Fault::Hang).await;
    let mut delayed = 0;
    for _ in 0..600 {
        sleep(100 * MS).await;
        let took = process.time_of("/").await;
        assert!(took <= LOOKUP_LIMIT, "{took:?}");
        delayed += usize::from(took > Duration::ZERO);
    }
    assert!((4..=16).contains(&delayed), "{delayed} probes in a minute");
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_of_a_hung_store_wait_together() {
    let (process, _, _) = two_processes().await;
    process.faults.set_all(Fault::Hang);
    let begun = Instant::now();
    let paths: Vec<_> = (0..100).map(|number| format!("/{number}")).collect();
    futures::future::join_all(paths.iter().map(|path| process.read(path))).await;
    assert!(begun.elapsed() <= LOOKUP_LIMIT, "{:?}", begun.elapsed());
    assert_eq!(process.time_of("/").await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn requests_use_the_store_again_after_it_recovers() {
    for fault in [Fault::Hang, Fault::Error] {
        let (process, _, _) = two_processes().await;
        process.open_circuit(fault).await;
        assert_eq!(send(&process.site, get("/")).await.detail(), Some("store-failed"));
        process.faults.clear();
        settle().await;
        assert_eq!(process.hit("/").await.as_deref(), Some("1"));
        assert_eq!(process.cache.circuit(), CircuitState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn store_without_answers_to_writes_delays_no_request() {
    let (process, _, _) = two_processes().await;
    process.faults.set(Operation::Write, Fault::Hang);
    for number in 0..20 {
        assert_eq!(process.time_of(&format!("/{number}")).await, Duration::ZERO);
    }
    settle().await;
    assert_eq!(process.cache.circuit(), CircuitState::Closed, "most operations succeed");
}

#[tokio::test(start_paused = true)]
async fn failing_generations_open_the_circuit() {
    for fault in [Fault::Hang, Fault::Error] {
        let (process, _, data) = two_processes().await;
        sleep(20 * S).await;
        process.faults.set(Operation::Generation, fault);
        let now = data.change();
        for _ in 0..10 {
            assert_eq!(process.read("/").await, now, "no entry can be checked");
        }
        assert_eq!(process.cache.circuit(), CircuitState::Open);
        process.faults.clear();
        settle().await;
        assert_eq!(process.hit("/").await.as_deref(), Some("1"), "nothing was invalidated");
    }
}

#[tokio::test(start_paused = true)]
async fn outdated_entry_that_a_store_returns_is_rejected() {
    let (one, other, data) = two_processes().await;
    let now = data.change();
    assert_eq!(one.cache.invalidate("/").await, Delivery::Delivered);
    assert_eq!(one.hit("/").await, Some(now.clone()));
    for process in [&one, &other] {
        process.faults.set(Operation::Lookup, Fault::Outdated);
        assert_eq!(process.read("/").await, now);
    }
}

#[tokio::test(start_paused = true)]
async fn lost_writes_are_misses() {
    let (process, _, data) = two_processes().await;
    process.faults.set(Operation::Write, Fault::Lost);
    let now = data.change();
    assert_eq!(process.cache.invalidate("/").await, Delivery::Delivered);
    assert_eq!(process.hit("/").await, None);
    assert_eq!(process.read("/").await, now);
}

#[tokio::test]
async fn faulty_store_without_a_fault_keeps_the_contract() {
    use tower_response_cache::clock::Clock;
    use tower_response_cache::store::contract::Contract;
    for has_generations in [true, false] {
        let (clock, hand) = Clock::manual();
        let memory = MemoryStore::builder().clock(clock).build().expect("valid");
        let store = FaultyStore::new(memory);
        let store = if has_generations { store } else { store.without_generations() };
        Contract::new(store).time(move |by| hand.advance(by)).verify().await;
    }
}
