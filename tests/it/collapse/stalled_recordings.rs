//! A recording whose reader stalls ends if another recording needs its share of the budget.

use crate::collapse::budget::{PAGE, frames, is_hit};
use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{advance, sleep, timeout};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::cache::CacheBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::store::{Entry, Generations, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer, Store, Ttl};

const FRAMES: usize = 10;

type Pages = UnsyncBoxBody<Bytes, Infallible>;
type Reader = ResponseBody<Pages>;

/// A site with large pages. The recording budget holds two of them at a time.
struct Site {
    cache: Cache,
    stack: BoxCloneService<Request<Body>, Response<Reader>, Infallible>,
}

#[derive(Debug, Clone, Copy)]
struct Setup {
    /// `true` if the store counts as remote.
    is_remote: bool,
    /// `true` if concurrent requests collapse and share one body.
    collapses: bool,
    /// `true` if the pages have a `Content-Length`.
    is_declared: bool,
}

impl Setup {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            is_remote: bits & 1 > 0,
            collapses: bits & 2 > 0,
            is_declared: bits & 4 > 0,
        })
    }

    fn site(self) -> Site {
        let memory = MemoryStore::with_max_bytes(64 << 20);
        self.site_over(match self.is_remote {
            true => Cache::builder(Faulty::new(memory, Fault::Slow)),
            false => Cache::builder(memory),
        })
    }

    fn site_over(self, builder: CacheBuilder) -> Site {
        let cache = builder.recording_bytes(1 << 20).build().expect("valid");
        let known = Arc::new(Mutex::new(HashSet::new()));
        let inner = service_fn(move |request: Request<Body>| {
            let is_new = known.lock().expect("not poisoned").insert(request.uri().to_string());
            let mut response = Response::new(StreamBody::new(frames(FRAMES)).boxed_unsync());
            if self.is_declared {
                response.headers_mut().insert("content-length", PAGE.into());
            }
            if is_new && !self.collapses {
                // The key becomes hit-for-miss: later requests do not collapse.
                response.headers_mut().insert("set-cookie", "sid=1".parse().expect("a value"));
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(policy().build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        Site { cache, stack }
    }
}

impl Site {
    async fn get(&self, path: &str) -> Response<Reader> {
        self.stack.clone().oneshot(get(path)).await.expect("infallible")
    }

    /// Returns a reader of a page that is being recorded.
    async fn begin(&self, path: &str, setup: Setup) -> Reader {
        if !setup.collapses {
            drop(self.get(path).await.into_body().collect().await);
        }
        self.get(path).await.into_body()
    }

    /// Reads a page to its end. Returns `true` if the next request is a hit.
    async fn stores(&self, path: &str, setup: Setup) -> bool {
        drop(self.begin(path, setup).await.collect().await.expect("a body"));
        // A slow store writes during the sleep.
        sleep(Duration::from_millis(100)).await;
        is_hit(&self.get(path).await)
    }
}

/// Reads `frames` frames and returns their total length in bytes.
async fn read(reader: &mut Reader, frames: usize) -> usize {
    let mut bytes = 0;
    for _ in 0..frames {
        let frame = reader.frame().await.expect("not the end").expect("no error");
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

/// Starts six readers of six pages. Each reads some frames and stalls. Asserts that the budget is
/// used up.
///
/// Returns each reader with the number of bytes that it has read.
async fn stall(site: &Site, setup: Setup, frames: usize) -> Vec<(Reader, usize)> {
    let mut stalled = Vec::new();
    for page in 0..6 {
        let mut reader = site.begin(&format!("/stalled/{page}"), setup).await;
        let bytes = read(&mut reader, frames).await;
        stalled.push((reader, bytes));
    }
    assert!(!site.stores("/too-soon", setup).await, "{setup:?}: the budget is not used up");
    stalled
}

#[tokio::test(start_paused = true)]
async fn stalled_recording_ends_and_its_client_gets_the_whole_body() {
    for (setup, frames) in Setup::all().flat_map(|setup| [6, FRAMES - 1].map(|frames| (setup, frames))) {
        let site = setup.site();
        let stalled = stall(&site, setup, frames).await;
        advance(Duration::from_millis(9_000)).await;
        assert!(!site.stores("/still-too-soon", setup).await, "{setup:?}");
        advance(Duration::from_millis(1_000)).await;
        assert!(site.stores("/another", setup).await, "{setup:?}, {frames} frames");
        assert!(site.stores("/one-more", setup).await, "{setup:?}, {frames} frames");
        for (reader, bytes) in stalled {
            let rest = reader.collect().await.expect("a body").to_bytes();
            assert_eq!(bytes + rest.len(), PAGE, "{setup:?}, {frames} frames");
        }
        assert_eq!(site.cache.recording_bytes(), 0, "{setup:?}, {frames} frames");
    }
}

#[tokio::test(start_paused = true)]
async fn recording_with_progress_is_not_ended() {
    for setup in Setup::all() {
        let site = setup.site();
        let mut stalled = stall(&site, setup, 4).await;
        for round in 0..4 {
            advance(Duration::from_secs(8)).await;
            for (reader, bytes) in &mut stalled {
                *bytes += read(reader, 1).await;
            }
            assert!(!site.stores(&format!("/{round}"), setup).await, "{setup:?}");
        }
        for (reader, _) in stalled {
            reader.collect().await.expect("a body");
        }
        sleep(Duration::from_millis(100)).await;
        let mut stored = 0;
        for page in 0..6 {
            stored += usize::from(is_hit(&site.get(&format!("/stalled/{page}")).await));
        }
        assert!(stored > 0, "{setup:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stalled_recording_of_declared_length_is_stored() {
    for setup in Setup::all().filter(|setup| setup.is_declared) {
        let site = setup.site();
        let mut stalled = Vec::new();
        for page in 0..2 {
            let mut reader = site.begin(&format!("/stalled/{page}"), setup).await;
            read(&mut reader, FRAMES).await;
            stalled.push(reader);
        }
        assert!(!site.stores("/too-soon", setup).await, "{setup:?}: the budget is not used up");
        advance(Duration::from_secs(10)).await;
        assert!(site.stores("/another", setup).await, "{setup:?}");
        for page in 0..2 {
            assert!(is_hit(&site.get(&format!("/stalled/{page}")).await), "{setup:?}");
        }
    }
}

/// Starts six readers of one page. The first reads the whole page. The others stall after some
/// frames.
///
/// Returns the stalled readers, each with the number of bytes that it has read.
async fn readers_of_one_page(site: &Site, path: &str) -> Vec<(Reader, usize)> {
    let (first, others) =
        futures::join!(site.get(path), futures::future::join_all((0..5).map(|_| site.get(path))));
    assert_eq!(first.into_body().collect().await.expect("a body").to_bytes().len(), PAGE);
    let mut stalled = Vec::new();
    for (frames, response) in others.into_iter().enumerate() {
        let mut reader = response.into_body();
        let bytes = read(&mut reader, frames * 2).await;
        stalled.push((reader, bytes));
    }
    stalled
}

#[tokio::test(start_paused = true)]
async fn only_stalled_readers_over_256_kib_behind_are_cut_off() {
    let setup = Setup { is_remote: true, collapses: true, is_declared: false };
    let site = setup.site();
    let mut stalled = Vec::new();
    for page in 0..2 {
        stalled.extend(readers_of_one_page(&site, &format!("/stalled/{page}")).await);
    }
    assert!(!site.stores("/too-soon", setup).await, "the budget is not used up");
    assert!(is_hit(&site.get("/stalled/0").await), "a complete page is stored");
    advance(Duration::from_secs(10)).await;
    assert!(site.stores("/another", setup).await);
    for (reader, bytes) in stalled {
        let rest = reader.collect().await;
        match PAGE - bytes > 256 << 10 {
            true => assert!(rest.is_err(), "at {bytes}"),
            false => assert_eq!(rest.expect("a body").to_bytes().len(), PAGE - bytes),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_stalled_reader_is_cut_off_while_the_budget_lasts() {
    let setup = Setup { is_remote: true, collapses: true, is_declared: false };
    let site = setup.site();
    let stalled = readers_of_one_page(&site, "/stalled").await;
    advance(Duration::from_secs(600)).await;
    assert!(site.stores("/another", setup).await);
    for (reader, bytes) in stalled {
        assert_eq!(reader.collect().await.expect("a body").to_bytes().len(), PAGE - bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn ended_recordings_leak_no_dependencies_to_other_pages() {
    let site = Setup { is_remote: false, collapses: true, is_declared: true }.site();
    let cache = site.cache.clone();
    cache.set("value", &1_u64, Ttl::Forever).await.expect("stored");
    let reading = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let (cache, frames) = (reading.clone(), frames(FRAMES));
        let body = futures::StreamExt::then(frames, move |frame: Result<Frame<Bytes>, Infallible>| {
            let cache = cache.clone();
            async move {
                let _: Option<u64> = cache.get("value").await.expect("read");
                frame
            }
        });
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(body).boxed_unsync())) }
    });
    let made_of_a_value =
        SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner).boxed_clone();
    let mut stalled = Vec::new();
    for page in 0..6 {
        let path = format!("/value/{page}");
        let response = made_of_a_value.clone().oneshot(get(&path)).await.expect("infallible");
        let mut reader = response.into_body();
        read(&mut reader, FRAMES - 1).await;
        stalled.push(reader);
    }
    advance(Duration::from_secs(10)).await;
    let setup = Setup { is_remote: false, collapses: true, is_declared: true };
    assert!(site.stores("/another", setup).await);
    cache.set("value", &2_u64, Ttl::Forever).await.expect("stored");
    assert!(is_hit(&site.get("/another").await), "the page must not depend on the value");
}

/// A local store whose next write panics if the flag is set.
#[derive(Debug, Clone)]
struct PanickingStore(MemoryStore, Arc<AtomicBool>);

impl Store for PanickingStore {
    fn is_local(&self) -> bool {
        true
    }
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.0.get(key)
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        assert!(!self.1.swap(false, Ordering::SeqCst), "the store panics");
        self.0.put(key, entry, ttl, mode)
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.0.remove(key)
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.0.increment(key, delta, initial)
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.0.compare_and_set(key, expected, new, ttl)
    }
    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        self.0.touch(key, ttl)
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        self.0.generations(namespace)
    }
}

#[tokio::test(start_paused = true)]
async fn panic_while_a_stalled_recording_is_stored_is_contained() {
    let setup = Setup { is_remote: false, collapses: true, is_declared: true };
    let panics = Arc::new(AtomicBool::new(false));
    let store = PanickingStore(MemoryStore::with_max_bytes(64 << 20), Arc::clone(&panics));
    let site = setup.site_over(Cache::builder(store));
    let mut stalled = Vec::new();
    for page in 0..2 {
        let mut reader = site.begin(&format!("/stalled/{page}"), setup).await;
        read(&mut reader, FRAMES).await;
        stalled.push(reader);
    }
    advance(Duration::from_secs(10)).await;
    let (leader, follower) = futures::join!(site.get("/x"), site.get("/x"));
    panics.store(true, Ordering::SeqCst);
    for response in [leader, follower] {
        let body = timeout(Duration::from_secs(60), response.into_body().collect()).await;
        assert_eq!(body.expect("in time").expect("a body").to_bytes().len(), PAGE);
    }
    assert!(!panics.load(Ordering::SeqCst), "the store has not panicked");
    drop(stalled);
    assert_eq!(site.cache.recording_bytes(), 0);
}
