//! The rules for counters.

use super::rule;
use super::{Contract, all, value};
use crate::store::{Entry, InitialCounter, KeyRef, Store, StoreError, StoreErrorKind};

impl<S: Store> Contract<S> {
    pub(super) async fn verify_counters(&self) {
        self.increment_starts_at_the_initial_value().await;
        self.increment_rejects_other_entries_and_overflow().await;
        self.concurrent_increments_are_all_counted().await;
    }

    async fn increment_starts_at_the_initial_value(&self) {
        let key = KeyRef::new(b"contract/counter");
        let missing = kind(self.store.increment(key, 1, None).await);
        let what = "the error of increment of an absent counter without an initial value";
        rule::INCREMENT_MISSING.is(what, missing, Some(StoreErrorKind::Missing));
        let initial = Some(InitialCounter::new(5, None));
        let sum = rule::INCREMENT.ok("increment", self.store.increment(key, 2, initial).await);
        rule::INCREMENT.returned("increment by 2 of an absent counter, with the initial value 5,", sum, 7);
        if self.stores_entries {
            let sum = rule::INCREMENT.ok("increment", self.store.increment(key, -3, initial).await);
            rule::INCREMENT.returned("increment by -3 of the counter 7, with the initial value 5,", sum, 4);
            self.expect(rule::INCREMENT, "increments to 4", key, Some(Entry::counter(4))).await;
        }
    }

    async fn increment_rejects_other_entries_and_overflow(&self) {
        if !self.stores_entries {
            return;
        }
        let key = KeyRef::new(b"contract/not-a-counter");
        self.put(key, Entry::counter(4), None).await;
        let overflow = kind(self.store.increment(key, i64::MAX, None).await);
        let what = "the error of increment of the counter 4 by i64::MAX";
        rule::INCREMENT_OVERFLOW.is(what, overflow, Some(StoreErrorKind::Overflow));
        self.expect(rule::INCREMENT_OVERFLOW, "an overflow", key, Some(Entry::counter(4))).await;
        self.put(key, value("4"), None).await;
        let initial = Some(InitialCounter::new(5, None));
        let not_a_number = kind(self.store.increment(key, 1, initial).await);
        let what = "the error of increment of a value";
        rule::INCREMENT_NOT_A_NUMBER.is(what, not_a_number, Some(StoreErrorKind::NotANumber));
    }

    async fn concurrent_increments_are_all_counted(&self) {
        let key = KeyRef::new(b"contract/concurrent");
        let initial = Some(InitialCounter::new(0, None));
        let increments = (0..64).map(|_| self.store.increment(key, 1, initial));
        let all = all(increments.collect()).await.into_iter();
        let mut sums: Vec<_> = all.map(|sum| rule::INCREMENT.ok("increment", sum)).collect();
        sums.sort_unstable();
        if self.stores_entries {
            let twice = sums.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
            let calls = "64 concurrent increments by 1 of an absent counter";
            rule::INCREMENT.is(format_args!("the sum that two of {calls} returned"), twice, None);
            let last = sums.last().copied();
            rule::INCREMENT.is(format_args!("the highest sum that {calls} returned"), last, Some(64));
        }
    }
}

/// Returns the kind of an error, or `None` if the call succeeded.
fn kind(result: Result<i64, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}
