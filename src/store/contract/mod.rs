//! A test kit for stores: does yours keep the contract of [`Store`]?
//!
//! What it verifies is what [`Store`] and [`Generations`](super::Generations) say: that writes, counters and
//! compare-and-set are atomic under concurrency, entries expire, keys and values of any bytes are kept apart and
//! as they are, namespaces too, and that no invalidation is ever lost, across a restart neither.
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

mod generations;

use super::{Entry, InitialCounter, KeyRef, PutMode, Store, StoreErrorKind, VaryIndex};
use crate::clock::{Clock, Moment};
use http::header::ACCEPT;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The contract, to be verified against one store.
///
/// Use a store that nobody else uses meanwhile. Each verification uses keys of its own.
#[must_use]
pub struct Contract<S> {
    store: Arc<S>,
    keeps: bool,
    time: Option<Box<dyn Fn(Duration) + Send + Sync>>,
    restart: Option<Restart<S>>,
    snapshot: Option<Snapshot>,
}

type Restart<S> = Box<dyn Fn() -> S + Send + Sync>;
type Snapshot = Box<dyn Fn() -> Restore + Send + Sync>;
type Restore = Box<dyn FnOnce() + Send>;

const SECOND: Duration = Duration::from_secs(1);

impl<S: Store> Contract<S> {
    /// Prepares the verification of a store.
    pub fn new(store: S) -> Self {
        Self { store: Arc::new(store), keeps: true, time: None, restart: None, snapshot: None }
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

    /// Says how to open the store again, as after a restart of what it runs in. Without it, what a restart
    /// leaves is not verified.
    pub fn restart(mut self, open: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.restart = Some(Box::new(open));
        self
    }

    /// Sets how to save what the store holds; the returned function puts it back, as a restored snapshot or a
    /// replica that takes over too early does. Without it, a counter that goes back is verified only if the
    /// store keeps its invalidations as an entry.
    pub fn snapshot<R>(mut self, save: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        R: FnOnce() + Send + 'static,
    {
        self.snapshot = Some(Box::new(move || Box::new(save())));
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
        self.an_absurd_ttl_is_as_good_as_none().await;
        self.counters_count().await;
        self.concurrent_increments_all_count().await;
        self.compare_and_set_replaces_what_was_expected_only().await;
        self.many_at_a_time_are_the_same_as_one_by_one().await;
        self.hostile_values_are_found_as_they_were().await;
        self.invalidations_are_kept().await;
        if let Some(time) = &self.time {
            self.entries_expire(time).await;
            self.an_increment_keeps_the_ttl(time).await;
            self.a_touch_sets_the_ttl_of_what_is_there(time).await;
        }
        if let Some(restart) = &self.restart {
            self.a_restart_brings_nothing_back(restart.as_ref()).await;
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
        for until in [Moment::NEVER, Clock::system().now().after(3600 * SECOND)] {
            let index = VaryIndex::new(vec![ACCEPT], until).with_variant(b"variant", &[], until);
            let index = Entry::Index(Arc::new(index));
            self.put(key, index.clone(), None, PutMode::Always).await;
            self.expect(key, Some(index), "an index is found as an index").await;
        }
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

    async fn an_absurd_ttl_is_as_good_as_none(&self) {
        let key = KeyRef::new(b"contract/absurd");
        for (number, ttl) in [Duration::MAX, Duration::from_millis(u64::MAX)].into_iter().enumerate() {
            self.put(key, Entry::Counter(number as i64), Some(ttl), PutMode::Always).await;
            self.expect(key, Some(Entry::Counter(number as i64)), "an absurd ttl is long, not none").await;
        }
    }

    async fn counters_count(&self) {
        let key = KeyRef::new(b"contract/counter");
        let kind = self.store.increment(key, 1, None).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(StoreErrorKind::Missing), "a counter that is not there");
        let initial = Some(InitialCounter::new(5, None));
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
        let initial = Some(InitialCounter::new(0, None));
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
        let initial = Some(InitialCounter::new(0, Some(10 * SECOND)));
        ok(self.store.increment(key, 1, initial).await);
        time(6 * SECOND);
        ok(self.store.increment(key, 1, initial).await);
        time(6 * SECOND);
        self.expect(key, None, "an increment does not prolong a counter's life").await;
    }

    async fn a_touch_sets_the_ttl_of_what_is_there(&self, time: &(dyn Fn(Duration) + Send + Sync)) {
        let key = KeyRef::new(b"contract/touch");
        let touch = async |ttl| match self.store.touch(key, ttl).await {
            Err(error) if error.kind() == StoreErrorKind::Unsupported => None,
            touched => Some(ok(touched)),
        };
        self.put(key, value("x"), Some(10 * SECOND), PutMode::Always).await;
        let Some(touched) = touch(Some(20 * SECOND)).await else { return };
        assert!(touched || !self.keeps, "a touch finds what is there");
        time(15 * SECOND);
        self.expect(key, Some(value("x")), "and it lives as long as was said last").await;
        time(5 * SECOND);
        self.expect(key, None, "and no longer").await;
        assert_eq!(touch(None).await, Some(false), "what has expired is not revived");
        self.put(key, value("x"), None, PutMode::Always).await;
        let removed = touch(Some(Duration::ZERO)).await;
        assert!(removed == Some(true) || !self.keeps, "a zero ttl finds what is there");
        self.expect(key, None, "and removes it").await;
    }

    async fn many_at_a_time_are_the_same_as_one_by_one(&self) {
        let keys = [&b"contract/many/a"[..], b"contract/many/b", b"contract/many/c"].map(KeyRef::new);
        let puts = [(keys[0], value("a"), None), (keys[2], value("c"), Some(60 * SECOND))];
        ok(self.store.put_many(&puts).await).into_iter().for_each(|put| assert!(put, "each put takes place"));
        let found = ok(self.store.get_many(&keys).await);
        let expected = [Some(value("a")), None, Some(value("c"))];
        assert!(found == expected || (!self.keeps && found == [None, None, None]), "many: found {found:?}");
        let removed = ok(self.store.remove_many(&keys).await);
        assert!(removed == [true, false, true] || !self.keeps, "many: removed {removed:?}");
        assert_eq!(ok(self.store.get_many(&keys).await), [None, None, None], "what was removed is gone");
        assert_eq!(ok(self.store.get_many(&[]).await), [], "many may be none");
    }

    async fn hostile_values_are_found_as_they_were(&self) {
        let key = KeyRef::new(b"contract/hostile");
        let bytes = [vec![0; 3], b"\r\n\r\n".to_vec(), (0..=u8::MAX).collect(), vec![0xff; 100_000]];
        for bytes in bytes {
            self.put(key, Entry::raw(bytes.clone()), None, PutMode::Always).await;
            self.expect(key, Some(Entry::raw(bytes)), "values of any bytes are legal").await;
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            self.put(key, Entry::Counter(number), None, PutMode::Always).await;
            self.expect(key, Some(Entry::Counter(number)), "so are all numbers").await;
        }
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
    Entry::raw(text)
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
