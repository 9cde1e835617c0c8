//! The rules for operations on several entries.

use super::rule::{self, ShownEntry};
use super::{Contract, SECOND, value};
use crate::store::{Entry, KeyRef, Store};

impl<S: Store> Contract<S> {
    pub(super) async fn verify_batches(&self) {
        let keys = [&b"contract/many/a"[..], b"contract/many/b", b"contract/many/c"].map(KeyRef::new);
        let puts = [(keys[0], value("a"), None), (keys[2], value("c"), Some(60 * SECOND))];
        let put = rule::PUT_MANY.ok("put_many", self.store.put_many(&puts).await);
        rule::PUT_MANY.returned("put_many of two entries", put, vec![true; 2]);
        self.expect(rule::PUT_MANY, "put_many", keys[0], Some(value("a"))).await;
        self.expect(rule::PUT_MANY, "put_many", keys[2], Some(value("c"))).await;
        let found = self.found(&keys).await;
        let expected = [Some(value("a")), None, Some(value("c"))].map(ShownEntry);
        self.expect_result(
            rule::GET_MANY,
            "get_many of a stored, an absent and a stored entry",
            found,
            expected.into(),
        );
        let removed = rule::REMOVE_MANY.ok("remove_many", self.store.remove_many(&keys).await);
        let call = "remove_many of a stored, an absent and a stored entry";
        self.expect_result(rule::REMOVE_MANY, call, removed, vec![true, false, true]);
        for key in keys {
            self.expect(rule::REMOVE_MANY, "remove_many", key, None).await;
        }
        rule::GET_MANY.returned("get_many of no keys", self.found(&[]).await, vec![]);
    }

    async fn found(&self, keys: &[KeyRef<'_>]) -> Vec<ShownEntry> {
        let found: Vec<Option<Entry>> = rule::GET_MANY.ok("get_many", self.store.get_many(keys).await);
        found.into_iter().map(ShownEntry).collect()
    }
}
