//! A test kit for stores: does yours keep the contract of [`Store`]?
//!
//! # Example
//! ```
//! use tower_response_cache::store::contract::Contract;
//! use tower_response_cache::{Clock, MemoryStore};
//!
//! # futures::executor::block_on(async {
//! let (clock, hand) = Clock::manual();
//! let store = MemoryStore::builder().clock(clock).build()?;
//! Contract::new(store).time(move |by| hand.advance(by)).verify().await;
//! # Ok::<_, tower_response_cache::ConfigError>(())
//! # }).unwrap();
//! ```

use super::{Entry, Generation, InitialCounter, KeyRef, PutMode, Scope, Store, StoreErrorKind, Validity};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// The contract, to be verified against one store.
///
/// Use a store that nobody else uses meanwhile. Each verification uses keys of its own.
#[must_use]
pub struct Contract<S> {
    store: S,
    keeps: bool,
    time: Option<Box<dyn Fn(Duration) + Send + Sync>>,
}

const SECOND: Duration = Duration::from_secs(1);

impl<S: Store> Contract<S> {
    /// Prepares the verification of a store.
    pub fn new(store: S) -> Self {
        Self { store, keeps: true, time: None }
    }

    /// Says that the store keeps nothing, as [`NullStore`](super::NullStore) does: what is found must
    /// still be right, but need not be found.
    pub fn keeps_nothing(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// Says how to let time pass for the store. Without it, expiry is not verified.
    pub fn time(mut self, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.time = Some(Box::new(pass));
        self
    }

    /// Verifies everything.
    ///
    /// # Panics
    /// If the store breaks the contract, with a message that says where.
    ///
    /// # Cancel safety
    /// Dropped midway, it leaves some entries in the store.
    pub async fn verify(&self) {
        self.what_is_put_is_found_as_it_was().await;
        self.keys_of_any_bytes_are_told_apart().await;
        self.a_put_if_absent_does_not_replace().await;
        self.of_many_puts_if_absent_one_wins().await;
        self.what_is_removed_is_gone().await;
        self.a_zero_ttl_stores_nothing().await;
        self.counters_count().await;
        self.concurrent_increments_all_count().await;
        self.compare_and_set_replaces_what_was_expected_only().await;
        self.invalidations_are_never_lost().await;
        self.namespaces_are_invalidated_apart().await;
        if let Some(time) = &self.time {
            self.entries_expire(time).await;
            self.an_increment_keeps_the_ttl(time).await;
        }
    }

    async fn what_is_put_is_found_as_it_was(&self) {
        let key = KeyRef::new(b"contract/put");
        for body in ["", "one", "two"] {
            self.put(key, value(body), None, PutMode::Always).await;
            self.expect(key, Some(value(body)), "a put replaces what was there").await;
        }
        self.put(key, Entry::Counter(7), None, PutMode::Always).await;
        self.expect(key, Some(Entry::Counter(7)), "a counter is found as a counter").await;
    }

    async fn keys_of_any_bytes_are_told_apart(&self) {
        let long = vec![b'k'; 4096];
        let keys: [&[u8]; 7] = [b"", b"\0", b" ", b"a\nb", b"a\r\nb", "\u{e9}\u{1f366}".as_bytes(), &long];
        for (i, key) in keys.into_iter().enumerate() {
            self.put(KeyRef::new(key), Entry::Counter(i as i64), None, PutMode::Always).await;
        }
        for (i, key) in keys.into_iter().enumerate() {
            self.expect(KeyRef::new(key), Some(Entry::Counter(i as i64)), "keys of any bytes are legal")
                .await;
        }
    }

    async fn a_put_if_absent_does_not_replace(&self) {
        let key = KeyRef::new(b"contract/absent");
        assert!(self.put(key, value("first"), None, PutMode::IfAbsent).await, "absent: the put takes place");
        let second = self.put(key, value("second"), None, PutMode::IfAbsent).await;
        assert!(!second || !self.keeps, "present: the put does not take place");
        self.expect(key, Some(value("first")), "a refused put changes nothing").await;
    }

    async fn of_many_puts_if_absent_one_wins(&self) {
        let key = KeyRef::new(b"contract/race");
        let puts = (0..16).map(|i| self.store.put(key, Entry::Counter(i), None, PutMode::IfAbsent));
        let won = all(puts.collect()).await.into_iter().filter(|put| matches!(put, Ok(true))).count();
        assert!(won == 1 || !self.keeps, "of many concurrent puts if absent, {won} took place");
    }

    async fn what_is_removed_is_gone(&self) {
        let key = KeyRef::new(b"contract/remove");
        self.put(key, value("x"), None, PutMode::Always).await;
        let removed = ok(self.store.remove(key).await);
        assert!(removed || !self.keeps, "removing an entry returns true");
        self.expect(key, None, "what was removed is gone").await;
        assert!(!ok(self.store.remove(key).await), "removing nothing returns false");
    }

    async fn a_zero_ttl_stores_nothing(&self) {
        let key = KeyRef::new(b"contract/zero");
        self.put(key, value("old"), None, PutMode::Always).await;
        assert!(!self.put(key, value("new"), Some(Duration::ZERO), PutMode::Always).await, "zero ttl: false");
        self.expect(key, None, "a zero ttl leaves neither the new entry nor the old").await;
    }

    async fn counters_count(&self) {
        let key = KeyRef::new(b"contract/counter");
        let kind = self.store.increment(key, 1, None).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(StoreErrorKind::Missing), "a counter that is not there");
        let initial = Some(InitialCounter { value: 5, ttl: None });
        assert_eq!(ok(self.store.increment(key, 2, initial).await), 7, "an initial value counts");
        if self.keeps {
            assert_eq!(ok(self.store.increment(key, -3, initial).await), 4, "and counts once only");
            let kind = self.store.increment(key, i64::MAX, None).await.err().map(|error| error.kind());
            assert_eq!(kind, Some(StoreErrorKind::Overflow), "a counter does not wrap");
            self.expect(key, Some(Entry::Counter(4)), "an overflow changes nothing").await;
            self.put(key, value("4"), None, PutMode::Always).await;
            let kind = self.store.increment(key, 1, initial).await.err().map(|error| error.kind());
            assert_eq!(kind, Some(StoreErrorKind::NotANumber), "bytes are not a counter");
        }
    }

    async fn concurrent_increments_all_count(&self) {
        let key = KeyRef::new(b"contract/concurrent");
        let initial = Some(InitialCounter { value: 0, ttl: None });
        let increments = (0..64).map(|_| self.store.increment(key, 1, initial));
        let mut seen: Vec<_> = all(increments.collect()).await.into_iter().map(ok).collect();
        seen.sort_unstable();
        assert!(seen == (1..=64).collect::<Vec<_>>() || !self.keeps, "increments are atomic");
    }

    async fn compare_and_set_replaces_what_was_expected_only(&self) {
        let key = KeyRef::new(b"contract/compare");
        let (a, b) = (value("a"), value("b"));
        assert!(self.compare(key, None, a.clone()).await, "absent, as expected");
        if self.keeps {
            assert!(!self.compare(key, None, b.clone()).await, "absent was expected");
            assert!(!self.compare(key, Some(&b), b.clone()).await, "another entry was expected");
            assert!(self.compare(key, Some(&a), b.clone()).await, "the entry was expected");
            self.expect(key, Some(b.clone()), "the new entry is there").await;
            let zero = Some(Duration::ZERO);
            let removed = ok(self.store.compare_and_set(key, Some(&a), a.clone(), zero).await);
            assert!(!removed, "another entry was to be removed");
            self.expect(key, Some(b.clone()), "and is left alone").await;
            assert!(ok(self.store.compare_and_set(key, Some(&b), b.clone(), zero).await), "the entry itself");
            self.expect(key, None, "a zero ttl removes what was expected").await;
        }
    }

    async fn compare(&self, key: KeyRef<'_>, expected: Option<&Entry>, new: Entry) -> bool {
        ok(self.store.compare_and_set(key, expected, new, None).await)
    }

    async fn invalidations_are_never_lost(&self) {
        let generations = self.store.generations("contract/one");
        let seed = generations.seed();
        let scopes: Vec<_> = (0..1000).map(|i| Scope::path(seed, &format!("/{i}"))).collect();
        let before = ok(generations.current().await);
        assert_eq!(ok(generations.check(before, &scopes).await), Validity::Valid, "nothing was invalidated");
        for scope in &scopes {
            ok(generations.advance(&[*scope]).await);
        }
        for scope in &scopes {
            assert_eq!(ok(generations.check(before, &[*scope]).await), Validity::Gone, "older is gone");
        }
        let after = ok(generations.current().await);
        assert_eq!(ok(generations.check(after, &scopes).await), Validity::Valid, "newer is valid");
        ok(generations.advance_all().await);
        assert_eq!(ok(generations.check(after, &[]).await), Validity::Gone, "all is gone");
        let stranger = Generation::new(before.incarnation() ^ 1, u64::MAX);
        assert_eq!(ok(generations.check(stranger, &[]).await), Validity::Gone, "of another incarnation");
    }

    async fn namespaces_are_invalidated_apart(&self) {
        let (one, two) = (self.store.generations("contract/one"), self.store.generations("contract/two"));
        let before = ok(two.current().await);
        ok(one.advance_all().await);
        assert_eq!(ok(two.check(before, &[]).await), Validity::Valid, "another namespace is left alone");
        let again = self.store.generations("contract/two");
        ok(again.advance_all().await);
        assert_eq!(ok(two.check(before, &[]).await), Validity::Gone, "the same namespace is shared");
    }

    async fn entries_expire(&self, time: &(dyn Fn(Duration) + Send + Sync)) {
        let key = KeyRef::new(b"contract/expiry");
        self.put(key, value("x"), Some(10 * SECOND), PutMode::Always).await;
        time(9 * SECOND);
        self.expect(key, Some(value("x")), "an entry lives as long as its ttl").await;
        time(SECOND);
        self.expect(key, None, "and no longer").await;
        assert!(!ok(self.store.remove(key).await), "removing an expired entry returns false");
        assert!(self.put(key, value("y"), None, PutMode::IfAbsent).await, "an expired entry is absent");
    }

    async fn an_increment_keeps_the_ttl(&self, time: &(dyn Fn(Duration) + Send + Sync)) {
        let key = KeyRef::new(b"contract/counter-ttl");
        let initial = Some(InitialCounter { value: 0, ttl: Some(10 * SECOND) });
        ok(self.store.increment(key, 1, initial).await);
        time(6 * SECOND);
        ok(self.store.increment(key, 1, initial).await);
        time(6 * SECOND);
        self.expect(key, None, "an increment does not prolong a counter's life").await;
    }

    async fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> bool {
        ok(self.store.put(key, entry, ttl, mode).await)
    }

    async fn expect(&self, key: KeyRef<'_>, expected: Option<Entry>, what: &str) {
        let found = ok(self.store.get(key).await);
        assert!(found == expected || (!self.keeps && found.is_none()), "{what}: found {found:?}");
    }
}

fn value(text: &'static str) -> Entry {
    Entry::Value(Bytes::from_static(text.as_bytes()))
}

#[track_caller]
fn ok<T>(result: Result<T, super::StoreError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error}"),
    }
}

/// Waits for all, polling them in turn so that they run concurrently.
async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(value) = Pin::new(future).poll(cx)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            Poll::Ready(outputs.iter_mut().filter_map(Option::take).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

impl<S: fmt::Debug> fmt::Debug for Contract<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("store", &self.store)
            .field("keeps", &self.keeps)
            .finish_non_exhaustive()
    }
}
