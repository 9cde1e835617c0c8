//! The rules for invalidations.

use super::rule::{self, Rule};
use super::{Contract, all};
use crate::store::{
    Dependency, Entry, Generation, Generations, KeyRef, PutMode, RecordGenerations, Scope, Store, Strength,
    Validity,
};
use std::sync::Arc;

impl<S: Store> Contract<S> {
    pub(super) async fn verify_generations(&self) {
        self.older_entries_of_invalidated_scopes_are_invalid().await;
        self.cleared_follows_invalidations_of_everything().await;
        self.soft_invalidation_does_not_undo_a_hard_one().await;
        self.write_of_a_value_invalidates_its_dependents().await;
        self.write_without_dependents_advances_nothing().await;
        self.concurrent_invalidations_all_take_effect().await;
        self.namespaces_are_invalidated_separately().await;
        self.entry_ahead_of_the_counter_is_invalid().await;
        self.entry_of_a_far_future_does_not_end_the_incarnation().await;
    }

    pub(super) fn generations(&self, namespace: &str) -> ProcessView {
        ProcessView::of(&self.store, namespace)
    }

    async fn older_entries_of_invalidated_scopes_are_invalid(&self) {
        let generations = self.generations("contract/one");
        let scopes: Vec<_> = (0..200).map(|i| Scope::path(&format!("/{i}"))).collect();
        let before = generations.current().await;
        let entry = "an entry of 200 paths";
        generations.expect(rule::VALID, "no invalidation", (entry, before, &scopes), Validity::Valid).await;
        for scope in &scopes {
            generations.advance(&[*scope], Strength::Hard).await;
        }
        for scope in &scopes {
            let entry = ("an older entry of one of them", before, &[*scope][..]);
            generations.expect(rule::ADVANCE, "200 paths were invalidated", entry, Validity::Invalid).await;
        }
        let after = generations.current().await;
        if after.counter() <= before.counter() {
            let (before, after) = (before.counter(), after.counter());
            rule::GROWS.broken(&format!("the counter was {before}, and is {after} after 200 advances"));
        }
        let entry = ("a later entry of the paths", after, &scopes[..]);
        generations.expect(rule::VALID, "200 paths were invalidated", entry, Validity::Valid).await;
        let stranger = Generation::new(before.incarnation() ^ 1, u64::MAX);
        let entry = ("an entry of another incarnation", stranger, &[][..]);
        generations.expect(rule::AHEAD, "200 paths were invalidated", entry, Validity::Invalid).await;
    }

    async fn cleared_follows_invalidations_of_everything(&self) {
        let generations = self.generations("contract/all");
        let (before, first) = (generations.current().await, generations.cleared().await);
        generations.advance(&[Scope::tag("t"), Scope::path("/")], Strength::Hard).await;
        let cleared = generations.cleared().await;
        rule::CLEARED.returned("cleared, after a tag and a path were invalidated,", cleared, first);
        generations.advance(&[Scope::EVERYTHING], Strength::Hard).await;
        let entry = ("an older entry without scopes", before, &[][..]);
        generations.expect(rule::EVERYTHING, "everything was invalidated", entry, Validity::Invalid).await;
        let cleared = generations.cleared().await;
        if cleared == first {
            let same = format!("cleared returned {first:?} before and after everything was invalidated");
            rule::CLEARED.broken(&same);
        }
        generations.advance(&[Scope::VALUES], Strength::Hard).await;
        if generations.cleared().await == cleared {
            let same = format!("cleared returned {cleared:?} before and after all values were invalidated");
            rule::CLEARED.broken(&same);
        }
    }

    async fn soft_invalidation_does_not_undo_a_hard_one(&self) {
        let generations = self.generations("contract/soft");
        let scopes = [Scope::tag("t")];
        let first = generations.current().await;
        let entry = ("an older entry of the tag", first, &scopes[..]);
        generations.advance(&scopes, Strength::Soft).await;
        generations.expect(rule::SOFT, "a soft invalidation of a tag", entry, Validity::Stale).await;
        generations.advance(&scopes, Strength::Hard).await;
        generations.expect(rule::ADVANCE, "a soft, then a hard one", entry, Validity::Invalid).await;
        let second = generations.current().await;
        generations.advance(&scopes, Strength::Soft).await;
        let after = "a hard invalidation of a tag, then a soft one";
        generations.expect(rule::NOT_UNDONE, after, entry, Validity::Invalid).await;
        let entry = ("an entry made between the two", second, &scopes[..]);
        generations.expect(rule::SOFT, after, entry, Validity::Stale).await;
        generations.advance(&[Scope::EVERYTHING], Strength::Soft).await;
        let entry = ("an older entry without scopes", second, &[][..]);
        generations.expect(rule::SOFT, "a soft invalidation of everything", entry, Validity::Stale).await;
    }

    async fn write_of_a_value_invalidates_its_dependents(&self) {
        let generations = self.generations("contract/values");
        let value = Scope::value(b"v");
        let before = generations.current().await;
        let read = generations.depend(value).await;
        if read < before {
            rule::DEPEND.broken(&format!("depend returned {read:?}, though {before:?} was current before"));
        }
        let made = Dependency::new(value, read);
        let after = "nothing was written since depend";
        generations.expect_dependent(rule::DEPEND, after, made, Validity::Valid).await;
        let since = generations.written(value, read).await;
        generations.expect_dependent(rule::WRITTEN, "the value was written", made, Validity::Invalid).await;
        let Some(since) = since else {
            rule::WRITTEN_SINCE.broken("written returned None, though no other writer has written the value");
        };
        let made = Dependency::new(value, since);
        let after = "written returned this generation";
        generations.expect_dependent(rule::WRITTEN_SINCE, after, made, Validity::Valid).await;
        let again = generations.written(value, read).await;
        let call = "written, of a value that was written since the given generation,";
        rule::WRITTEN_SINCE.returned(call, again, None);
    }

    async fn write_without_dependents_advances_nothing(&self) {
        let generations = self.generations("contract/no-dependents");
        let before = generations.current().await;
        let written = generations.written(Scope::value(b"w"), before).await;
        let call = "written, of a value that depend was never called for,";
        rule::WRITTEN.returned(call, written, Some(before));
        let current = generations.current().await;
        rule::WRITTEN.returned("current, after a write of a value without dependents,", current, before);
    }

    async fn concurrent_invalidations_all_take_effect(&self) {
        let generations = self.generations("contract/concurrent");
        let scopes: Vec<_> = (0..32).map(|i| Scope::tag(&i.to_string())).collect();
        let before = generations.current().await;
        let advances = scopes.iter().map(|scope| generations.0.advance(&[*scope], Strength::Hard)).collect();
        all(advances).await.into_iter().for_each(|done| rule::ADVANCE.ok("advance", done));
        for scope in scopes {
            let entry = ("an older entry of one of them", before, &[scope][..]);
            let after = "32 tags were invalidated concurrently";
            generations.expect(rule::ADVANCE, after, entry, Validity::Invalid).await;
        }
    }

    async fn namespaces_are_invalidated_separately(&self) {
        let (one, two) = (self.generations("contract/apart"), self.generations("contract/two"));
        let before = two.current().await;
        let entry = ("an older entry of another namespace", before, &[][..]);
        one.advance(&[Scope::EVERYTHING], Strength::Hard).await;
        two.expect(rule::APART, "everything in a namespace was invalidated", entry, Validity::Valid).await;
        let again = self.generations("contract/two");
        again.advance(&[Scope::EVERYTHING], Strength::Hard).await;
        let after = "everything was invalidated through another handle to the namespace";
        let entry = ("an older entry", before, &[][..]);
        two.expect(rule::SHARED, after, entry, Validity::Invalid).await;
    }

    async fn entry_ahead_of_the_counter_is_invalid(&self) {
        let generations = self.generations("contract/ahead");
        for later in [1, 1 << 40] {
            let now = generations.current().await;
            let ahead = Generation::new(now.incarnation(), now.counter() + later);
            let after = format!("the counter is {}", now.counter());
            let entry = ("an entry ahead of it", ahead, &[][..]);
            generations.expect(rule::AHEAD, &after, entry, Validity::Invalid).await;
            let made = Dependency::new(Scope::value(b"v"), ahead);
            generations.expect_dependent(rule::AHEAD, &after, made, Validity::Invalid).await;
            let now = generations.current().await;
            let entry = ("an entry of the current generation", now, &[][..]);
            let after = "an entry ahead of the counter was checked";
            generations.expect(rule::VALID, after, entry, Validity::Valid).await;
        }
    }

    async fn entry_of_a_far_future_does_not_end_the_incarnation(&self) {
        let generations = self.generations("contract/future");
        for incarnation in [u64::MAX, 0xffff_fffe << 32] {
            let future = Generation::new(incarnation, 1);
            let after = "nothing was invalidated";
            let now = generations.current().await;
            let entry = ("an entry whose incarnation begins in the far future", future, &[][..]);
            generations.expect(rule::FUTURE, after, entry, Validity::Invalid).await;
            let made = Dependency::new(Scope::value(b"v"), future);
            generations.expect_dependent(rule::FUTURE, after, made, Validity::Invalid).await;
            let after = "an entry of the far future was checked";
            let entry = ("an entry of the current generation", now, &[][..]);
            generations.expect(rule::FUTURE, after, entry, Validity::Valid).await;
            let current = generations.current().await;
            rule::FUTURE.returned("current, after an entry of the far future was checked,", current, now);
        }
    }

    /// A restart of a store may lose entries. If it loses invalidations, all older entries must
    /// become invalid.
    pub(super) async fn restart_revives_no_invalid_entry(&self, open: &(dyn Fn() -> S + Send + Sync)) {
        let key = KeyRef::new(b"contract/restart");
        let generations = self.generations("contract/restart");
        let scopes = [Scope::path("/")];
        let before = generations.current().await;
        self.expect_put(rule::PUT, key, Entry::raw("old"), None, PutMode::Always, true).await;
        generations.advance(&scopes, Strength::Hard).await;
        let store = Arc::new(open());
        let generations = ProcessView::of(&store, "contract/restart");
        let survived = rule::GET.ok("get, after a restart,", store.get(key).await).is_some();
        let after = match survived {
            true => "a path was invalidated, and the store restarted with its entries",
            false => "a path was invalidated, and the store restarted without entries",
        };
        let entry = ("an older entry of the path", before, &scopes[..]);
        generations.expect(rule::LOST, after, entry, Validity::Invalid).await;
    }
}

/// A handle to the invalidations of a namespace. Each handle stands for a process, since a new
/// handle knows nothing of the reads of earlier handles.
pub(super) struct ProcessView(pub(super) Arc<dyn Generations>);

/// An entry: its description in a report, its generation and its scopes.
type EntryToCheck<'a> = (&'a str, Generation, &'a [Scope]);

impl ProcessView {
    fn of<S: Store>(store: &Arc<S>, namespace: &str) -> Self {
        let own = store.generations(namespace);
        Self(own.unwrap_or_else(|| Arc::new(RecordGenerations::new(Arc::clone(store) as _, namespace))))
    }

    pub(super) async fn current(&self) -> Generation {
        rule::CURRENT.ok("current", self.0.current().await)
    }

    pub(super) async fn cleared(&self) -> Generation {
        rule::CLEARED.ok("cleared", self.0.cleared().await)
    }

    pub(super) async fn advance(&self, scopes: &[Scope], strength: Strength) {
        rule::ADVANCE.ok("advance", self.0.advance(scopes, strength).await);
    }

    pub(super) async fn depend(&self, value: Scope) -> Generation {
        rule::DEPEND.ok("depend", self.0.depend(value).await)
    }

    pub(super) async fn written(&self, value: Scope, since: Generation) -> Option<Generation> {
        rule::WRITTEN.ok("written", self.0.written(value, since).await)
    }

    /// Verifies the state of an entry.
    pub(super) async fn expect(&self, rule: Rule, after: &str, entry: EntryToCheck<'_>, expected: Validity) {
        let (name, since, scopes) = entry;
        let call = format!("{after}: check of {name} ({since:?})");
        let validity = rule::VALID.ok(&call, self.0.check(since, scopes, &[]).await);
        rule.returned(call, validity, expected);
    }

    /// Verifies the state of an entry that was made from a value. The entry itself has the current
    /// generation, so only the dependency decides its state.
    pub(super) async fn expect_dependent(
        &self,
        rule: Rule,
        after: &str,
        made: Dependency,
        expected: Validity,
    ) {
        let since = self.current().await;
        let call = format!("{after}: check of an entry made from a value as of {:?}", made.since);
        let validity = rule::VALID.ok(&call, self.0.check(since, &[], &[made]).await);
        rule.returned(call, validity, expected);
    }
}
