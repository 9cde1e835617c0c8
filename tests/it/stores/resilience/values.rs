//! Failed writes and failed removals of values.

use super::*;
use futures::FutureExt;
use tower_response_cache::error::StoreErrorKind;

const FAULTS: [Fault; 4] = [Fault::Error, Fault::ErrorAfter, Fault::Hang, Fault::HangAfter];

/// A change of the value `k`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Set,
    SetMany,
    SetCounter,
    Delete,
    DeleteMany,
}

const CHANGES: [Change; 5] =
    [Change::Set, Change::SetMany, Change::SetCounter, Change::Delete, Change::DeleteMany];

impl Change {
    /// Returns `true` if the change succeeds.
    pub(super) async fn run(self, cache: &Cache) -> bool {
        match self {
            Self::Set => cache.set("k", &2, MINUTE).await.is_ok(),
            Self::SetMany => cache.set_many([("k", 2), ("other", 3)], MINUTE).await.is_ok(),
            Self::SetCounter => cache.set_counter("k", 2, MINUTE).await.is_ok(),
            Self::Delete => cache.delete("k").await.is_ok(),
            Self::DeleteMany => cache.delete_many(["k", "other"]).await.is_ok(),
        }
    }

    fn stores(self) -> bool {
        matches!(self, Self::Set | Self::SetMany | Self::SetCounter)
    }
}

/// One of several processes, with a page that is made from the value `k`.
pub(super) struct Reader {
    pub(super) cache: Cache,
    pub(super) faults: Faults,
    page: Stack,
}

impl Reader {
    fn new(shared: &MemoryStore) -> Self {
        let store = FaultyStore::new(shared.clone());
        let faults = store.faults();
        let cache = Cache::new(store);
        let (page, _) =
            page(&cache, |cache| async move { format!("{:?}", cache.get::<i64>("k").await.ok().flatten()) });
        Self { cache, faults, page }
    }

    pub(super) async fn value(&self) -> Option<i64> {
        self.cache.get("k").await.ok().flatten()
    }

    pub(super) async fn page(&self) -> String {
        send(&self.page, get("/")).await.text().to_owned()
    }

    pub(super) async fn recover(&self) {
        self.faults.clear();
        until(|| self.cache.undelivered() == 0).await;
    }
}

/// Returns two processes that have read the value 1 and have stored a page made from it. If
/// `is_counter`, the value is a counter.
pub(super) async fn readers(is_counter: bool) -> [Reader; 2] {
    let shared = memory_store(8 << 20);
    let readers = [(); 2].map(|()| Reader::new(&shared));
    let stored = match is_counter {
        true => readers[0].cache.set_counter("k", 1, MINUTE).await.expect("no fault"),
        false => readers[0].cache.set("k", &1, MINUTE).await.expect("no fault"),
    };
    assert!(stored);
    for reader in &readers {
        assert_eq!(reader.value().await, Some(1));
        assert_eq!(reader.page().await, "Some(1)");
        settle().await;
    }
    readers
}

/// Makes a change of a value fail in one of two processes. Asserts that this process never reads
/// the old value afterwards.
///
/// Asserts that once the change is delivered, both processes read the new value or none, and serve
/// no page made from the old value.
async fn check(change: Change, operation: Operation, fault: Fault) {
    let [one, other] = readers(false).await;
    let case = format!("{change:?} with {operation:?} {fault:?}");
    one.faults.set(operation, fault);
    assert!(!change.run(&one.cache).await, "{case}");
    let is_new = |value: Option<i64>| value.is_none() || (change.stores() && value == Some(2));
    let is_new_page = |page: &str| page == "None" || (change.stores() && page == "Some(2)");
    for _ in 0..3 {
        assert!(is_new(one.value().await), "{case}");
        assert!(is_new_page(&one.page().await), "{case}");
        let many = one.cache.get_many::<i64, _>(["k"]).await;
        assert!(is_new(many.ok().and_then(|found| found.get("k").copied())), "{case}");
        sleep(30 * MS).await;
    }
    one.recover().await;
    for reader in [&one, &other] {
        assert!(is_new(reader.value().await), "{case}");
        assert!(is_new_page(&reader.page().await), "{case}");
    }
    one.cache.set("k", &7, MINUTE).await.expect("no fault");
    assert_eq!((one.value().await, other.value().await), (Some(7), Some(7)), "{case}");
    assert_eq!((one.page().await, other.page().await), (String::from("Some(7)"), String::from("Some(7)")));
}

#[tokio::test(start_paused = true)]
async fn failed_change_leaves_no_old_value() {
    for change in CHANGES {
        for fault in FAULTS {
            check(change, Operation::Write, fault).await;
            check(change, Operation::Invalidation, fault).await;
        }
        for fault in [Fault::Error, Fault::Hang] {
            check(change, Operation::Generation, fault).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_delete_leaves_no_counter() {
    for fault in [Fault::Error, Fault::Hang] {
        let [one, other] = readers(true).await;
        one.faults.set(Operation::Write, fault);
        assert!(one.cache.delete("k").await.is_err());
        one.faults.clear();
        assert_eq!(one.value().await, None);
        assert!(!one.cache.contains("k").await.expect("no fault"));
        for changed in [one.cache.incr("k", 1).await, one.cache.incr_or("k", 1, 0, MINUTE).await] {
            assert_eq!(changed.expect_err("not delivered").kind(), StoreErrorKind::CircuitOpen);
        }
        assert!(one.cache.add("k", &5, MINUTE).await.is_err());
        one.recover().await;
        assert_eq!(other.value().await, None);
        assert_eq!(one.cache.incr_or("k", 1, 0, MINUTE).await.expect("no fault"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn queued_clear_of_values_hides_counters() {
    let [one, other] = readers(true).await;
    one.faults.set(Operation::Invalidation, Fault::Error);
    assert_eq!(one.cache.clear_values().await, Delivery::Queued);
    assert_eq!(one.value().await, None);
    assert_eq!(one.cache.get_many::<i64, _>(["k"]).await.expect("no fault").len(), 0);
    assert!(one.cache.incr("k", 1).await.is_err());
    assert_eq!(other.value().await, Some(1));
    one.recover().await;
    assert_eq!((one.value().await, other.value().await), (None, None));
}

/// In some rounds, the removal is delivered after the store has read the counter, and before the
/// look-up returns.
#[tokio::test(start_paused = true)]
async fn delivery_during_a_read_does_not_return_the_old_counter() {
    for after in 0..50 {
        let [one, _] = readers(true).await;
        one.faults.set(Operation::Write, Fault::Error);
        assert!(one.cache.delete("k").await.is_err());
        one.faults.clear();
        one.faults.set(Operation::Lookup, Fault::Delay { before: Duration::ZERO, after: 40 * MS });
        sleep(after * 5 * MS).await;
        assert_eq!(one.value().await, None, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn write_dropped_without_an_answer_invalidates_dependents() {
    let [one, other] = readers(false).await;
    one.faults.set(Operation::Write, Fault::HangAfter);
    one.faults.set(Operation::Invalidation, Fault::Hang);
    assert!(tokio::time::timeout(MS, one.cache.set("k", &2, MINUTE)).await.is_err());
    sleep(S).await;
    assert!(one.cache.undelivered() > 0);
    assert_eq!(one.page().await, "None");
    one.recover().await;
    assert_ne!(other.page().await, "Some(1)");
}

#[tokio::test(start_paused = true)]
async fn computation_is_not_stored_while_its_removal_is_queued() {
    let [one, other] = readers(false).await;
    one.faults.set(Operation::Write, Fault::Error);
    assert!(one.cache.delete("k").await.is_err());
    one.faults.clear();
    let computed = |number: i64| one.cache.get_or_set("k", MINUTE, move || async move { number });
    assert_eq!((computed(2).await.expect("computed"), computed(3).await.expect("computed")), (2, 3));
    one.recover().await;
    assert_eq!(other.value().await, None);
    assert_eq!((computed(4).await.expect("computed"), computed(5).await.expect("computed")), (4, 4));
}

/// Another process reads the old value until the removal takes effect, and makes pages from it.
#[tokio::test(start_paused = true)]
async fn page_made_during_the_delivery_of_a_removal_is_not_served_after_it() {
    for is_slow in [Operation::Lookup, Operation::Write, Operation::Invalidation] {
        for has_generations in [false, true] {
            let shared = memory_store(8 << 20);
            let [store, other] = [(); 2].map(|()| FaultyStore::new(shared.clone()));
            let (store, other) = match has_generations {
                true => (store, other),
                false => (store.without_generations(), other.without_generations()),
            };
            let faults = other.faults();
            let (one, other) = (Cache::new(store), Cache::new(other));
            let read =
                |cache: Cache| async move { format!("{:?}", cache.get::<i64>("k").await.expect("no fault")) };
            let (pages, _) = page(&one, read);
            one.set("k", &1, MINUTE).await.expect("no fault");
            faults.set(Operation::Write, Fault::Error);
            other.set("k", &2, MINUTE).await.expect_err("a fault");
            faults.clear();
            faults.set(is_slow, Fault::Delay { before: 20 * MS, after: 20 * MS });
            let mut paths = Vec::new();
            while other.undelivered() > 0 {
                paths.push(format!("/{}", paths.len()));
                send(&pages, get(paths.last().expect("a path"))).await;
                sleep(MS).await;
                let _ = other.get::<i64>("another").now_or_never();
                assert!(paths.len() < 5000, "it is never delivered");
            }
            for path in paths {
                let answer = send(&pages, get(&path)).await;
                assert_eq!(answer.text(), "None", "{path}, {is_slow:?}, {has_generations}");
            }
        }
    }
}
