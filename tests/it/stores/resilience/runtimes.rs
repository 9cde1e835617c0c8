//! Invalidations without a tokio runtime, and runtimes that end before the delivery.

use super::*;
use crate::support::stacks::begin;
use futures::FutureExt;
use futures::executor::block_on;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

fn process(shared: &MemoryStore, data: &Data) -> Process {
    let process = Process::new(shared, data);
    assert_eq!(runtime().block_on(process.hit("/")).as_deref(), Some("1"));
    process
}

#[test]
fn invalidation_without_a_runtime_waits_for_one() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let (one, other) = (process(&shared, &data), process(&shared, &data));
    one.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(block_on(one.cache.invalidate("/")), Delivery::Queued);
    one.faults.clear();
    assert_eq!(block_on(one.read("/")), now);
    assert_eq!(one.cache.undelivered(), 1, "without a runtime, no task delivers it");
    runtime().block_on(async {
        assert_eq!(one.read("/").await, now, "this request starts a delivery task");
        one.recover().await;
        assert_eq!(other.read("/").await, now);
    });
}

#[test]
fn another_runtime_delivers_after_the_first_one_ends() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let (one, other) = (process(&shared, &data), process(&shared, &data));
    one.faults.set(Operation::Invalidation, Fault::Hang);
    let now = data.change();
    let first = runtime();
    first.block_on(async {
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        let calls = one.faults.calls(Operation::Invalidation);
        until(|| one.faults.calls(Operation::Invalidation) > calls).await;
    });
    drop(first);
    assert_eq!(one.cache.undelivered(), 1);
    runtime().block_on(async {
        assert_eq!(one.read("/").await, now);
        one.recover().await;
        assert_eq!(other.read("/").await, now);
    });
}

#[test]
fn another_runtime_takes_over_from_an_idle_one() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let (one, other) = (process(&shared, &data), process(&shared, &data));
    one.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    let idle = runtime();
    assert_eq!(idle.block_on(one.cache.invalidate("/")), Delivery::Queued);
    one.faults.clear();
    runtime().block_on(async {
        for _ in 0..600 {
            sleep(100 * MS).await;
            assert_eq!(one.read("/").await, now);
        }
        assert_eq!(one.cache.undelivered(), 0);
        assert_eq!(other.read("/").await, now);
    });
    idle.block_on(async { sleep(60 * S).await });
    assert_eq!(idle.metrics().num_alive_tasks(), 0, "the first task ends");
}

#[test]
fn circuit_closes_although_no_task_can_deliver() {
    for has_runtimes in [false, true] {
        let (shared, data) = (memory_store(8 << 20), Data::default());
        data.change();
        let one = process(&shared, &data);
        // Each runtime ends before its delivery.
        let read = |path: &str| match has_runtimes {
            true => runtime().block_on(one.read(path)),
            false => block_on(one.read(path)),
        };
        one.faults.set_all(Fault::Error);
        let now = data.change();
        assert_eq!(block_on(one.cache.invalidate("/")), Delivery::Queued);
        (0..100).for_each(|number| drop(read(&format!("/opens/{number}"))));
        assert_eq!(one.cache.circuit(), CircuitState::Open);
        one.faults.clear();
        let begun = std::time::Instant::now();
        while one.cache.circuit() != CircuitState::Closed {
            assert!(begun.elapsed() <= MINUTE, "the circuit stays open");
            std::thread::sleep(10 * MS);
            assert_eq!(read("/"), now, "the queued invalidation counts");
        }
        assert!(one.cache.undelivered() > 0 && read("/") == now);
    }
}

#[test]
fn runtime_end_in_an_unsafe_request_queues_its_invalidation() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let (one, other) = (process(&shared, &data), process(&shared, &data));
    one.faults.set(Operation::Invalidation, Fault::Hang);
    let now = data.change();
    let first = runtime();
    first.block_on(async {
        drop(begin(&one.site, request("POST", "/", &[])));
        sleep(MS).await;
    });
    drop(first);
    runtime().block_on(async {
        assert_eq!(one.read("/").await, now);
        one.recover().await;
        assert_eq!(other.read("/").await, now);
    });
}

#[test]
fn dropped_unsafe_request_without_runtime_queues_invalidation() {
    let (shared, data) = (memory_store(8 << 20), Data::default());
    data.change();
    let one = process(&shared, &data);
    one.faults.set(Operation::Invalidation, Fault::Hang);
    let now = data.change();
    let mut post = Box::pin(send(&one.site, request("POST", "/", &[])));
    assert!(post.as_mut().now_or_never().is_none());
    drop(post);
    assert!(one.cache.undelivered() > 0);
    assert_eq!(block_on(one.read("/")), now);
}

#[test]
fn local_store_needs_a_runtime_only_to_retry() {
    let (memory, data) = (memory_store(1 << 20), Data::default());
    data.change();
    let store = FaultyStore::new(memory).local();
    let process = Process::over(store, &data, Policy::app().default_ttl(3600 * S));
    assert_eq!(block_on(process.read("/")), "1");
    process.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(block_on(process.cache.invalidate("/")), Delivery::Queued);
    process.faults.clear();
    assert_eq!(block_on(process.read("/")), now);
    runtime().block_on(async {
        assert_eq!(process.read("/").await, now);
        process.recover().await;
    });
    assert_eq!((block_on(process.read("/")), block_on(process.read("/"))), (now.clone(), now));
}
