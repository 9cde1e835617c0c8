//! The rules for expiry, and for the effects of `touch` and `increment` on the time to live.

use super::rule::{self, ShownEntry};
use super::{AdvanceTime, Contract, SECOND, value};
use crate::store::{Entry, InitialCounter, KeyRef, PutMode, Store, StoreErrorKind};
use std::time::Duration;

impl<S: Store> Contract<S> {
    pub(super) async fn verify_expiry(&self, time: &AdvanceTime) {
        self.entries_expire(time).await;
        self.increment_keeps_the_ttl(time).await;
        self.touch_sets_the_ttl_of_a_present_entry(time).await;
    }

    async fn entries_expire(&self, time: &AdvanceTime) {
        let key = KeyRef::new(b"contract/expiry");
        self.put(key, value("x"), Some(10 * SECOND)).await;
        time(9 * SECOND);
        self.expect(rule::PUT_EXPIRES, "9 of 10 seconds", key, Some(value("x"))).await;
        time(SECOND);
        self.expect(rule::PUT_EXPIRES, "10 of 10 seconds", key, None).await;
        rule::REMOVE.returned("remove of an expired entry", self.remove(key).await, false);
        self.put(key, value("x"), Some(SECOND)).await;
        time(SECOND);
        let peeked = ShownEntry(rule::PEEK.ok("peek", self.store.peek(key).await));
        rule::PUT_EXPIRES.returned("peek of an expired entry", peeked, ShownEntry(None));
        self.expect_put(rule::PUT_EXPIRES, key, value("y"), None, PutMode::IfAbsent, true).await;
        self.put(key, value("x"), Some(SECOND)).await;
        time(SECOND);
        let put = self.store.compare_and_set(key, Some(&value("x")), value("y"), None).await;
        let put = rule::COMPARE.ok("compare_and_set", put);
        rule::COMPARE.returned(
            "compare_and_set of an expired entry with an equal expected entry",
            put,
            false,
        );
    }

    async fn increment_keeps_the_ttl(&self, time: &AdvanceTime) {
        let key = KeyRef::new(b"contract/counter-ttl");
        let initial = Some(InitialCounter::new(0, Some(10 * SECOND)));
        for _ in 0..2 {
            rule::INCREMENT.ok("increment", self.store.increment(key, 1, initial).await);
            time(6 * SECOND);
        }
        let after = "10 seconds, with an increment after 6 of them";
        self.expect(rule::INCREMENT_TTL, after, key, None).await;
        rule::INCREMENT.ok("increment", self.store.increment(key, 1, initial).await);
        time(3 * SECOND);
        rule::INCREMENT.ok("increment", self.store.increment(key, 1, initial).await);
        time(6 * SECOND);
        let after = "9 of 10 seconds, with an increment after 3 of them";
        self.expect(rule::INCREMENT_TTL, after, key, Some(Entry::counter(2))).await;
    }

    async fn touch_sets_the_ttl_of_a_present_entry(&self, time: &AdvanceTime) {
        let key = KeyRef::new(b"contract/touch");
        let touch = async |ttl| match self.store.touch(key, ttl).await {
            Err(error) if error.kind() == StoreErrorKind::Unsupported => None,
            touched => Some(rule::TOUCH.ok("touch", touched)),
        };
        self.put(key, value("x"), Some(10 * SECOND)).await;
        let Some(touched) = touch(Some(20 * SECOND)).await else { return };
        self.expect_result(rule::TOUCH, "touch of a stored entry", touched, true);
        time(15 * SECOND);
        let after = "15 seconds, with a put for 10 and a touch for 20 before";
        self.expect(rule::TOUCH, after, key, Some(value("x"))).await;
        time(5 * SECOND);
        self.expect(rule::TOUCH, "20 seconds since a touch for 20", key, None).await;
        rule::TOUCH.returned("touch of an expired entry", touch(None).await, Some(false));
        self.expect(rule::TOUCH, "a touch of an expired entry", key, None).await;
        self.put(key, value("x"), None).await;
        let touched = touch(Some(Duration::ZERO)).await;
        self.expect_result(rule::TOUCH_ZERO, "touch with a zero ttl", touched, Some(true));
        self.expect(rule::TOUCH_ZERO, "a touch with a zero ttl", key, None).await;
    }
}
