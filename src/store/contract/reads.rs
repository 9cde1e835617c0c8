//! The rules for look-ups that read entries and the generation together.

use super::generations::ProcessView;
use super::rule::{self, ShownEntry};
use super::{Contract, value};
use crate::store::{Generation, KeyRef, Scope, Store, Strength, Validity};

const NAMESPACE: &str = "contract/read";

impl<S: Store> Contract<S> {
    pub(super) async fn verify_reads(&self) {
        self.entries_are_found_with_the_generation().await;
        self.entry_is_checked_against_the_generation_read_with_it().await;
        self.clear_is_seen_by_the_generation_read_after_it().await;
    }

    async fn entries_are_found_with_the_generation(&self) {
        let keys = [&b"contract/read/a"[..], b"contract/read/b"].map(KeyRef::new);
        self.put(keys[0], value("a"), None).await;
        let (found, _) = rule::GET_AT.ok("get_at", self.store.get_at(NAMESPACE, keys[0]).await);
        let expected = ShownEntry(Some(value("a")));
        self.expect_result(rule::GET_AT, "get_at of a stored entry", ShownEntry(found), expected);
        let (found, _) = rule::GET_AT.ok("get_at", self.store.get_at(NAMESPACE, keys[1]).await);
        rule::GET_AT.returned("get_at of an absent entry", ShownEntry(found), ShownEntry(None));
        let (found, _) = rule::GET_MANY_AT.ok("get_many_at", self.store.get_many_at(NAMESPACE, &keys).await);
        let found: Vec<_> = found.into_iter().map(ShownEntry).collect();
        let expected = vec![ShownEntry(Some(value("a"))), ShownEntry(None)];
        self.expect_result(rule::GET_MANY_AT, "get_many_at of a stored and an absent entry", found, expected);
    }

    async fn entry_is_checked_against_the_generation_read_with_it(&self) {
        let (generations, scopes) = (self.generations(NAMESPACE), [Scope::tag("t")]);
        let before = generations.current().await;
        for read in self.read().await {
            let state =
                rule::CHECK_AT.ok("check_at", generations.0.check_at(read, before, &scopes, &[]).await);
            rule::CHECK_AT.returned("check_at before an invalidation", state, Validity::Valid);
        }
        for strength in [Strength::Soft, Strength::Hard] {
            generations.advance(&scopes, strength).await;
            let expected = rule::VALID.ok("check", generations.0.check(before, &scopes, &[]).await);
            for read in self.read().await {
                let check = generations.0.check_at(read, before, &scopes, &[]);
                let call = format!("check_at, of an older entry, after a {strength:?} invalidation,");
                rule::CHECK_AT.returned(call, rule::CHECK_AT.ok("check_at", check.await), expected);
            }
        }
        let now = generations.current().await;
        if let Some(read) = self.read().await.into_iter().find(|read| *read != now) {
            rule::READ.broken(&format!("get_at returned {read:?}, though {now:?} was current"));
        }
    }

    async fn clear_is_seen_by_the_generation_read_after_it(&self) {
        let (generations, other) = (self.generations(NAMESPACE), self.generations(NAMESPACE));
        let mut all = vec![generations.cleared().await];
        for scope in [Scope::VALUES, Scope::EVERYTHING, Scope::VALUES] {
            other.advance(&[scope], Strength::Hard).await;
            let read = self.read().await;
            let now = other.cleared().await;
            for read in read {
                let cleared = rule::CLEARED_AT.ok("cleared_at", generations.0.cleared_at(read).await);
                rule::CLEARED_AT.returned("cleared_at, of a generation after a clear,", cleared, now);
            }
            all.push(now);
            expect_known(&generations, &all);
        }
    }

    /// Returns the generations that `get_at` and `get_many_at` return.
    async fn read(&self) -> Vec<Generation> {
        let key = KeyRef::new(b"contract/read/a");
        let (_, one) = rule::GET_AT.ok("get_at", self.store.get_at(NAMESPACE, key).await);
        let many = self.store.get_many_at(NAMESPACE, &[key, key]).await;
        let (_, many) = rule::GET_MANY_AT.ok("get_many_at", many);
        one.into_iter().chain(many).collect()
    }
}

/// Verifies that `known_cleared` returns `None`, or a generation that `cleared` has returned.
fn expect_known(generations: &ProcessView, all: &[Generation]) {
    if let Some(known) = generations.0.known_cleared().filter(|known| !all.contains(known)) {
        rule::KNOWN_CLEARED.broken(&format!("known_cleared returned {known:?}, cleared returned {all:?}"));
    }
}
