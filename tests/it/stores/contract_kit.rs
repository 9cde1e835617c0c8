//! The contract kit detects a breach of each rule of the contract. Its report names the broken
//! rule.

use crate::support::entries::{EntryKind, entry_kind};
use futures::FutureExt;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower_response_cache::clock::Clock;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::store::NullStore;
use tower_response_cache::store::contract::Contract;
use tower_response_cache::store::faulty::FaultyStore;
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, LocalGenerations, PutMode, Scope,
    StoreFuture, Strength, Validity,
};
use tower_response_cache::{MemoryStore, Store};

fn timed_store() -> (MemoryStore, impl Fn(Duration) + Send + Sync + 'static) {
    let (clock, manual) = Clock::manual();
    let store = MemoryStore::builder().seed(3).clock(clock).build().expect("valid");
    (store, move |by| manual.advance(by))
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    let (store, pass) = timed_store();
    let same = store.clone();
    Contract::new(store).time(pass).restart(move || same.clone()).verify().await;
}

#[tokio::test]
async fn store_without_generations_keeps_the_contract() {
    let (store, pass) = timed_store();
    let plain = FaultyStore::new(store).without_generations();
    let same = plain.clone();
    Contract::new(plain).time(pass).restart(move || same.clone()).verify().await;
}

#[tokio::test]
async fn null_store_keeps_the_contract() {
    Contract::new(NullStore::new()).keeps_nothing().time(|_| ()).verify().await;
}

/// A breach of one rule of the contract.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Breach {
    GetFails,
    GetFindsAbsentEntries,
    GetDropsFirstByte,
    GetForgetsIndexes,
    KeysAreTruncated,
    GetAtFindsNothing,
    GetManyAtReorders,
    ReadGenerationIsOld,
    PeekFindsNothing,
    PeekFindsExpired,
    PutReturnsFalse,
    PutKeepsOldEntry,
    PutIfAbsentReplaces,
    PutIfAbsentRaces,
    PutIfAbsentCountsExpired,
    PutZeroStores,
    PutZeroKeepsOldEntry,
    PutZeroIfAbsentRemoves,
    PutLongStoresNothing,
    PutTooLargeKeepsOldEntry,
    NothingExpires,
    ExpiresEarly,
    RemoveReturnsFalse,
    RemoveKeepsEntry,
    RemoveReturnsTrue,
    IncrementStartsAtZero,
    IncrementIgnoresInitial,
    IncrementCountsValues,
    IncrementWraps,
    IncrementRaces,
    IncrementExtendsTtl,
    IncrementShortensTtl,
    CompareReplacesAny,
    CompareNeverReplaces,
    CompareRaces,
    CompareNeverInserts,
    CompareZeroStores,
    CompareZeroRemovesAny,
    CompareFindsExpired,
    GetManyReorders,
    PutManyStoresOne,
    PutManyReturnsFalse,
    RemoveManyReturnsFalse,
    RemoveManyKeepsEntries,
    TouchDoesNothing,
    TouchRevivesExpired,
    TouchReturnsFalse,
    TouchZeroKeepsEntry,
    CurrentNeverAdvances,
    CurrentFails,
    ClearedNeverAdvances,
    ClearedAlwaysAdvances,
    ClearedIgnoresValues,
    ClearedAtIsOld,
    KnownClearedIsAhead,
    CheckAtIgnoresScopes,
    CheckIgnoresEverything,
    CheckIgnoresScopes,
    CheckRejectsAll,
    CheckAcceptsAheadOfCounter,
    CheckAcceptsFarFuture,
    CheckAcceptsOtherIncarnations,
    FarFutureEndsIncarnation,
    AdvanceRaces,
    SoftIsHard,
    SoftUndoesHard,
    DependReturnsOld,
    DependIsForgotten,
    WrittenAlwaysAdvances,
    WrittenInvalidatesNothing,
    WrittenReturnsOldGeneration,
    WrittenMissesOtherWriters,
    OneNamespace,
    GenerationsNotShared,
    RestartLosesInvalidations,
    RollbackUnnoticed,
    RollbackUnnoticedByOthers,
    OvertakenRollbackUnnoticed,
}

use Breach::*;

/// A memory store with one breach of the contract.
#[derive(Debug, Clone)]
struct BrokenStore {
    inner: MemoryStore,
    breach: Breach,
    generations: LocalGenerations,
    /// The invalidations of each namespace, which some breaches lose.
    counters: Counters,
}

type Counters = Arc<Mutex<HashMap<String, Counter>>>;

impl Breach {
    fn loses_invalidations(self) -> bool {
        matches!(
            self,
            RestartLosesInvalidations
                | RollbackUnnoticed
                | RollbackUnnoticedByOthers
                | OvertakenRollbackUnnoticed
        )
    }
}

/// Is pending once, so that other futures are polled.
async fn yield_once() {
    let mut yielded = false;
    futures::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        match std::mem::replace(&mut yielded, true) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

fn value(text: &'static str) -> Entry {
    Entry::raw(text)
}

impl BrokenStore {
    fn new(inner: MemoryStore, breach: Breach) -> Self {
        Self { inner, breach, generations: LocalGenerations::new(), counters: Arc::default() }
    }

    /// Puts an entry if `stores` is `true`, but only after other futures were polled once.
    fn late_put(&self, key: KeyRef<'_>, entry: Entry, stores: bool) -> StoreFuture<bool> {
        let (inner, key) = (self.inner.clone(), key.to_key());
        StoreFuture::new(async move {
            yield_once().await;
            Ok(stores && inner.put(key.as_ref(), entry, None, PutMode::Always).await?)
        })
    }

    fn get_now(&self, key: KeyRef<'_>) -> Option<Entry> {
        self.inner.get(key).now_or_never().expect("in memory").expect("no error")
    }

    /// Returns the generation that `get_at` returns together with an entry.
    fn read(&self, namespace: &str) -> Option<Generation> {
        let current = now(self.generations.namespace(namespace).current());
        match self.breach {
            ReadGenerationIsOld => Some(Generation::new(current.incarnation(), 0)),
            breach => (!breach.loses_invalidations()).then_some(current),
        }
    }
}

fn ready<T: Send + 'static>(value: T) -> StoreFuture<T> {
    StoreFuture::ready(Ok(value))
}

impl Store for BrokenStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let found = self.get_now(key);
        match (self.breach, &found) {
            (GetFails, _) => StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable))),
            (GetFindsAbsentEntries, None) => ready(Some(value("ghost"))),
            (GetDropsFirstByte, Some(entry)) if entry.as_raw().is_some_and(|bytes| bytes.len() > 100) => {
                ready(entry.as_raw().map(|bytes| Entry::raw(bytes.slice(1..))))
            }
            (GetForgetsIndexes, Some(entry)) if entry_kind(entry) == EntryKind::Index => ready(None),
            (KeysAreTruncated, _) => {
                self.inner.get(KeyRef::new(&key.as_bytes()[..key.as_bytes().len().min(64)]))
            }
            _ => ready(found),
        }
    }

    fn peek(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        match (self.breach, self.get_now(key)) {
            (PeekFindsNothing, _) => ready(None),
            (PeekFindsExpired, None) if key.as_bytes().ends_with(b"expiry") => ready(Some(value("x"))),
            _ => self.get(key),
        }
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let zero = ttl == Some(Duration::ZERO);
        let (is_present, is_large) = (self.get_now(key).is_some(), entry.weight() > 150_000);
        match self.breach {
            KeysAreTruncated => {
                let key = &key.as_bytes()[..key.as_bytes().len().min(64)];
                self.inner.put(KeyRef::new(key), entry, ttl, mode)
            }
            PutReturnsFalse => self.inner.put(key, entry, ttl, mode).map_to(|_| false),
            PutKeepsOldEntry if mode == PutMode::Always && is_present && !zero => ready(true),
            PutIfAbsentReplaces if mode == PutMode::IfAbsent && !zero => {
                self.inner.put(key, entry, ttl, PutMode::Always).map_to(move |_| !is_present)
            }
            PutIfAbsentRaces if mode == PutMode::IfAbsent && !zero => self.late_put(key, entry, !is_present),
            PutIfAbsentCountsExpired if mode == PutMode::IfAbsent && key.as_bytes().ends_with(b"expiry") => {
                ready(false)
            }
            PutZeroStores if zero => self.inner.put(key, entry, None, mode),
            PutZeroKeepsOldEntry if zero => ready(false),
            PutZeroIfAbsentRemoves if zero => self.inner.put(key, entry, ttl, PutMode::Always),
            PutLongStoresNothing if ttl.is_some_and(|ttl| ttl.as_secs() > 1 << 40) => ready(false),
            PutTooLargeKeepsOldEntry if is_large => ready(false),
            NothingExpires if !zero => self.inner.put(key, entry, None, mode),
            ExpiresEarly => self.inner.put(key, entry, ttl.map(|ttl| ttl / 2), mode),
            _ => self.inner.put(key, entry, ttl, mode),
        }
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        match self.breach {
            RemoveReturnsFalse => self.inner.remove(key).map_to(|_| false),
            RemoveKeepsEntry => ready(self.get_now(key).is_some()),
            RemoveReturnsTrue => self.inner.remove(key).map_to(|_| true),
            _ => self.inner.remove(key),
        }
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let set = |sum: i64, ttl| {
            let put = self.inner.put(key, Entry::counter(sum), ttl, PutMode::Always);
            put.map_to(move |_| sum)
        };
        let minute = Some(Duration::from_secs(60));
        let found = self.get_now(key);
        match (self.breach, found.as_ref().and_then(Entry::as_counter)) {
            (IncrementStartsAtZero, None) if found.is_none() && initial.is_none() => set(delta, None),
            (IncrementIgnoresInitial, None) if found.is_none() && initial.is_some() => set(delta, None),
            (IncrementCountsValues, None) if found.is_some() => set(delta, None),
            (IncrementWraps, Some(number)) => set(number.wrapping_add(delta), None),
            (IncrementExtendsTtl, Some(number)) if delta == 1 => set(number + delta, minute),
            (IncrementShortensTtl, Some(number)) if delta == 1 => {
                set(number + delta, Some(Duration::from_secs(5)))
            }
            (IncrementRaces, number) if initial.is_some_and(|initial| initial.value() == 0) => {
                let sum = number.unwrap_or(0) + delta;
                self.late_put(key, Entry::counter(sum), true).map_to(move |_| sum)
            }
            _ => self.inner.increment(key, delta, initial),
        }
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (zero, found) = (ttl == Some(Duration::ZERO), self.get_now(key));
        match self.breach {
            CompareReplacesAny if !zero => self.inner.put(key, new, ttl, PutMode::Always),
            CompareNeverReplaces if expected.is_some() => ready(false),
            CompareNeverInserts if expected.is_none() => ready(false),
            CompareRaces if !zero => self.late_put(key, new, found.as_ref() == expected),
            CompareZeroStores if zero => self.inner.compare_and_set(key, expected, new, None),
            CompareZeroRemovesAny if zero => self.inner.remove(key),
            CompareFindsExpired if found.is_none() && key.as_bytes().ends_with(b"expiry") => ready(true),
            _ => self.inner.compare_and_set(key, expected, new, ttl),
        }
    }

    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        let mut found: Vec<_> = keys.iter().map(|key| self.get_now(*key)).collect();
        if self.breach == GetManyReorders {
            found.rotate_left(1.min(keys.len()));
        }
        ready(found)
    }

    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        let (breach, read) = (self.breach, self.read(namespace));
        self.get(key).map_to(move |found| (found.filter(|_| breach != GetAtFindsNothing), read))
    }

    fn get_many_at(
        &self,
        namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        let mut found: Vec<_> = keys.iter().map(|key| self.get_now(*key)).collect();
        if self.breach == GetManyAtReorders {
            found.reverse();
        }
        ready((found, self.read(namespace)))
    }

    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        let count = entries.len();
        match self.breach {
            PutManyStoresOne => self.inner.put_many(&entries[..1]).map_to(move |_| vec![true; count]),
            PutManyReturnsFalse => self.inner.put_many(entries).map_to(move |_| vec![false; count]),
            _ => self.inner.put_many(entries),
        }
    }

    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        let count = keys.len();
        match self.breach {
            RemoveManyReturnsFalse => self.inner.remove_many(keys).map_to(move |_| vec![false; count]),
            RemoveManyKeepsEntries => ready(keys.iter().map(|key| self.get_now(*key).is_some()).collect()),
            _ => self.inner.remove_many(keys),
        }
    }

    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        let (is_present, zero) = (self.get_now(key).is_some(), ttl == Some(Duration::ZERO));
        match self.breach {
            TouchDoesNothing => ready(is_present),
            TouchRevivesExpired if !is_present => self.inner.put(key, value("x"), ttl, PutMode::Always),
            TouchReturnsFalse => self.inner.touch(key, ttl).map_to(|_| false),
            TouchZeroKeepsEntry if zero => ready(is_present),
            _ => self.inner.touch(key, ttl),
        }
    }

    fn largest_entry(&self) -> Option<u64> {
        (self.breach == PutTooLargeKeepsOldEntry).then_some(150_000)
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        if self.breach.loses_invalidations() {
            let (counters, namespace) = (Arc::clone(&self.counters), namespace.to_owned());
            return Some(Arc::new(CountingGenerations {
                breach: self.breach,
                counters,
                namespace,
                newest: Mutex::default(),
            }));
        }
        let namespace = if self.breach == OneNamespace { "one" } else { namespace };
        let inner = match self.breach {
            GenerationsNotShared => LocalGenerations::new().namespace(namespace),
            _ => self.generations.namespace(namespace),
        };
        let begun = now(inner.current());
        let is_advanced = AtomicBool::new(false);
        Some(Arc::new(BrokenGenerations { inner, breach: self.breach, begun, is_advanced }))
    }
}

#[derive(Debug)]
struct BrokenGenerations {
    inner: Arc<dyn Generations>,
    breach: Breach,
    begun: Generation,
    is_advanced: AtomicBool,
}

fn now<T: Send + 'static>(future: StoreFuture<T>) -> T {
    future.now_or_never().expect("in memory").expect("no error")
}

impl BrokenGenerations {
    fn is_of_other_incarnation(&self, since: Generation) -> bool {
        since.incarnation() != self.begun.incarnation()
    }

    fn is_of_far_future(&self, since: Generation) -> bool {
        self.is_of_other_incarnation(since) && since.incarnation() > 0xffff_0000 << 32
    }

    /// Returns `true` if the breach makes `check` accept an entry of this generation.
    fn accepts(&self, since: Generation) -> bool {
        match self.breach {
            CheckAcceptsAheadOfCounter => {
                !self.is_of_other_incarnation(since) && since > now(self.inner.current())
            }
            CheckAcceptsOtherIncarnations => {
                self.is_of_other_incarnation(since) && !self.is_of_far_future(since)
            }
            CheckAcceptsFarFuture => self.is_of_far_future(since),
            _ => false,
        }
    }
}

impl Generations for BrokenGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        match self.breach {
            CurrentNeverAdvances => ready(self.begun),
            CurrentFails => StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable))),
            _ => self.inner.current(),
        }
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        match self.breach {
            ClearedNeverAdvances => ready(self.begun),
            ClearedAlwaysAdvances => self.inner.current(),
            _ => self.inner.cleared(),
        }
    }

    fn known_cleared(&self) -> Option<Generation> {
        (self.breach == KnownClearedIsAhead).then_some(Generation::new(self.begun.incarnation(), 1 << 40))
    }

    fn cleared_at(&self, _read: Generation) -> StoreFuture<Generation> {
        match self.breach {
            ClearedAtIsOld => ready(self.begun),
            _ => self.cleared(),
        }
    }

    fn check_at(
        &self,
        _read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        match self.breach {
            CheckAtIgnoresScopes => ready(Validity::Valid),
            _ => self.check(since, scopes, dependencies),
        }
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let found = now(self.inner.check(since, scopes, dependencies));
        let is_made = !dependencies.is_empty();
        let made = dependencies.iter().all(|made| self.accepts(made.since()));
        match self.breach {
            CheckAcceptsAheadOfCounter | CheckAcceptsOtherIncarnations | CheckAcceptsFarFuture
                if self.accepts(since) || is_made && made =>
            {
                ready(Validity::Valid)
            }
            CheckIgnoresEverything
                if scopes.is_empty() && !is_made && !self.is_of_other_incarnation(since) =>
            {
                ready(Validity::Valid)
            }
            CheckIgnoresScopes if !scopes.is_empty() => ready(Validity::Valid),
            CheckRejectsAll => ready(Validity::Invalid),
            FarFutureEndsIncarnation if self.is_of_far_future(since) => {
                now(self.inner.advance(&[Scope::EVERYTHING], Strength::Hard));
                ready(found)
            }
            SoftUndoesHard if self.is_advanced.load(Ordering::SeqCst) && found == Validity::Invalid => {
                ready(Validity::Stale)
            }
            DependIsForgotten if is_made => ready(Validity::Valid),
            _ => ready(found),
        }
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        match self.breach {
            AdvanceRaces if scopes == [Scope::tag("7")] => return ready(()),
            ClearedIgnoresValues if scopes == [Scope::VALUES] => return ready(()),
            _ => {}
        }
        if self.breach == SoftUndoesHard && scopes == [Scope::tag("t")] {
            self.is_advanced.store(strength == Strength::Soft, Ordering::SeqCst);
        }
        let strength = if self.breach == SoftIsHard { Strength::Hard } else { strength };
        self.inner.advance(scopes, strength)
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        match self.breach {
            DependReturnsOld => ready(Generation::new(0, 0)),
            _ => self.inner.depend(value),
        }
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        match self.breach {
            WrittenAlwaysAdvances => {
                now(self.inner.depend(value));
                self.inner.written(value, since)
            }
            WrittenInvalidatesNothing if value == Scope::value(b"v") => {
                self.inner.written(value, since).map_to(|_| None)
            }
            WrittenReturnsOldGeneration => {
                self.inner.written(value, since).map_to(move |sole| sole.map(|_| since))
            }
            WrittenMissesOtherWriters => {
                self.inner.written(value, since).map_to(move |sole| sole.or(Some(since)))
            }
            _ => self.inner.written(value, since),
        }
    }
}

trait MapTo<T> {
    fn map_to<U: Send + 'static>(self, to: impl FnOnce(T) -> U + Send + 'static) -> StoreFuture<U>;
}

impl<T: Send + 'static> MapTo<T> for StoreFuture<T> {
    fn map_to<U: Send + 'static>(self, to: impl FnOnce(T) -> U + Send + 'static) -> StoreFuture<U> {
        StoreFuture::new(async move { self.await.map(to) })
    }
}

/// The invalidations of one namespace. If the store is restored from a copy, the counter goes back.
#[derive(Debug, Clone, Default)]
struct Counter {
    incarnation: u64,
    counter: u64,
    /// For each scope, the values of the counter at its last hard and its last soft invalidation.
    marks: HashMap<Scope, (u64, u64)>,
    depended: HashSet<Scope>,
}

impl Counter {
    fn now(&self) -> Generation {
        Generation::new(self.incarnation + 1, self.counter)
    }

    fn bump(&mut self, scopes: &[Scope], strength: Strength) {
        self.counter += 1;
        for scope in scopes {
            let (hard, soft) = self.marks.entry(*scope).or_default();
            *if strength == Strength::Hard { hard } else { soft } = self.counter;
        }
    }

    fn since(&self, scope: Scope, since: Generation) -> Validity {
        if since.incarnation() != self.now().incarnation() || since.counter() > self.counter {
            return Validity::Invalid;
        }
        match self.marks.get(&scope) {
            Some((hard, _)) if *hard > since.counter() => Validity::Invalid,
            Some((_, soft)) if *soft > since.counter() => Validity::Stale,
            _ => Validity::Valid,
        }
    }
}

#[derive(Debug)]
struct CountingGenerations {
    breach: Breach,
    counters: Counters,
    namespace: String,
    /// The highest counter that this process has seen.
    newest: Mutex<u64>,
}

impl CountingGenerations {
    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Counter) -> T) -> StoreFuture<T> {
        let mut counters = self.counters.lock().expect("no panic");
        let counter = counters.entry(self.namespace.clone()).or_default();
        let mut newest = self.newest.lock().expect("no panic");
        if self.breach != RollbackUnnoticed && counter.counter < *newest {
            *counter = Counter { incarnation: counter.incarnation + 1, ..Counter::default() };
        }
        let done = work(counter);
        *newest = counter.counter;
        ready(done)
    }
}

impl Generations for CountingGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.with(|counter| counter.now())
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.with(|counter| {
            let cleared = |scope| counter.marks.get(&scope).map_or(0, |(hard, _)| *hard);
            let cleared = cleared(Scope::EVERYTHING).max(cleared(Scope::VALUES));
            Generation::new(counter.now().incarnation(), cleared)
        })
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|scope| (*scope, since));
        let all: Vec<_> = own.chain(dependencies.iter().map(|made| (made.value(), made.since()))).collect();
        self.with(|counter| {
            let found = all.iter().map(|(scope, since)| counter.since(*scope, *since)).collect::<Vec<_>>();
            let is_ahead = since.incarnation() == counter.now().incarnation() && since > counter.now();
            if self.breach == OvertakenRollbackUnnoticed && is_ahead {
                *counter = Counter { incarnation: counter.incarnation + 1, ..Counter::default() };
            }
            let has = |validity| found.contains(&validity).then_some(validity);
            has(Validity::Invalid).or(has(Validity::Stale)).unwrap_or(Validity::Valid)
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        self.with(|counter| counter.bump(scopes, strength))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.with(|counter| {
            counter.depended.insert(value);
            counter.now()
        })
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.with(|counter| {
            if !counter.depended.contains(&value) {
                return Some(since);
            }
            let is_sole = counter.since(value, since) != Validity::Invalid;
            counter.bump(&[value], Strength::Hard);
            is_sole.then(|| counter.now())
        })
    }
}

/// Returns the kit's report about a store with a breach.
async fn report(breach: Breach) -> String {
    let (store, pass) = timed_store();
    let store = BrokenStore::new(store, breach);
    let (counters, restarted) = (Arc::clone(&store.counters), store.clone());
    let mut contract = Contract::new(store).time(pass);
    if breach == RestartLosesInvalidations {
        contract = contract.restart(move || BrokenStore { counters: Arc::default(), ..restarted.clone() });
    } else if breach.loses_invalidations() {
        contract = contract.snapshot(move || {
            let (counters, saved) = (Arc::clone(&counters), counters.lock().expect("no panic").clone());
            move || *counters.lock().expect("no panic") = saved
        });
    }
    let verified = AssertUnwindSafe(contract.verify()).catch_unwind().await;
    let report = verified.expect_err(&format!("{breach:?} is not detected"));
    report.downcast_ref::<String>().expect("a message").clone()
}

/// Each breach, with three parts of its report: the method, the beginning of the rule, and the
/// observation.
const REPORTS: &[(Breach, &str, &str, &str)] = &[
    (
        GetFails,
        "Store::get",
        "Returns the entry under a key",
        "get of contract/put, after a put, failed: the store is unavailable (Unavailable)",
    ),
    (
        GetFindsAbsentEntries,
        "Store::get",
        "Returns the entry under a key",
        "get of contract/none, after nothing, returned a value of 5 bytes: b\"ghost\", expected no entry",
    ),
    (
        GetDropsFirstByte,
        "Store::get",
        "Entries are returned exactly as they were put",
        "get of contract/hostile, after a put, returned a value of 255 bytes: b\"\\x01\\x02",
    ),
    (
        GetForgetsIndexes,
        "Store::get",
        "Entries are returned exactly as they were put",
        "get of contract/put, after a put of an index, returned no entry, expected Index(",
    ),
    (
        KeysAreTruncated,
        "Store::get",
        "Keys are compared by their full bytes",
        "kkk... (4096 bytes), after puts under eight keys, returned the counter 7, expected the counter 6",
    ),
    (
        GetAtFindsNothing,
        "Store::get_at",
        "Returns the entry under a key, and the generation",
        "get_at of a stored entry returned no entry, expected a value of 1 bytes: b\"a\"",
    ),
    (
        GetManyAtReorders,
        "Store::get_many_at",
        "Returns the entries under several keys, and the generation",
        "get_many_at of a stored and an absent entry returned [no entry, a value of 1 bytes: b\"a\"]",
    ),
    (
        ReadGenerationIsOld,
        "Store::get_at",
        "The generation is the one that was current after the entry was read",
        "get_at returned Generation {",
    ),
    (
        PeekFindsNothing,
        "Store::peek",
        "Returns the same entry as get",
        "peek of a stored entry returned no entry, expected a value of 1 bytes: b\"x\"",
    ),
    (
        PeekFindsExpired,
        "Store::put",
        "The time to live counts from the put",
        "peek of an expired entry returned a value of 1 bytes: b\"x\", expected no entry",
    ),
    (
        PutReturnsFalse,
        "Store::put",
        "Stores an entry and returns true",
        "put under contract/put (ttl None, Always) returned false, expected true",
    ),
    (
        PutKeepsOldEntry,
        "Store::put",
        "Stores an entry and returns true",
        "get of contract/put, after a put, returned a value of 0 bytes: b\"\", expected a value of 3 bytes: b\"one\"",
    ),
    (
        PutIfAbsentReplaces,
        "Store::put",
        "Stores an entry and returns true",
        "get of contract/absent, after a put with IfAbsent over a stored entry, returned a value of 6 bytes: b\"second\"",
    ),
    (
        PutIfAbsentRaces,
        "Store::put",
        "IfAbsent is atomic",
        "the number of 16 concurrent puts with IfAbsent for one absent key that returned true is 16, expected 1",
    ),
    (
        PutIfAbsentCountsExpired,
        "Store::put",
        "The time to live counts from the put",
        "put under contract/expiry (ttl None, IfAbsent) returned false, expected true",
    ),
    (
        PutZeroStores,
        "Store::put",
        "A zero ttl stores nothing",
        "put under contract/zero (ttl Some(0ns), Always) returned true, expected false",
    ),
    (
        PutZeroKeepsOldEntry,
        "Store::put",
        "A zero ttl stores nothing",
        "get of contract/zero, after a put with a zero ttl, returned a value of 3 bytes: b\"old\", expected no entry",
    ),
    (
        PutZeroIfAbsentRemoves,
        "Store::put",
        "A zero ttl stores nothing",
        "get of contract/zero, after a put with IfAbsent and a zero ttl, returned no entry",
    ),
    (
        PutLongStoresNothing,
        "Store::put",
        "A ttl that is too long",
        "after a put with a ttl of 18446744073709551615.999999999s, returned no entry, expected the counter 0",
    ),
    (
        PutTooLargeKeepsOldEntry,
        "Store::put",
        "If the put fails, or the entry is too large",
        "after a put of an entry that is too large, returned a value of 3 bytes: b\"old\", expected no entry",
    ),
    (
        NothingExpires,
        "Store::put",
        "The time to live counts from the put",
        "get of contract/expiry, after 10 of 10 seconds, returned a value of 1 bytes: b\"x\", expected no entry",
    ),
    (
        ExpiresEarly,
        "Store::put",
        "The time to live counts from the put",
        "get of contract/expiry, after 9 of 10 seconds, returned no entry, expected a value of 1 bytes",
    ),
    (
        RemoveReturnsFalse,
        "Store::remove",
        "Removes an entry",
        "remove of a stored entry returned false, expected true",
    ),
    (
        RemoveKeepsEntry,
        "Store::remove",
        "Removes an entry",
        "get of contract/remove, after a removal, returned a value of 1 bytes: b\"x\", expected no entry",
    ),
    (
        RemoveReturnsTrue,
        "Store::remove",
        "Removes an entry",
        "remove of an absent entry returned true, expected false",
    ),
    (
        IncrementStartsAtZero,
        "Store::increment",
        "Fails with StoreErrorKind::Missing",
        "the error of increment of an absent counter without an initial value is None, expected Some(Missing)",
    ),
    (
        IncrementIgnoresInitial,
        "Store::increment",
        "Adds to a counter atomically",
        "increment by 2 of an absent counter, with the initial value 5, returned 2, expected 7",
    ),
    (
        IncrementCountsValues,
        "Store::increment",
        "Fails with StoreErrorKind::NotANumber",
        "the error of increment of a value is None, expected Some(NotANumber)",
    ),
    (
        IncrementWraps,
        "Store::increment",
        "Fails with StoreErrorKind::Overflow",
        "the error of increment of the counter 4 by i64::MAX is None, expected Some(Overflow)",
    ),
    (
        IncrementRaces,
        "Store::increment",
        "Adds to a counter atomically",
        "the sum that two of 64 concurrent increments by 1 of an absent counter returned is Some(1), expected None",
    ),
    (
        IncrementExtendsTtl,
        "Store::increment",
        "An increment does not change the time to live",
        "after 10 seconds, with an increment after 6 of them, returned the counter 2, expected no entry",
    ),
    (
        IncrementShortensTtl,
        "Store::increment",
        "An increment does not change the time to live",
        "after 9 of 10 seconds, with an increment after 3 of them, returned no entry, expected the counter 2",
    ),
    (
        CompareReplacesAny,
        "Store::compare_and_set",
        "Stores new atomically if the current entry equals",
        "compare_and_set of a stored entry with expected None returned true, expected false",
    ),
    (
        CompareNeverReplaces,
        "Store::compare_and_set",
        "Stores new atomically if the current entry equals",
        "compare_and_set of a stored entry with an equal expected entry returned false, expected true",
    ),
    (
        CompareNeverInserts,
        "Store::compare_and_set",
        "Stores new atomically if the current entry equals",
        "compare_and_set of an absent entry with expected None returned false, expected true",
    ),
    (
        CompareRaces,
        "Store::compare_and_set",
        "Stores new atomically if the current entry equals",
        "the number of 16 concurrent replacements of one entry that returned true is 16, expected 1",
    ),
    (
        CompareZeroStores,
        "Store::compare_and_set",
        "With a zero ttl",
        "after a compare_and_set with a zero ttl, returned a value of 1 bytes: b\"b\", expected no entry",
    ),
    (
        CompareZeroRemovesAny,
        "Store::compare_and_set",
        "With a zero ttl",
        "compare_and_set with a zero ttl and another expected entry returned true, expected false",
    ),
    (
        CompareFindsExpired,
        "Store::compare_and_set",
        "Stores new atomically if the current entry equals",
        "compare_and_set of an expired entry with an equal expected entry returned true, expected false",
    ),
    (
        GetManyReorders,
        "Store::get_many",
        "Returns the entries under several keys",
        "get_many of a stored, an absent and a stored entry returned [no entry, a value of 1 bytes: b\"c\", a value",
    ),
    (
        PutManyStoresOne,
        "Store::put_many",
        "Stores several entries",
        "get of contract/many/c, after put_many, returned no entry, expected a value of 1 bytes: b\"c\"",
    ),
    (
        PutManyReturnsFalse,
        "Store::put_many",
        "Stores several entries",
        "put_many of two entries returned [false, false], expected [true, true]",
    ),
    (
        RemoveManyReturnsFalse,
        "Store::remove_many",
        "Removes several entries",
        "entry returned [false, false, false], expected [true, false, true]",
    ),
    (
        RemoveManyKeepsEntries,
        "Store::remove_many",
        "Removes several entries",
        "get of contract/many/a, after remove_many, returned a value of 1 bytes: b\"a\", expected no entry",
    ),
    (
        TouchDoesNothing,
        "Store::touch",
        "Sets the remaining time to live",
        "after 15 seconds, with a put for 10 and a touch for 20 before, returned no entry",
    ),
    (
        TouchRevivesExpired,
        "Store::touch",
        "Sets the remaining time to live",
        "touch of an expired entry returned Some(true), expected Some(false)",
    ),
    (
        TouchReturnsFalse,
        "Store::touch",
        "Sets the remaining time to live",
        "touch of a stored entry returned false, expected true",
    ),
    (
        TouchZeroKeepsEntry,
        "Store::touch",
        "A zero ttl removes the entry",
        "after a touch with a zero ttl, returned a value of 1 bytes: b\"x\", expected no entry",
    ),
    (
        CurrentNeverAdvances,
        "Generations::current",
        "The counter only grows",
        "the counter was 0, and is 0 after 200 advances",
    ),
    (
        CurrentFails,
        "Generations::current",
        "Returns the generation that entries made from now on",
        "current failed: the store is unavailable (Unavailable)",
    ),
    (
        ClearedNeverAdvances,
        "Generations::cleared",
        "Returns the generation of the last hard invalidation",
        "before and after everything was invalidated",
    ),
    (
        ClearedAlwaysAdvances,
        "Generations::cleared",
        "Returns the generation of the last hard invalidation",
        "cleared, after a tag and a path were invalidated, returned Generation {",
    ),
    (
        ClearedIgnoresValues,
        "Generations::cleared",
        "Returns the generation of the last hard invalidation",
        "before and after all values were invalidated",
    ),
    (
        ClearedAtIsOld,
        "Generations::cleared_at",
        "Returns the same as cleared, no older than the generation read",
        "cleared_at, of a generation after a clear, returned Generation {",
    ),
    (
        KnownClearedIsAhead,
        "Generations::known_cleared",
        "Returns what this process knows of cleared",
        "known_cleared returned Generation {",
    ),
    (
        CheckAtIgnoresScopes,
        "Generations::check_at",
        "Returns the same as check, for an entry",
        "check_at, of an older entry, after a Soft invalidation, returned Valid, expected Stale",
    ),
    (
        CheckIgnoresEverything,
        "Generations::check",
        "Every entry has Scope::EVERYTHING, even if the scope is not among scopes",
        "everything was invalidated: check of an older entry without scopes",
    ),
    (
        CheckIgnoresScopes,
        "Generations::advance",
        "After advance has returned",
        "200 paths were invalidated: check of an older entry of one of them",
    ),
    (
        CheckRejectsAll,
        "Generations::check",
        "An entry is valid if",
        "no invalidation: check of an entry of 200 paths",
    ),
    (
        CheckAcceptsAheadOfCounter,
        "Generations::check",
        "An entry of another incarnation, or ahead",
        "the counter is 0: check of an entry ahead of it",
    ),
    (
        CheckAcceptsFarFuture,
        "Generations::check",
        "An entry whose incarnation begins more than ten years",
        "check of an entry whose incarnation begins in the far future",
    ),
    (
        CheckAcceptsOtherIncarnations,
        "Generations::check",
        "An entry of another incarnation, or ahead",
        "check of an entry of another incarnation",
    ),
    (
        FarFutureEndsIncarnation,
        "Generations::check",
        "An entry whose incarnation begins more than ten years",
        "an entry of the far future was checked: check of an entry of the current generation",
    ),
    (
        AdvanceRaces,
        "Generations::advance",
        "After advance has returned",
        "32 tags were invalidated concurrently: check of an older entry of one of them",
    ),
    (
        SoftIsHard,
        "Generations::advance",
        "Entries become stale",
        "a soft invalidation of a tag: check of an older entry of the tag",
    ),
    (
        SoftUndoesHard,
        "Generations::advance",
        "A soft invalidation never undoes a Hard one",
        "a hard invalidation of a tag, then a soft one: check of an older entry of the tag",
    ),
    (
        DependReturnsOld,
        "Generations::depend",
        "Records that an entry is about to be made from a value",
        "depend returned Generation { incarnation: 0, counter: 0, stamp: 0 }, though",
    ),
    (
        DependIsForgotten,
        "Generations::written",
        "Invalidates the dependents of a value",
        "the value was written: check of an entry made from a value",
    ),
    (
        WrittenAlwaysAdvances,
        "Generations::written",
        "Invalidates the dependents of a value",
        "written, of a value that depend was never called for, returned Some(",
    ),
    (
        WrittenInvalidatesNothing,
        "Generations::written",
        "Returns the generation that dependencies on the new value carry",
        "written returned None, though no other writer has written the value",
    ),
    (
        WrittenReturnsOldGeneration,
        "Generations::written",
        "Returns the generation that dependencies on the new value carry",
        "written returned this generation: check of an entry made from a value",
    ),
    (
        WrittenMissesOtherWriters,
        "Generations::written",
        "Returns the generation that dependencies on the new value carry",
        "written, of a value that was written since the given generation, returned Some(",
    ),
    (
        OneNamespace,
        "Store::generations",
        "An invalidation in one namespace",
        "everything in a namespace was invalidated: check of an older entry of another namespace",
    ),
    (
        GenerationsNotShared,
        "Store::generations",
        "Returns the invalidations of a namespace",
        "everything was invalidated through another handle to the namespace: check of an older entry",
    ),
    (
        RestartLosesInvalidations,
        "Generations::check",
        "No eviction may make an invalid entry valid again",
        "a path was invalidated, and the store restarted with its entries: check of an older entry",
    ),
    (
        RollbackUnnoticed,
        "Generations::check",
        "The loss is noticed by a process",
        "a path was invalidated, and the counter went back: check of an older entry of the path",
    ),
    (
        RollbackUnnoticedByOthers,
        "Generations::check",
        "The loss is noticed by a process",
        "check of an older entry, after the later one was checked",
    ),
    (
        OvertakenRollbackUnnoticed,
        "Generations::check",
        "A generation whose stamp differs",
        "the counter went back and was advanced 1 times: check of an older entry of the path",
    ),
];

#[tokio::test]
async fn report_names_method_rule_and_observation_of_each_breach() {
    for (breach, method, rule, seen) in REPORTS {
        let report = report(*breach).await;
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines.len(), 3, "{breach:?}: {report}");
        assert_eq!(lines[0], format!("`{method}` breaks the contract"), "{breach:?}: {report}");
        assert!(lines[1].starts_with(&format!("  rule: {rule}")), "{breach:?}: {report}");
        assert!(lines[2].starts_with("  seen: ") && lines[2].contains(seen), "{breach:?}: {report}");
    }
}
