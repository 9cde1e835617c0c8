//! What is asked of a store's invalidations.

use super::super::{
    CacheKey, Dependency, Entry, Generation, Generations, PutMode, RecordGenerations, Scope, Store, Strength,
    Validity,
};
use super::{Contract, KeyRef, Restore, all, ok};
use std::sync::Arc;

impl<S: Store> Contract<S> {
    pub(super) async fn invalidations_are_kept(&self) {
        self.invalidations_are_never_lost().await;
        self.a_softer_invalidation_undoes_no_harder_one().await;
        self.what_was_made_from_a_value_goes_when_that_is_written().await;
        self.concurrent_invalidations_all_count().await;
        self.namespaces_are_invalidated_apart().await;
        self.no_entry_ahead_of_the_counter_is_valid().await;
        self.a_counter_that_goes_back_is_noticed_by_who_saw_it().await;
        self.a_counter_that_goes_back_is_noticed_through_a_later_entry().await;
        self.a_counter_that_went_back_and_was_overtaken_is_noticed_by_who_saw_it().await;
        self.a_counter_that_went_back_and_was_overtaken_is_noticed_through_a_later_entry().await;
        self.no_entry_of_a_far_future_ends_the_incarnation().await;
    }

    fn generations(&self, namespace: &str) -> Arc<dyn Generations> {
        generations(Arc::clone(&self.store), namespace)
    }

    async fn invalidations_are_never_lost(&self) {
        let generations = self.generations("contract/one");
        let scopes: Vec<_> = (0..200).map(|i| Scope::path(&format!("/{i}"))).collect();
        let before = ok(generations.current().await);
        assert_eq!(check(&generations, before, &scopes).await, Validity::Valid, "nothing was invalidated");
        for scope in &scopes {
            advance(&generations, &[*scope], Strength::Hard).await;
        }
        for scope in &scopes {
            assert_eq!(check(&generations, before, &[*scope]).await, Validity::Invalid, "older is gone");
        }
        let after = ok(generations.current().await);
        assert!(after.counter() > before.counter(), "the counter grows");
        assert_eq!(check(&generations, after, &scopes).await, Validity::Valid, "newer is valid");
        let cleared = ok(generations.cleared().await);
        advance(&generations, &[Scope::EVERYTHING], Strength::Hard).await;
        assert_eq!(check(&generations, after, &[]).await, Validity::Invalid, "all is gone");
        assert_ne!(ok(generations.cleared().await), cleared, "all is gone, and that is told");
        let cleared = ok(generations.cleared().await);
        advance(&generations, &scopes, Strength::Hard).await;
        assert_eq!(ok(generations.cleared().await), cleared, "some is gone");
        let stranger = Generation::new(before.incarnation() ^ 1, u64::MAX);
        assert_eq!(check(&generations, stranger, &[]).await, Validity::Invalid, "of another incarnation");
    }

    async fn a_softer_invalidation_undoes_no_harder_one(&self) {
        let generations = self.generations("contract/soft");
        let scope = Scope::tag("t");
        let first = ok(generations.current().await);
        advance(&generations, &[scope], Strength::Soft).await;
        assert_eq!(check(&generations, first, &[scope]).await, Validity::Stale, "soft: stale");
        advance(&generations, &[scope], Strength::Hard).await;
        let second = ok(generations.current().await);
        advance(&generations, &[scope], Strength::Soft).await;
        assert_eq!(check(&generations, first, &[scope]).await, Validity::Invalid, "gone stays gone");
        assert_eq!(
            check(&generations, second, &[scope]).await,
            Validity::Stale,
            "what came between is stale"
        );
        advance(&generations, &[Scope::EVERYTHING], Strength::Soft).await;
        assert_eq!(check(&generations, second, &[]).await, Validity::Stale, "everything may be made stale");
    }

    async fn what_was_made_from_a_value_goes_when_that_is_written(&self) {
        let generations = self.generations("contract/values");
        let (value, other) = (Scope::value(b"v"), Scope::value(b"w"));
        let before = ok(generations.current().await);
        assert_eq!(ok(generations.written(other, before).await), Some(before), "nothing depends on it");
        let read = ok(generations.depend(value).await);
        let made = Dependency::new(value, read);
        let now = ok(generations.current().await);
        let of = async |made| ok(generations.check(now, &[], &[made]).await);
        assert_eq!(of(made).await, Validity::Valid, "nothing was written");
        let since = ok(generations.written(value, read).await);
        assert_eq!(of(made).await, Validity::Invalid, "the value was written");
        match since {
            Some(since) => {
                assert_eq!(of(Dependency::new(value, since)).await, Validity::Valid, "who wrote it")
            }
            None => panic!("nobody else wrote it"),
        }
        assert_eq!(ok(generations.written(value, read).await), None, "somebody has written it since");
    }

    async fn concurrent_invalidations_all_count(&self) {
        let generations = self.generations("contract/concurrent");
        let scopes: Vec<_> = (0..32).map(|i| Scope::tag(&i.to_string())).collect();
        let before = ok(generations.current().await);
        let advances = scopes.iter().map(|scope| generations.advance(&[*scope], Strength::Hard)).collect();
        all(advances).await.into_iter().for_each(ok);
        for scope in scopes {
            assert_eq!(check(&generations, before, &[scope]).await, Validity::Invalid, "none is lost");
        }
    }

    async fn namespaces_are_invalidated_apart(&self) {
        let (one, two) = (self.generations("contract/one"), self.generations("contract/two"));
        let before = ok(two.current().await);
        advance(&one, &[Scope::EVERYTHING], Strength::Hard).await;
        assert_eq!(check(&two, before, &[]).await, Validity::Valid, "another namespace is left alone");
        let again = self.generations("contract/two");
        advance(&again, &[Scope::EVERYTHING], Strength::Hard).await;
        assert_eq!(check(&two, before, &[]).await, Validity::Invalid, "the same namespace is shared");
    }

    async fn no_entry_ahead_of_the_counter_is_valid(&self) {
        let generations = self.generations("contract/ahead");
        for later in [1, 1 << 40] {
            let now = ok(generations.current().await);
            let ahead = Generation::new(now.incarnation(), now.counter() + later);
            assert_eq!(check(&generations, ahead, &[]).await, Validity::Invalid, "ahead of the counter");
            let made = Dependency::new(Scope::value(b"v"), ahead);
            let now = ok(generations.current().await);
            let validity = ok(generations.check(now, &[], &[made]).await);
            assert_eq!(validity, Validity::Invalid, "made from a value that is ahead of the counter");
            let now = ok(generations.current().await);
            assert_eq!(check(&generations, now, &[]).await, Validity::Valid, "the namespace can be used on");
        }
    }

    /// Saves what the store holds of a namespace's invalidations, and returns how to put it back.
    async fn saved(&self, namespace: &str) -> Option<Saved> {
        if let Some(save) = &self.snapshot {
            return Some(Saved::All(save()));
        }
        if self.store.generations(namespace).is_some() {
            return None;
        }
        let record = RecordGenerations::new(Arc::clone(&self.store) as _, namespace);
        Some(Saved::Record(record.key().to_key(), ok(self.store.get(record.key()).await)))
    }

    async fn restore(&self, saved: Saved) {
        match saved {
            Saved::All(restore) => restore(),
            Saved::Record(key, Some(record)) => {
                self.put(key.as_ref(), record, None, PutMode::Always).await;
            }
            Saved::Record(key, None) => drop(ok(self.store.remove(key.as_ref()).await)),
        }
    }

    async fn a_counter_that_goes_back_is_noticed_by_who_saw_it(&self) {
        let generations = self.generations("contract/back");
        let scope = Scope::path("/");
        let before = ok(generations.current().await);
        let Some(saved) = self.saved("contract/back").await else { return };
        advance(&generations, &[scope], Strength::Hard).await;
        self.restore(saved).await;
        let validity = check(&generations, before, &[scope]).await;
        assert_eq!(validity, Validity::Invalid, "what was acknowledged holds when the counter goes back");
        let now = ok(generations.current().await);
        assert!(
            now.incarnation() > before.incarnation(),
            "a counter that went back begins a new incarnation"
        );
        assert_eq!(check(&generations, now, &[scope]).await, Validity::Valid, "newer is valid");
    }

    async fn a_counter_that_goes_back_is_noticed_through_a_later_entry(&self) {
        let generations = self.generations("contract/later");
        let scope = Scope::path("/");
        let before = ok(generations.current().await);
        let Some(saved) = self.saved("contract/later").await else { return };
        advance(&generations, &[scope], Strength::Hard).await;
        let after = ok(generations.current().await);
        self.restore(saved).await;
        // As another process that has seen nothing.
        let generations = self.generations("contract/later");
        assert_eq!(check(&generations, after, &[]).await, Validity::Invalid, "the later entry is invalid");
        let validity = check(&generations, before, &[scope]).await;
        assert_eq!(validity, Validity::Invalid, "what was acknowledged holds once a later entry was met");
    }

    async fn a_counter_that_went_back_and_was_overtaken_is_noticed_by_who_saw_it(&self) {
        for overtaking in [1, 3] {
            let namespace = format!("contract/overtaken/{overtaking}");
            let (generations, scope) = (self.generations(&namespace), Scope::path("/"));
            let before = ok(generations.current().await);
            let Some(saved) = self.saved(&namespace).await else { return };
            advance(&generations, &[scope], Strength::Hard).await;
            self.restore(saved).await;
            // As another process that has seen nothing.
            let other = self.generations(&namespace);
            for number in 0..overtaking {
                advance(&other, &[Scope::tag(&number.to_string())], Strength::Hard).await;
            }
            let validity = check(&generations, before, &[scope]).await;
            assert_eq!(
                validity,
                Validity::Invalid,
                "what was acknowledged holds however the counter grew since"
            );
            let now = ok(generations.current().await);
            assert!(now.incarnation() > before.incarnation(), "it begins a new incarnation");
            assert_eq!(ok(other.current().await), now, "which all processes find");
            assert_eq!(check(&other, now, &[scope]).await, Validity::Valid, "newer is valid");
        }
    }

    async fn a_counter_that_went_back_and_was_overtaken_is_noticed_through_a_later_entry(&self) {
        let generations = self.generations("contract/overtaken");
        let (first, later) = (Scope::path("/"), Scope::path("/later"));
        let before = ok(generations.current().await);
        let Some(saved) = self.saved("contract/overtaken").await else { return };
        advance(&generations, &[first], Strength::Hard).await;
        let after = ok(generations.current().await);
        self.restore(saved).await;
        // As another process that has seen nothing.
        let other = self.generations("contract/overtaken");
        advance(&other, &[later], Strength::Hard).await;
        let validity = check(&other, after, &[later]).await;
        assert_eq!(validity, Validity::Invalid, "an entry is invalidated by numbers that it has seen, too");
        let validity = check(&other, before, &[first]).await;
        assert_eq!(validity, Validity::Invalid, "what was acknowledged holds once a later entry was met");
        // What was made from a value is noticed like that, too.
        let value = Scope::value(b"v");
        let Some(saved) = self.saved("contract/overtaken").await else { return };
        let made = Dependency::new(value, ok(other.depend(value).await));
        self.restore(saved).await;
        let other = self.generations("contract/overtaken");
        let now = ok(other.current().await);
        ok(other.written(value, now).await);
        let validity = ok(other.check(now, &[], &[made]).await);
        assert_eq!(validity, Validity::Invalid, "a value was written after the dependency on it was lost");
    }

    async fn no_entry_of_a_far_future_ends_the_incarnation(&self) {
        let generations = self.generations("contract/future");
        for incarnation in [u64::MAX, 0xffff_fffe << 32] {
            let future = Generation::new(incarnation, 1);
            assert_eq!(check(&generations, future, &[]).await, Validity::Invalid, "of a far future");
            let made = Dependency::new(Scope::value(b"v"), future);
            let now = ok(generations.current().await);
            let validity = ok(generations.check(now, &[], &[made]).await);
            assert_eq!(validity, Validity::Invalid, "made from a value of a far future");
            assert_eq!(check(&generations, now, &[]).await, Validity::Valid, "other entries stay valid");
            assert_eq!(ok(generations.current().await), now, "the incarnation goes on");
        }
    }

    /// Entries may be lost in a restart and so may invalidations, but never these alone.
    pub(super) async fn a_restart_brings_nothing_back(&self, open: &(dyn Fn() -> S + Send + Sync)) {
        let key = KeyRef::new(b"contract/restart");
        let generations = self.generations("contract/restart");
        let scope = Scope::path("/");
        let before = ok(generations.current().await);
        self.put(key, Entry::raw("old"), None, PutMode::Always).await;
        advance(&generations, &[scope], Strength::Hard).await;
        let store = Arc::new(open());
        let generations = super::generations::generations(Arc::clone(&store), "contract/restart");
        let scope = Scope::path("/");
        let survived = ok(store.get(key).await).is_some();
        let validity = check(&generations, before, &[scope]).await;
        assert_eq!(
            validity,
            Validity::Invalid,
            "invalidated before a restart (the entry is there: {survived})"
        );
    }
}

/// What a store held of a namespace's invalidations.
enum Saved {
    All(Restore),
    Record(CacheKey, Option<Entry>),
}

fn generations<S: Store>(store: Arc<S>, namespace: &str) -> Arc<dyn Generations> {
    let own = store.generations(namespace);
    own.unwrap_or_else(|| Arc::new(RecordGenerations::new(store, namespace)))
}

async fn check(generations: &Arc<dyn Generations>, since: Generation, scopes: &[Scope]) -> Validity {
    ok(generations.check(since, scopes, &[]).await)
}

async fn advance(generations: &Arc<dyn Generations>, scopes: &[Scope], strength: Strength) {
    ok(generations.advance(scopes, strength).await);
}
