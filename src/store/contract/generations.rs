//! What is asked of a store's invalidations.

use super::super::{
    Dependency, Entry, Generation, Generations, PutMode, RecordGenerations, Scope, Store, Strength, Validity,
};
use super::{Contract, KeyRef, all, ok};
use std::sync::Arc;

impl<S: Store> Contract<S> {
    pub(super) async fn invalidations_are_kept(&self) {
        self.invalidations_are_never_lost().await;
        self.a_softer_invalidation_undoes_no_harder_one().await;
        self.what_was_made_from_a_value_goes_when_that_is_written().await;
        self.concurrent_invalidations_all_count().await;
        self.namespaces_are_invalidated_apart().await;
    }

    fn generations(&self, namespace: &str) -> Arc<dyn Generations> {
        generations(Arc::clone(&self.store), namespace)
    }

    async fn invalidations_are_never_lost(&self) {
        let generations = self.generations("contract/one");
        let seed = generations.seed();
        let scopes: Vec<_> = (0..200).map(|i| Scope::path(seed, &format!("/{i}"))).collect();
        let before = ok(generations.current().await);
        assert_eq!(check(&generations, before, &scopes).await, Validity::Valid, "nothing was invalidated");
        for scope in &scopes {
            advance(&generations, &[*scope], Strength::Gone).await;
        }
        for scope in &scopes {
            assert_eq!(check(&generations, before, &[*scope]).await, Validity::Gone, "older is gone");
        }
        let after = ok(generations.current().await);
        assert!(after.counter() > before.counter(), "the counter grows");
        assert_eq!(check(&generations, after, &scopes).await, Validity::Valid, "newer is valid");
        let cleared = ok(generations.cleared().await);
        advance(&generations, &[Scope::EVERYTHING], Strength::Gone).await;
        assert_eq!(check(&generations, after, &[]).await, Validity::Gone, "all is gone");
        assert_ne!(ok(generations.cleared().await), cleared, "all is gone, and that is told");
        let cleared = ok(generations.cleared().await);
        advance(&generations, &scopes, Strength::Gone).await;
        assert_eq!(ok(generations.cleared().await), cleared, "some is gone");
        let stranger = Generation::new(before.incarnation() ^ 1, u64::MAX);
        assert_eq!(check(&generations, stranger, &[]).await, Validity::Gone, "of another incarnation");
    }

    async fn a_softer_invalidation_undoes_no_harder_one(&self) {
        let generations = self.generations("contract/soft");
        let scope = Scope::tag(generations.seed(), "t");
        let first = ok(generations.current().await);
        advance(&generations, &[scope], Strength::Stale).await;
        assert_eq!(check(&generations, first, &[scope]).await, Validity::Stale, "soft: stale");
        advance(&generations, &[scope], Strength::Gone).await;
        let second = ok(generations.current().await);
        advance(&generations, &[scope], Strength::Stale).await;
        assert_eq!(check(&generations, first, &[scope]).await, Validity::Gone, "gone stays gone");
        assert_eq!(
            check(&generations, second, &[scope]).await,
            Validity::Stale,
            "what came between is stale"
        );
        advance(&generations, &[Scope::EVERYTHING], Strength::Stale).await;
        assert_eq!(check(&generations, second, &[]).await, Validity::Stale, "everything may be made stale");
    }

    async fn what_was_made_from_a_value_goes_when_that_is_written(&self) {
        let generations = self.generations("contract/values");
        let seed = generations.seed();
        let (value, other) = (Scope::value(seed, b"v"), Scope::value(seed, b"w"));
        let before = ok(generations.current().await);
        assert_eq!(ok(generations.written(other, before).await), Some(before), "nothing depends on it");
        let read = ok(generations.depend(value).await);
        let made = Dependency { value, since: read };
        let now = ok(generations.current().await);
        let of = async |made| ok(generations.check(now, &[], &[made]).await);
        assert_eq!(of(made).await, Validity::Valid, "nothing was written");
        let since = ok(generations.written(value, read).await);
        assert_eq!(of(made).await, Validity::Gone, "the value was written");
        match since {
            Some(since) => assert_eq!(of(Dependency { value, since }).await, Validity::Valid, "who wrote it"),
            None => panic!("nobody else wrote it"),
        }
        assert_eq!(ok(generations.written(value, read).await), None, "somebody has written it since");
    }

    async fn concurrent_invalidations_all_count(&self) {
        let generations = self.generations("contract/concurrent");
        let scopes: Vec<_> = (0..32).map(|i| Scope::tag(generations.seed(), &i.to_string())).collect();
        let before = ok(generations.current().await);
        let advances = scopes.iter().map(|scope| generations.advance(&[*scope], Strength::Gone)).collect();
        all(advances).await.into_iter().for_each(ok);
        for scope in scopes {
            assert_eq!(check(&generations, before, &[scope]).await, Validity::Gone, "none is lost");
        }
    }

    async fn namespaces_are_invalidated_apart(&self) {
        let (one, two) = (self.generations("contract/one"), self.generations("contract/two"));
        let before = ok(two.current().await);
        advance(&one, &[Scope::EVERYTHING], Strength::Gone).await;
        assert_eq!(check(&two, before, &[]).await, Validity::Valid, "another namespace is left alone");
        let again = self.generations("contract/two");
        advance(&again, &[Scope::EVERYTHING], Strength::Gone).await;
        assert_eq!(check(&two, before, &[]).await, Validity::Gone, "the same namespace is shared");
    }

    /// Entries may be lost in a restart and so may invalidations, but never these alone.
    pub(super) async fn a_restart_brings_nothing_back(&self, open: &(dyn Fn() -> S + Send + Sync)) {
        let key = KeyRef::new(b"contract/restart");
        let generations = self.generations("contract/restart");
        let scope = Scope::path(generations.seed(), "/");
        let before = ok(generations.current().await);
        self.put(key, Entry::raw("old"), None, PutMode::Always).await;
        advance(&generations, &[scope], Strength::Gone).await;
        let store = Arc::new(open());
        let generations = super::generations::generations(Arc::clone(&store), "contract/restart");
        let scope = Scope::path(generations.seed(), "/");
        let survived = ok(store.get(key).await).is_some();
        let validity = check(&generations, before, &[scope]).await;
        assert_eq!(validity, Validity::Gone, "invalidated before a restart (the entry is there: {survived})");
    }
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
