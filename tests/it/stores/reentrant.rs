//! Foreign code that uses the cache while the cache calls or drops it: stores, buffers, wakers and
//! subscribers.

use crate::stores::unlocked::in_time;
use crate::support::*;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{join, join_all, poll_fn};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::error::BoxError;
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::store::{Entry, Generations, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{
    Cache, Invalidation, MemoryStore, PreconditionLayer, RouteCacheLayer, SiteCacheLayer, Store, Ttl,
};

type Site = BoxCloneSyncService<Request<Body>, Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible>;

/// The cache, the site and the store that foreign code uses.
#[derive(Clone)]
struct Shop {
    cache: Cache,
    site: Site,
    store: MemoryStore,
}

thread_local! {
    static IS_MEDDLING: Cell<bool> = const { Cell::new(false) };
}

/// The maximum number of runs of foreign code. Without this limit, the runs would never end: each
/// run causes background writes, which run foreign code again.
const MOST_RUNS: usize = 3000;

/// Foreign code that uses the cache, and counts its runs.
#[derive(Default)]
struct Meddler {
    shop: OnceLock<Shop>,
    runs: AtomicUsize,
}

impl Meddler {
    /// Starts one of several operations of the cache, and drops it if it would wait. Does nothing
    /// if this thread is already in this function, or after [`MOST_RUNS`] runs.
    fn meddle(&self) {
        let Some(shop) = self.shop.get() else { return };
        if self.runs.load(Ordering::Relaxed) == MOST_RUNS || IS_MEDDLING.replace(true) {
            return;
        }
        shop.use_once(self.runs.fetch_add(1, Ordering::Relaxed));
        IS_MEDDLING.set(false);
    }
}

const PAGES: [&str; 5] = ["/page", "/varies", "/private", "/fails", "/unread"];

impl Shop {
    fn use_once(&self, operation: usize) {
        let Self { cache, site, store } = self;
        let key = KeyRef::new([&b"a"[..], b"b", b"c"][operation / 12 % 3]);
        match operation % 12 {
            0 => drop(send(site, request("PUT", "/page", &[])).now_or_never()),
            1 => drop(cache.get::<u64>("value").now_or_never()),
            2 => drop(cache.set("value", &7, MINUTE).now_or_never()),
            3 => drop(cache.incr("counter", 1).now_or_never()),
            4 => drop(cache.get_or_set("computed", MINUTE, || async { 1_u64 }).now_or_never()),
            5 => drop(cache.delete("other").now_or_never()),
            6 => drop(cache.invalidate(Invalidation::tag("other")).now_or_never()),
            7 => drop(store.get(key).now_or_never()),
            8 => drop(store.put(key, Entry::raw("new"), None, PutMode::Always).now_or_never()),
            9 => drop(store.remove(key).now_or_never()),
            _ => drop(send(site, get(PAGES[operation / 12 % PAGES.len()])).now_or_never()),
        }
    }

    /// Uses all layers and values twice, by misses, hits, collapsed requests and writes.
    async fn use_everything(&self) {
        let Self { cache, site, .. } = self;
        for round in 0..2_u64 {
            for page in PAGES {
                let two = join(send(site, get(page)), send(site, get(page)));
                two.await;
                send(site, get_with(page, &[("x-a", "1")])).await;
                drop(site.clone().oneshot(get(page)).await);
                let mut abandoned = Box::pin(send(site, get_with(page, &[("x-a", "2")])));
                let _ = futures::poll!(&mut abandoned);
            }
            let writes = (0..3).map(|_| send(site, request("PUT", "/page", &[])));
            join_all(writes).await;
            let _ = cache.set("value", &round, Ttl::Forever).await;
            let _ = cache.set("other", &round, Duration::ZERO).await;
            let _ = cache.get::<u64>("value").await;
            let _ = cache.set_counter("counter", 1, MINUTE).await;
            let _ = cache.incr("counter", 1).await;
            let compute = || {
                cache.get_or_set("computed", MINUTE, || async {
                    pause().await;
                    round
                })
            };
            let _ = join(compute(), compute()).await;
            let _ = cache.set_many([("value", round), ("other", round)], MINUTE).await;
            let _ = cache.delete_many(["value", "other"]).await;
            let _ = cache.touch("counter", MINUTE).await;
            let _ = cache.invalidate(Invalidation::path("/page").soft()).await;
            send(site, get("/page")).await;
            let _ = cache.clear().await;
        }
        join(cache.wait_idle(), cache.wait_idle()).await;
        join(cache.shutdown(), cache.shutdown()).await;
    }
}

/// A buffer that runs foreign code when it is dropped.
struct Buffer(Vec<u8>, Arc<Meddler>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.1.meddle();
    }
}

fn buffer(bytes: impl Into<Vec<u8>>, meddler: &Arc<Meddler>) -> Bytes {
    Bytes::from_owner(Buffer(bytes.into(), Arc::clone(meddler)))
}

/// Returns an entry whose bytes are in a foreign buffer.
fn foreign_entry(size: usize, meddler: &Arc<Meddler>) -> Entry {
    let clock = Clock::system();
    let frame = Entry::raw(vec![b'x'; size]).encode(&clock);
    Entry::decode(buffer(frame, meddler), &clock).expect("an entry")
}

/// Creates a site of three layers over a store, which the meddler uses from now on. The bodies and
/// field values of its handler are in the meddler's buffers.
fn open_shop(store: impl Store, memory: MemoryStore, meddler: &Arc<Meddler>) -> Shop {
    let cache = Cache::new(store);
    let owner = Arc::clone(meddler);
    let inner = service_fn(move |request: Request<Body>| {
        let owner = Arc::clone(&owner);
        async move {
            pause().await;
            let (status, lines): (u16, &[(&str, &str)]) = match request.uri().path() {
                "/varies" => (200, &[("vary", "x-a")]),
                "/private" => (200, &[("cache-control", "private")]),
                "/fails" => (500, &[]),
                _ => (200, &[("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")]),
            };
            let mut response = Response::new(Body::new(buffer(vec![b'x'; 3000], &owner)));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            for (name, value) in lines {
                let value = HeaderValue::from_maybe_shared(buffer(*value, &owner)).expect("a value");
                response.headers_mut().append(*name, value);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let inner = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let inner = PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("a")) }).layer(inner);
    let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let site = site.map_response(|response: Response<_>| response.map(BodyExt::boxed_unsync));
    let shop = Shop { cache, site: BoxCloneSyncService::new(site), store: memory };
    assert!(meddler.shop.set(shop.clone()).is_ok(), "one shop");
    shop
}

/// The kind of a foreign store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum StoreKind {
    InProcess,
    /// In the process, without `Generations`: invalidations are entries of the store.
    Plain,
    Remote,
}

/// A store that runs foreign code before, during and after each call. Its entries are in foreign
/// buffers.
#[derive(Clone)]
struct ForeignStore {
    inner: MemoryStore,
    kind: StoreKind,
    meddler: Arc<Meddler>,
}

/// Runs foreign code when it is dropped.
struct Guard(Arc<Meddler>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.meddle();
    }
}

impl std::fmt::Debug for ForeignStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl ForeignStore {
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryStore) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let guard = Guard(Arc::clone(&self.meddler));
        self.meddler.meddle();
        if self.kind != StoreKind::Remote {
            return work(&self.inner);
        }
        let inner = self.inner.clone();
        StoreFuture::new(async move {
            guard.0.meddle();
            pause().await;
            work(&inner).await
        })
    }
}

impl Store for ForeignStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (key, meddler) = (key.to_key(), Arc::clone(&self.meddler));
        self.call(move |inner| {
            let clock = Clock::system();
            let entry = inner.get(key.as_ref()).now_or_never().expect("in memory").expect("no error");
            let frame = entry.map(|entry| buffer(entry.encode(&clock), &meddler));
            StoreFuture::ready(Ok(frame.map(|frame| Entry::decode(frame, &clock).expect("an entry"))))
        })
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let key = key.to_key();
        self.call(move |inner| inner.put(key.as_ref(), entry, ttl, mode))
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let key = key.to_key();
        self.call(move |inner| inner.remove(key.as_ref()))
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let key = key.to_key();
        self.call(move |inner| inner.increment(key.as_ref(), delta, initial))
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (key, expected) = (key.to_key(), expected.cloned());
        self.call(move |inner| inner.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl))
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        self.meddler.meddle();
        self.inner.generations(namespace).filter(|_| self.kind == StoreKind::InProcess)
    }
    fn is_local(&self) -> bool {
        self.kind != StoreKind::Remote
    }
}

/// Yields to other tasks. Unlike tokio's `yield_now`, it may be used in a waker.
async fn pause() {
    let mut has_paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `work` in a runtime on this thread, then stops the meddler.
fn run(work: impl Future<Output = ()>, meddler: &Meddler) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work);
    // The meddler stops before the thread ends: with tokio's test utilities, using tokio while a
    // thread ends panics.
    assert!(meddler.runs.swap(MOST_RUNS, Ordering::Relaxed) > 20);
}

#[test]
fn memory_store_drops_no_entry_under_a_lock() {
    in_time(|| {
        let store = memory_store(64 << 10);
        let meddler = Arc::<Meddler>::default();
        open_shop(store.clone(), store.clone(), &meddler);
        let now = |future: StoreFuture<bool>| future.now_or_never().expect("in memory").expect("no error");
        let foreign = |size| foreign_entry(size, &meddler);
        let second = Some(Duration::from_nanos(1));
        for round in 0..300_usize {
            let name = [b"abcdefghij"[round % 10]];
            let key = KeyRef::new(&name);
            now(store.put(key, foreign(3000), None, PutMode::Always));
            now(store.put(key, foreign(3000), None, PutMode::IfAbsent));
            now(store.put(key, foreign(30_000), None, PutMode::Always));
            now(store.compare_and_set(key, None, foreign(14_000), None));
            now(store.compare_and_set(key, Some(&foreign(14_000)), foreign(100), None));
            now(store.compare_and_set(key, None, foreign(100), None));
            // These look-ups make the entry hot, so the thread gets a replica of it. The next write
            // outdates the replica.
            for _ in 0..20 {
                drop(store.get(key).now_or_never().expect("in memory"));
            }
            now(store.put(key, foreign(100), second, PutMode::Always));
            match round % 5 {
                0 => drop(store.get(key).now_or_never().expect("in memory")),
                1 => assert!(store.increment(key, 1, None).now_or_never().expect("in memory").is_err()),
                2 => drop(now(store.remove(key))),
                3 => drop(now(store.touch(key, Some(Duration::ZERO)))),
                _ => drop(now(store.put(key, foreign(100), Some(Duration::ZERO), PutMode::Always))),
            }
        }
        assert!(meddler.runs.swap(MOST_RUNS, Ordering::Relaxed) > 1000);
    });
}

#[test]
fn put_drops_many_evicted_entries_outside_its_lock() {
    in_time(|| {
        let store = memory_store(64 << 10);
        let meddler = Arc::<Meddler>::default();
        open_shop(store.clone(), store.clone(), &meddler);
        let put = |key: &[u8], size| {
            let put = store.put(KeyRef::new(key), foreign_entry(size, &meddler), None, PutMode::Always);
            put.now_or_never().expect("in memory").expect("no error")
        };
        for round in 0..20_u32 {
            assert!((0..200_u32).all(|key| put(&key.to_le_bytes(), 100)));
            assert!(put(&round.to_be_bytes(), 12_000));
        }
        assert!(meddler.runs.swap(MOST_RUNS, Ordering::Relaxed) > 1000);
    });
}

/// A buffer that sends requests when it is dropped: for a stored page and for a private one.
struct RequestingBuffer(Shop, Arc<AtomicUsize>);

impl Shop {
    /// Returns the status of a page. Polls without an executor, because the executor may have ended
    /// with its thread.
    fn status(&self, page: &str) -> StatusCode {
        let mut answer = pin!(send(&self.site, get(page)));
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return answer.status;
            }
        }
    }
}

impl Drop for RequestingBuffer {
    fn drop(&mut self) {
        assert_eq!(self.0.status("/page"), StatusCode::OK);
        assert_eq!(self.0.status("/private"), StatusCode::OK);
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    static LAST: RefCell<Option<RequestingBuffer>> = const { RefCell::new(None) };
}

/// When a thread ends, a value uses the cache after the thread-local values of the cache were
/// dropped.
#[test]
fn a_value_dropped_at_thread_end_may_use_the_cache() {
    let store = memory_store(1 << 20);
    let idle = Meddler { runs: AtomicUsize::new(MOST_RUNS), ..Meddler::default() };
    let shop = open_shop(store.clone(), store, &Arc::new(idle));
    let dropped = Arc::<AtomicUsize>::default();
    let requests = RequestingBuffer(shop.clone(), Arc::clone(&dropped));
    let thread = std::thread::spawn(move || {
        LAST.set(Some(requests));
        assert_eq!(shop.status("/page"), StatusCode::OK);
    });
    thread.join().expect("no panic");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn stores_and_buffers_that_use_the_cache_do_not_hang() {
    for kind in [StoreKind::InProcess, StoreKind::Plain, StoreKind::Remote] {
        in_time(move || {
            let (inner, meddler) = (memory_store(64 << 10), Arc::<Meddler>::default());
            let store = ForeignStore { inner: inner.clone(), kind, meddler: Arc::clone(&meddler) };
            let shop = open_shop(store, inner, &meddler);
            run(shop.use_everything(), &meddler);
        });
    }
}

/// The waker of a task. It runs foreign code when it is woken and when it is dropped.
struct ForeignWaker(Waker, Guard);

impl Wake for ForeignWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        self.1.0.meddle();
    }
}

#[test]
fn wakers_that_use_the_cache_do_not_hang() {
    in_time(|| {
        let (store, meddler) = (memory_store(1 << 20), Arc::<Meddler>::default());
        let shop = open_shop(store.clone(), store, &meddler);
        let work = async {
            let mut work = pin!(shop.use_everything());
            // Each poll has a new waker, which replaces and drops the waker of the previous poll.
            poll_fn(|cx| {
                let waker = ForeignWaker(cx.waker().clone(), Guard(Arc::clone(&meddler)));
                work.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(waker))))
            })
            .await;
        };
        run(work, &meddler);
    });
}

#[cfg(feature = "tracing")]
mod events {
    use super::*;
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// A subscriber that uses the cache at each event.
    struct EventMeddler(Arc<Meddler>);

    impl<S: Subscriber> Layer<S> for EventMeddler {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.meddle();
        }
    }

    #[test]
    fn a_subscriber_that_uses_the_cache_does_not_hang() {
        in_time(|| {
            let (store, meddler) = (memory_store(1 << 20), Arc::<Meddler>::default());
            let shop = open_shop(store.clone(), store, &meddler);
            let subscriber = tracing_subscriber::registry().with(EventMeddler(Arc::clone(&meddler)));
            tracing::subscriber::with_default(subscriber, || run(shop.use_everything(), &meddler));
        });
    }
}
