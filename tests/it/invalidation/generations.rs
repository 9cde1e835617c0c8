//! An invalidation makes all entries in its scopes invalid, and few others. An attacker cannot
//! select the others. Also: remote stores whose generation counter goes back.
//!
//! A store has exact marks for the first scopes that are invalidated. It marks later scopes in
//! buckets. Scopes that share their buckets are invalidated together.
//!
//! An incarnation is the life of one generation counter. A process that notices a lost or outdated
//! counter begins a new incarnation, in which all older entries are invalid.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use futures::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{
    CacheKey, Entry, Generations, InitialCounter, KeyRef, LocalGenerations, PutMode, Scope, StoreFuture,
    Strength, Validity,
};
use tower_response_cache::{Cache, Invalidation, MemoryStore, Policy, SiteCacheLayer, Store, Ttl};

const PAGES: usize = 400;

/// Returns how many of [`PAGES`] stored pages are hits after `invalidations` of unrelated scopes.
async fn hits_after(cache: &Cache, invalidations: usize, name: fn(usize) -> Invalidation) -> usize {
    let (stack, _) = site(cache);
    let uri = |page| format!("/pages/{page}?x={page}");
    for page in 0..PAGES {
        send(&stack, get(&uri(page))).await;
    }
    for number in 0..invalidations {
        assert_eq!(cache.invalidate(name(number)).await, Delivery::Delivered);
    }
    let mut hits = 0;
    for page in 0..PAGES {
        hits += usize::from(send(&stack, get(&uri(page))).await.is_hit());
    }
    hits
}

fn site(cache: &Cache) -> (Stack, Calls) {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    (site_over(cache, inner), calls)
}

/// Returns unrelated invalidations: by path, by URI, and by path on a host.
fn names() -> [fn(usize) -> Invalidation; 3] {
    [
        |number| Invalidation::path(format!("/other/{number:x}")),
        |number| Invalidation::uri(format!("/other?{number:x}")),
        |number| Invalidation::path(format!("/other/{number}")).host("shop.example"),
    ]
}

#[tokio::test(start_paused = true)]
async fn unrelated_invalidations_keep_nearly_all_pages_in_memory() {
    for name in names() {
        let cache = Cache::new(MemoryStore::with_max_bytes(32 << 20));
        let hits = hits_after(&cache, 10_000, name).await;
        assert!(hits >= PAGES * 95 / 100, "{hits} of {PAGES}");
    }
}

#[tokio::test(start_paused = true)]
async fn unrelated_invalidations_in_a_record_keep_most_pages() {
    for name in names() {
        let store = MemoryStore::with_max_bytes(32 << 20);
        let cache = Cache::new(Faulty::new(store, Fault::NoGenerations));
        let hits = hits_after(&cache, 800, name).await;
        assert!(hits >= PAGES * 90 / 100, "{hits} of {PAGES}");
    }
}

fn ready<T: Send + 'static>(future: StoreFuture<T>) -> T {
    future.now_or_never().expect("local").expect("ok")
}

fn local() -> Arc<dyn Generations> {
    LocalGenerations::new().namespace("n")
}

fn since(table: &dyn Generations, since: tower_response_cache::store::Generation, scope: Scope) -> Validity {
    ready(table.check(since, &[scope], &[]))
}

fn advance(table: &dyn Generations, scope: Scope) {
    ready(table.advance(&[scope], Strength::Hard));
}

/// A client that chooses the paths of writes can compute their digests, but does not know the
/// secret that selects the buckets.
#[test]
fn a_million_paths_invalidate_neither_root_nor_other_pages() {
    let table = local();
    let pages = [Scope::path("/"), Scope::subtree("/"), Scope::path("/page"), Scope::uri("/page", None)];
    for number in 0..1_000_000 {
        let before = ready(table.current());
        advance(&*table, Scope::path(&format!("/{number:x}")));
        let validity = ready(table.check(before, &pages, &[]));
        assert_eq!(validity, Validity::Valid, "{number}");
    }
}

/// Every bucket of paths is marked. Scopes of other kinds and scopes on a host stay valid.
#[test]
fn scope_kinds_and_hosts_are_separate_and_wide_scopes_exact() {
    let table = local();
    let before = ready(table.current());
    let invalidated = |number| Scope::path(&format!("/{number}"));
    (0..400_000).for_each(|number| advance(&*table, invalidated(number)));
    assert_eq!(
        since(&*table, before, Scope::path("/other")),
        Validity::Invalid,
        "all buckets of paths are marked"
    );
    let others = [
        Scope::path("/"),
        Scope::subtree("/"),
        Scope::subtree("/a"),
        Scope::uri("/", None),
        Scope::uri("/a", None),
        Scope::tag("/a"),
        Scope::value(b"/a"),
        Scope::path("/a").on_host("h"),
        Scope::path("/").on_host("h"),
        Scope::subtree("/").on_host("h"),
    ];
    for scope in others {
        assert_eq!(since(&*table, before, scope), Validity::Valid, "{scope:?}");
    }
}

/// Each invalidation of a subtree covers that subtree. The first 5,460 invalidations cover no other
/// subtree, and later ones share buckets.
#[test]
fn first_5460_subtrees_are_exact_and_later_ones_are_not_lost() {
    let table = local();
    let before = ready(table.current());
    let named = |number: usize| Scope::subtree(&format!("/named/{number}"));
    for number in 0..5460 {
        let since_last = ready(table.current());
        advance(&*table, named(number));
        assert_eq!(since(&*table, since_last, named(number)), Validity::Invalid);
        assert_eq!(since(&*table, before, Scope::subtree("/other")), Validity::Valid, "{number}");
    }
    for number in 5460..7000 {
        advance(&*table, named(number));
        assert_eq!(since(&*table, before, named(number)), Validity::Invalid, "{number}");
    }
    let now = ready(table.current());
    (0..7000).for_each(|number| assert_eq!(since(&*table, now, named(number)), Validity::Valid, "{number}"));
}

/// A soft invalidation of one scope and a hard invalidation of another scope must not add up to a
/// hard invalidation of the first scope.
#[test]
fn soft_and_hard_marks_of_unrelated_scopes_do_not_add_up() {
    let table = local();
    for number in 0..2000 {
        let before = ready(table.current());
        let scope = Scope::tag(&format!("soft {number}"));
        ready(table.advance(&[scope], Strength::Soft));
        assert_eq!(since(&*table, before, scope), Validity::Stale);
        advance(&*table, Scope::tag(&format!("hard {number}")));
        assert_eq!(since(&*table, before, scope), Validity::Stale);
        advance(&*table, scope);
        assert_eq!(since(&*table, before, scope), Validity::Invalid);
    }
}

// ---- A store whose record of invalidations can be rolled back ----

/// A store that keeps the record of invalidations as an entry. Tests can restore, replace or lose
/// the record, or have a late replica answer.
#[derive(Debug, Clone)]
pub(crate) struct Remote(Arc<Record>);

#[derive(Debug)]
struct Record {
    entries: MemoryStore,
    is_local: bool,
    key: Mutex<Option<CacheKey>>,
    /// The number of reads that a late replica still answers, and the record that it returns.
    late: Mutex<(usize, Option<Entry>)>,
    replaced: AtomicUsize,
}

impl Remote {
    pub(crate) fn new() -> Self {
        Self::create(false)
    }

    /// Creates a local store, which answers at once.
    pub(crate) fn local() -> Self {
        Self::create(true)
    }

    fn create(is_local: bool) -> Self {
        let record = Record {
            entries: MemoryStore::with_max_bytes(8 << 20),
            is_local,
            key: Mutex::default(),
            late: Mutex::default(),
            replaced: AtomicUsize::new(0),
        };
        Self(Arc::new(record))
    }

    fn key(&self) -> CacheKey {
        self.0.key.lock().expect("not poisoned").clone().expect("a record")
    }

    pub(crate) fn record(&self) -> Entry {
        ready(self.0.entries.get(self.key().as_ref())).expect("a record")
    }

    pub(crate) fn put_back(&self, record: Entry) {
        assert!(ready(self.0.entries.put(self.key().as_ref(), record, None, PutMode::Always)));
    }

    fn lose(&self) {
        drop(self.0.entries.remove(self.key().as_ref()));
    }

    fn answer_late(&self, reads: usize, record: Entry) {
        *self.0.late.lock().expect("not poisoned") = (reads, Some(record));
    }

    pub(crate) fn replaced(&self) -> usize {
        self.0.replaced.load(Ordering::SeqCst)
    }
}

impl Store for Remote {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let is_record =
            self.0.key.lock().expect("not poisoned").as_ref().is_some_and(|own| *own == key.to_key());
        let mut late = self.0.late.lock().expect("not poisoned");
        let entry = match is_record && late.0 > 0 {
            true => {
                late.0 -= 1;
                StoreFuture::ready(Ok(late.1.clone()))
            }
            false => self.0.entries.get(key),
        };
        if self.is_local() {
            return entry;
        }
        StoreFuture::new(async move {
            tokio::task::yield_now().await;
            entry.await
        })
    }

    fn is_local(&self) -> bool {
        self.0.is_local
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.0.entries.put(key, entry, ttl, mode)
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.0.entries.remove(key)
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.0.entries.increment(key, delta, initial)
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        if new.as_raw().is_some() {
            self.0.key.lock().expect("not poisoned").get_or_insert_with(|| key.to_key());
        }
        let is_record = new.as_raw().is_some();
        let is_set = ready(self.0.entries.compare_and_set(key, expected, new, ttl));
        self.0.replaced.fetch_add(usize::from(is_set && is_record), Ordering::SeqCst);
        StoreFuture::ready(Ok(is_set))
    }
}

pub(crate) fn process(store: &Remote) -> (Cache, Stack) {
    let cache = Cache::new(store.clone());
    let (stack, _) = site(&cache);
    (cache, stack)
}

pub(crate) async fn fill(stack: &Stack, uri: &str) {
    send(stack, get(uri)).await;
    assert!(send(stack, get(uri)).await.is_hit(), "stored");
}

#[tokio::test(start_paused = true)]
async fn a_process_keeps_an_invalidation_after_a_record_rollback() {
    // The record is restored from a time before the invalidation, or lost and then created again by
    // another process.
    for is_lost in [false, true] {
        let store = Remote::new();
        let (cache, stack) = process(&store);
        fill(&stack, "/").await;
        let before = store.record();
        assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
        match is_lost {
            false => store.put_back(before),
            true => {
                store.lose();
                let (_, other) = process(&store);
                assert!(!send(&other, get("/b")).await.is_hit());
            }
        }
        assert!(!send(&stack, get("/")).await.is_hit(), "{is_lost}");
        // Both processes can still store pages and share them.
        fill(&stack, "/a").await;
        assert!(send(&process(&store).1, get("/a")).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn short_lived_namespace_handles_share_seen_generations() {
    let store = Remote::new();
    let cache = Cache::new(store.clone());
    let tenant = || cache.with_namespace("tenant").expect("valid");
    fill(&site(&tenant()).0, "/").await;
    let before = store.record();
    assert_eq!(tenant().invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    store.put_back(before);
    assert!(!send(&site(&tenant()).0, get("/")).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_newer_entry_reveals_a_lost_invalidation() {
    let store = Remote::new();
    let (cache, stack) = process(&store);
    fill(&stack, "/").await;
    let before = store.record();
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    fill(&stack, "/later").await;
    store.put_back(before);
    // This process has seen no invalidation.
    let (_, other) = process(&store);
    assert!(!send(&other, get("/later")).await.is_hit(), "the entry is ahead of the counter");
    assert!(!send(&other, get("/")).await.is_hit(), "the new incarnation invalidates all older entries");
}

#[tokio::test(start_paused = true)]
async fn a_late_replica_is_read_again_and_invalidates_no_entry() {
    let store = Remote::new();
    let (cache, stack) = process(&store);
    let before = store.record_after(&stack).await;
    assert_eq!(cache.invalidate(Invalidation::path("/other")).await, Delivery::Delivered);
    fill(&stack, "/").await;
    let writes = store.replaced();
    store.answer_late(1, before);
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(store.replaced(), writes, "no new incarnation");
}

impl Remote {
    /// Stores a page, which creates the record, and returns the record.
    async fn record_after(&self, stack: &Stack) -> Entry {
        fill(stack, "/first").await;
        self.record()
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_of_two_processes_begins_a_new_incarnation() {
    let store = Remote::new();
    let (one, first) = process(&store);
    let (two, second) = process(&store);
    let before = store.record_after(&first).await;
    assert_eq!(one.invalidate(Invalidation::path("/a")).await, Delivery::Delivered);
    assert_eq!(two.invalidate(Invalidation::path("/b")).await, Delivery::Delivered);
    store.put_back(before);
    let writes = store.replaced();
    let all = futures::future::join_all([&first, &second].map(|stack| send(stack, get("/first")))).await;
    assert!(all.iter().all(|answer| !answer.is_hit()));
    fill(&first, "/c").await;
    assert!(send(&second, get("/c")).await.is_hit(), "both processes have the same generations");
    assert_eq!(
        store.replaced(),
        writes + 2,
        "one write begins the new incarnation, and the process that had seen more clears it once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_bypasses_the_cache() {
    let store = Remote::new();
    let (cache, stack) = process(&store);
    fill(&stack, "/").await;
    let own = store.record();
    let own_bytes = own.as_raw().expect("a record is raw");
    for version in [own_bytes[0] + 1, 0xff] {
        let mut bytes = own_bytes.to_vec();
        bytes[0] = version;
        let later = Entry::raw(bytes);
        store.put_back(later.clone());
        assert!(!send(&stack, get("/")).await.is_hit());
        assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Queued);
        assert!(!send(&process(&store).1, get("/")).await.is_hit());
        assert_eq!(store.record(), later);
    }
    store.put_back(own);
    assert!(!send(&stack, get("/")).await.is_hit(), "the invalidations are queued");
    while cache.undelivered() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    fill(&stack, "/").await;
    assert!(send(&stack, get("/")).await.is_hit());
}

/// Only the invalidation by the POST itself advances the generation, so the response stays
/// storable.
#[tokio::test(start_paused = true)]
async fn a_post_response_is_stored_if_invalidations_are_a_record() {
    for store in [Remote::new(), Remote::local()] {
        let lines = &[("cache-control", "max-age=60"), ("content-location", "/list")];
        let (inner, _) = origin(|_, call| numbered(lines, call));
        let policy = Policy::rfc9111().cache_status(true);
        let stack = SiteCacheLayer::new(&Cache::new(store))
            .policy(policy.build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        for written in ["1", "2"] {
            assert_eq!(send(&stack, request("POST", "/list", &[])).await.text(), written);
            let hit = send(&stack, get("/list")).await;
            assert_eq!((hit.text(), hit.is_hit()), (written, true));
        }
    }
}

/// Another program may have written the record, so the cache does not trust its counter.
#[tokio::test]
async fn an_exhausted_counter_in_the_record_is_replaced() {
    #[derive(Debug, Clone)]
    struct Plain(MemoryStore, Arc<std::sync::Mutex<Option<CacheKey>>>);
    impl Store for Plain {
        fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
            self.1.lock().expect("not poisoned").get_or_insert_with(|| key.to_key());
            self.0.get(key)
        }
        fn put(&self, k: KeyRef<'_>, e: Entry, t: Option<Duration>, m: PutMode) -> StoreFuture<bool> {
            self.0.put(k, e, t, m)
        }
        fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
            self.0.remove(key)
        }
        fn increment(&self, k: KeyRef<'_>, d: i64, i: Option<InitialCounter>) -> StoreFuture<i64> {
            self.0.increment(k, d, i)
        }
        fn compare_and_set(
            &self,
            k: KeyRef<'_>,
            e: Option<&Entry>,
            n: Entry,
            t: Option<Duration>,
        ) -> StoreFuture<bool> {
            self.0.compare_and_set(k, e, n, t)
        }
    }
    let store = Plain(memory_store(1 << 20), Arc::default());
    let cache = Cache::new(store.clone());
    assert_eq!(cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
    let key = store.1.lock().expect("not poisoned").clone().expect("seen");
    let mut bytes = vec![1];
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend(u64::MAX.to_le_bytes());
    store.0.put(key.as_ref(), Entry::raw(Bytes::from(bytes)), None, PutMode::Always).await.expect("put");
    cache.set("k", &1, Ttl::Forever).await.expect("set");
    assert_eq!(cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
    assert!(cache.get::<u32>("k").await.expect("read").is_none(), "it was invalidated");
}
