//! The rules for a rollback: the counter goes back, because a snapshot is restored or a replica
//! that lags behind takes over.
//!
//! A rollback is overtaken if the counter is advanced again before any process notices the
//! rollback. The counter then has its earlier number again, so the number does not show the
//! rollback.

use super::rule;
use super::{Contract, Restore};
use crate::store::{
    CacheKey, Dependency, Entry, Generation, RecordGenerations, Scope, Store, Strength, Validity,
};
use std::sync::Arc;

/// Saved invalidations, which a rollback restores.
enum Saved {
    /// The invalidations of all namespaces.
    All(Restore),
    /// The record of one namespace, by its key. The entry is `None` if there was no record.
    Record(CacheKey, Option<Entry>),
}

impl<S: Store> Contract<S> {
    /// Returns `true` if the kit can restore earlier invalidations: if
    /// [`snapshot`](Self::snapshot()) was called, or if the invalidations are an entry of the
    /// store.
    pub(super) fn can_restore(&self) -> bool {
        self.snapshot.is_some() || self.store.generations("contract/back").is_none()
    }

    pub(super) async fn verify_rollback(&self) {
        self.rollback_is_noticed_by_the_process_that_advanced().await;
        self.rollback_is_noticed_through_a_later_entry().await;
        for overtaking in [1, 3] {
            self.overtaken_rollback_is_noticed_by_the_process_that_advanced(overtaking).await;
        }
        self.overtaken_rollback_is_noticed_through_a_later_entry().await;
        self.overtaken_rollback_is_noticed_through_a_dependency().await;
    }

    /// Saves the invalidations of a namespace, for [`restore`](Self::restore).
    async fn save(&self, namespace: &str) -> Saved {
        if let Some(save) = &self.snapshot {
            return Saved::All(save());
        }
        let record = RecordGenerations::new(Arc::clone(&self.store) as _, namespace);
        let key = record.key().to_key();
        let entry = rule::GET.ok("get of the record of invalidations", self.store.get(record.key()).await);
        Saved::Record(key, entry)
    }

    async fn restore(&self, saved: Saved) {
        match saved {
            Saved::All(restore) => restore(),
            Saved::Record(key, Some(record)) => self.put(key.as_ref(), record, None).await,
            Saved::Record(key, None) => drop(self.remove(key.as_ref()).await),
        }
    }

    async fn rollback_is_noticed_by_the_process_that_advanced(&self) {
        let generations = self.generations("contract/back");
        let scopes = [Scope::path("/")];
        let before = generations.current().await;
        let saved = self.save("contract/back").await;
        generations.advance(&scopes, Strength::Hard).await;
        self.restore(saved).await;
        let after = "a path was invalidated, and the counter went back";
        let entry = ("an older entry of the path", before, &scopes[..]);
        generations.expect(rule::WENT_BACK, after, entry, Validity::Invalid).await;
        let now = generations.current().await;
        if now.incarnation() <= before.incarnation() {
            rule::WENT_BACK.broken(&not_later_message(after, before, now));
        }
        let entry = ("an entry of the current generation", now, &scopes[..]);
        generations.expect(rule::VALID, after, entry, Validity::Valid).await;
    }

    async fn rollback_is_noticed_through_a_later_entry(&self) {
        let generations = self.generations("contract/later");
        let scopes = [Scope::path("/")];
        let before = generations.current().await;
        let saved = self.save("contract/later").await;
        generations.advance(&scopes, Strength::Hard).await;
        let later = generations.current().await;
        self.restore(saved).await;
        // A new handle stands for another process, which has seen neither the invalidation nor the
        // rollback.
        let generations = self.generations("contract/later");
        let after = "a path was invalidated, and the counter went back, in a process that has not seen this";
        let entry = ("an entry made after the invalidation", later, &[][..]);
        generations.expect(rule::AHEAD, after, entry, Validity::Invalid).await;
        let entry = ("an older entry, after the later one was checked", before, &scopes[..]);
        generations.expect(rule::WENT_BACK, after, entry, Validity::Invalid).await;
    }

    async fn overtaken_rollback_is_noticed_by_the_process_that_advanced(&self, overtaking: usize) {
        let namespace = format!("contract/overtaken/{overtaking}");
        let (generations, scopes) = (self.generations(&namespace), [Scope::path("/")]);
        let before = generations.current().await;
        let saved = self.save(&namespace).await;
        generations.advance(&scopes, Strength::Hard).await;
        self.restore(saved).await;
        // A new handle stands for another process, which has seen neither the invalidation nor the
        // rollback.
        let other = self.generations(&namespace);
        for number in 0..overtaking {
            other.advance(&[Scope::tag(&number.to_string())], Strength::Hard).await;
        }
        let after =
            format!("a path was invalidated, the counter went back and was advanced {overtaking} times");
        let entry = ("an older entry of the path", before, &scopes[..]);
        generations.expect(rule::OVERTAKEN, &after, entry, Validity::Invalid).await;
        let now = generations.current().await;
        if now.incarnation() <= before.incarnation() {
            rule::OVERTAKEN.broken(&not_later_message(&after, before, now));
        }
        // The check has begun a new incarnation. At its first read of that incarnation, the other
        // process may invalidate everything, so `current` may be later than `now`.
        let current = other.current().await;
        rule::SHARED.returned("current, after another process's,", generations.current().await, current);
        let entry = ("an entry of the current generation", current, &scopes[..]);
        other.expect(rule::VALID, &after, entry, Validity::Valid).await;
    }

    async fn overtaken_rollback_is_noticed_through_a_later_entry(&self) {
        let generations = self.generations("contract/overtaken");
        let (first, later) = ([Scope::path("/")], [Scope::path("/later")]);
        let before = generations.current().await;
        let saved = self.save("contract/overtaken").await;
        generations.advance(&first, Strength::Hard).await;
        let since = generations.current().await;
        self.restore(saved).await;
        // A new handle stands for another process, which has seen neither the invalidation nor the
        // rollback.
        let other = self.generations("contract/overtaken");
        other.advance(&later, Strength::Hard).await;
        let after = "a path was invalidated, the counter went back, and another path was invalidated";
        let entry = ("an entry of the other path, made between the two", since, &later[..]);
        other.expect(rule::OVERTAKEN, after, entry, Validity::Invalid).await;
        let entry = ("an older entry of the first path", before, &first[..]);
        other.expect(rule::WENT_BACK, after, entry, Validity::Invalid).await;
    }

    async fn overtaken_rollback_is_noticed_through_a_dependency(&self) {
        let (generations, value) = (self.generations("contract/dependency"), Scope::value(b"v"));
        let saved = self.save("contract/dependency").await;
        let made = Dependency::new(value, generations.depend(value).await);
        self.restore(saved).await;
        let other = self.generations("contract/dependency");
        let now = other.current().await;
        other.written(value, now).await;
        let after = "a dependency was recorded, the counter went back, and the value was written";
        other.expect_dependent(rule::OVERTAKEN, after, made, Validity::Invalid).await;
    }
}

fn not_later_message(after: &str, before: Generation, now: Generation) -> String {
    format!("{after}: current returned {now:?}, whose incarnation is not later than the one of {before:?}")
}
