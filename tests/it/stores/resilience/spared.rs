//! Values that are set while an earlier removal of them is queued.

use super::values::{Change, Reader, readers};
use super::*;
use tower_response_cache::error::StoreErrorKind;

const SETS: [Change; 3] = [Change::Set, Change::SetMany, Change::SetCounter];

/// Two processes that have read the value 1. The first one has failed to delete it.
async fn with_queued_removal() -> [Reader; 2] {
    let [one, other] = readers(false).await;
    one.faults.set(Operation::Write, Fault::Error);
    assert!(one.cache.delete("k").await.is_err());
    one.faults.clear();
    assert!(one.cache.undelivered() > 0);
    [one, other]
}

#[tokio::test(start_paused = true)]
async fn value_set_after_a_queued_removal_survives_the_delivery() {
    for change in SETS {
        let [one, other] = with_queued_removal().await;
        assert!(change.run(&one.cache).await, "{change:?}");
        assert!(one.cache.undelivered() > 0, "not delivered yet");
        assert_eq!(one.value().await, Some(2), "{change:?}");
        let many = one.cache.get_many::<i64, _>(["k"]).await.expect("no fault");
        assert_eq!(many.get("k"), Some(&2), "{change:?}");
        assert!(!one.cache.add("k", &3, MINUTE).await.expect("no fault"), "there is a value");
        one.recover().await;
        for reader in [&one, &other] {
            assert_eq!(reader.value().await, Some(2), "{change:?}");
            assert_eq!(reader.page().await, "Some(2)", "{change:?}");
        }
    }
}

/// The write begins before, during or after the delivery of the removal.
#[tokio::test(start_paused = true)]
async fn value_set_during_the_delivery_of_a_removal_survives() {
    for (before, after) in [(0, 20), (20, 0), (7, 13)] {
        for start in 0..100 {
            let [one, other] = with_queued_removal().await;
            let fault = Fault::Delay { before: before * MS, after: after * MS };
            one.faults.set(Operation::Lookup, fault);
            one.faults.set(Operation::Write, fault);
            sleep(start * 3 * MS).await;
            assert!(one.cache.set("k", &2, MINUTE).await.expect("no fault"));
            let case = format!("{before}, {after}, {start}");
            assert_eq!(one.value().await, Some(2), "{case}");
            one.recover().await;
            assert_eq!((one.value().await, other.value().await), (Some(2), Some(2)), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn write_from_before_a_queued_removal_is_removed() {
    let [one, other] = readers(false).await;
    one.faults.set(Operation::Generation, Fault::Delay { before: 20 * MS, after: Duration::ZERO });
    let cache = one.cache.clone();
    let set = tokio::spawn(async move { cache.set("k", &2, MINUTE).await });
    sleep(MS).await;
    one.faults.clear();
    one.faults.set(Operation::Write, Fault::Error);
    assert!(one.cache.delete("k").await.is_err());
    one.faults.clear();
    assert!(set.await.expect("no panic").expect("no fault"), "the store gets the write after the removal");
    assert_eq!(one.value().await, None);
    one.recover().await;
    assert_eq!((one.value().await, other.value().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn queued_removal_removes_a_value_of_another_process() {
    let [one, other] = with_queued_removal().await;
    assert!(one.cache.set("k", &2, MINUTE).await.expect("no fault"));
    // The process `one` did not write this value. To `one`, it may be the late effect of a write
    // from before the removal.
    assert!(other.cache.set("k", &3, MINUTE).await.expect("no fault"));
    assert_eq!(one.value().await, None);
    one.recover().await;
    assert_eq!((one.value().await, other.value().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn failed_write_after_a_surviving_one_is_removed() {
    for fault in [Fault::Error, Fault::ErrorAfter, Fault::Hang, Fault::HangAfter] {
        let [one, other] = with_queued_removal().await;
        assert!(one.cache.set("k", &2, MINUTE).await.expect("no fault"));
        one.faults.set(Operation::Write, fault);
        assert!(one.cache.set("k", &3, MINUTE).await.is_err());
        assert_eq!(one.value().await, None, "{fault:?}");
        one.recover().await;
        assert_eq!((one.value().await, other.value().await), (None, None), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn increment_fails_while_a_removal_of_the_counter_is_queued() {
    let [one, other] = with_queued_removal().await;
    assert!(one.cache.set_counter("k", 5, MINUTE).await.expect("no fault"));
    let changed = one.cache.incr("k", 1).await;
    assert_eq!(changed.expect_err("not delivered").kind(), StoreErrorKind::CircuitOpen);
    one.recover().await;
    assert_eq!(one.cache.incr("k", 1).await.expect("no fault"), 6);
    assert_eq!(other.value().await, Some(6));
}

#[tokio::test(start_paused = true)]
async fn touched_value_survives_a_queued_removal() {
    let [one, other] = with_queued_removal().await;
    assert!(one.cache.set("k", &2, MINUTE).await.expect("no fault"));
    assert!(one.cache.touch("k", 2 * MINUTE).await.expect("no fault"));
    one.recover().await;
    assert_eq!((one.value().await, other.value().await), (Some(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn failed_move_leaves_no_old_value_of_the_next_version() {
    for fault in [Fault::Error, Fault::Hang] {
        let [one, other] = readers(false).await;
        let next = |reader: &Reader| reader.cache.with_version(2);
        assert!(next(&one).set("k", &0, MINUTE).await.expect("no fault"));
        one.faults.set(Operation::Write, fault);
        assert!(one.cache.incr_version("k").await.is_err());
        one.faults.clear();
        assert_eq!(next(&one).get::<i64>("k").await.expect("no fault"), None, "{fault:?}");
        one.recover().await;
        assert_eq!(next(&other).get::<i64>("k").await.expect("no fault"), None, "{fault:?}");
        assert_eq!(one.value().await, Some(1), "not moved");
    }
}
