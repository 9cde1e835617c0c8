//! For every kind of entry and of buffer, a store takes little more memory than its capacity.

use allocation_counter::measure;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::Store;
use tower_response_cache::store::{
    Entry, Generations, KeyRef, LocalGenerations, PutMode, Scope, StoreFuture, Strength,
};
use tower_response_cache::{Cache, ConditionalGetLayer, MemoryStore, Policy, SiteCacheLayer};

#[path = "memory/kinds.rs"]
mod kinds;

const MINUTE: Duration = Duration::from_secs(60);
const CAPACITY: u64 = 4 << 20;
/// The maximum size, in bytes, of the tables whose size does not depend on the number of entries.
const TABLES: u64 = 512 << 10;

/// A body whose frames are ready. With `pauses`, it is pending once before each frame.
struct Framed {
    frames: VecDeque<Bytes>,
    pauses: bool,
    paused: bool,
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.paused = self.pauses && !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.pop_front().map(|frame| Ok(Frame::data(frame))))
    }
}

/// The buffers that hold the frames of a body.
#[derive(Debug, Clone, Copy)]
enum Buffers {
    Own,
    /// Each frame is a slice of a buffer, with this number of other bytes on both sides.
    Slices(usize),
    /// All frames are slices of one buffer, which has this number of other bytes.
    OneFor(usize),
    /// Each frame has a buffer with spare capacity.
    Spacious,
}

impl Buffers {
    fn frame(self, size: usize) -> Bytes {
        match self {
            Self::Own | Self::OneFor(_) => Bytes::from(vec![7; size]),
            Self::Slices(more) => Bytes::from(vec![7; size + 2 * more]).slice(more..more + size),
            Self::Spacious => {
                let mut buffer = Vec::with_capacity(2 * size + 512);
                buffer.resize(size, 7);
                Bytes::from(buffer)
            }
        }
    }

    fn frames(self, sizes: &[usize]) -> VecDeque<Bytes> {
        if let Self::OneFor(more) = self {
            let mut buffer = Bytes::from(vec![7; sizes.iter().sum::<usize>() + more]);
            return sizes.iter().map(|size| buffer.split_to(*size)).collect();
        }
        sizes.iter().map(|size| self.frame(*size)).collect()
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    buffers: Buffers,
    sizes: Vec<usize>,
    pauses: bool,
    readers: usize,
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let buffers = prop_oneof![
        1 => Just(Buffers::Own),
        1 => (0..200_000_usize).prop_map(Buffers::Slices),
        1 => (0..200_000_usize).prop_map(Buffers::OneFor),
        1 => Just(Buffers::Spacious),
    ];
    let sizes = prop_oneof![
        1 => proptest::collection::vec(1..3_usize, 1..500),
        1 => proptest::collection::vec(1..5_000_usize, 1..12),
        1 => proptest::collection::vec(20_000..60_000_usize, 1..3),
    ];
    (buffers, sizes, any::<bool>(), 1..4_usize).prop_map(|(buffers, sizes, pauses, readers)| Pattern {
        buffers,
        sizes,
        pauses,
        readers,
    })
}

fn get(page: usize) -> Request<Empty<Bytes>> {
    Request::get(format!("/{page}")).body(Empty::new()).expect("a request")
}

/// Runs a future on a runtime of this thread.
fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

async fn fill_with_pages(store: &MemoryStore, pattern: &Pattern) {
    let (cache, shape) = (Cache::new(store.clone()), pattern.clone());
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let frames = shape.buffers.frames(&shape.sizes);
        let body = Framed { frames, pauses: shape.pauses, paused: false };
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let site = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).etags(true).build().expect("a policy"))
        .layer(inner);
    let size: usize = pattern.sizes.iter().sum();
    for page in 0..=(5 * CAPACITY as usize / 4 / (size + 600)).min(800) {
        let ask = || async {
            drop(site.clone().oneshot(get(page)).await.expect("infallible").into_body().collect().await)
        };
        futures::future::join_all((0..pattern.readers).map(|_| ask())).await;
    }
}

async fn fill_with_values(store: &MemoryStore, pattern: &Pattern) {
    let cache = Cache::new(store.clone());
    let size = pattern.sizes[0];
    for number in 0..=(5 * CAPACITY as usize / 4 / (size + 300)).min(800) {
        let bytes = pattern.buffers.frames(&pattern.sizes[..1]).pop_front().expect("a frame");
        match number % 4 {
            0 => drop(cache.set_bytes(&number.to_string(), bytes, MINUTE).await.expect("stored")),
            1 => drop(cache.set(&number.to_string(), &bytes.to_vec(), MINUTE).await.expect("stored")),
            2 => {
                let key = number.to_string();
                let key = KeyRef::new(key.as_bytes());
                store.put(key, Entry::raw(bytes), None, PutMode::Always).await.expect("stored");
            }
            _ => {
                let make = || async { bytes.to_vec() };
                drop(cache.get_or_set(&number.to_string(), MINUTE, make).await.expect("stored"));
            }
        }
    }
}

/// Returns the bytes that a full store holds in addition to an empty one, and the store's weight.
fn held(pattern: &Pattern, values: bool) -> (u64, u64) {
    let mut weight = 0;
    let mut kept = None;
    let info = measure(|| {
        let store = MemoryStore::with_max_bytes(CAPACITY);
        on_runtime(async {
            match values {
                true => fill_with_values(&store, pattern).await,
                false => fill_with_pages(&store, pattern).await,
            }
        });
        weight = store.weight();
        kept = Some(store);
    });
    drop(kept);
    let mut empty = None;
    let tables = measure(|| empty = Some(MemoryStore::with_max_bytes(CAPACITY)));
    let held = info.bytes_current - tables.bytes_current;
    (u64::try_from(held).unwrap_or(0), weight)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_full_store_holds_little_more_than_its_capacity(pattern in patterns(), values in any::<bool>()) {
        let (held, weight) = held(&pattern, values);
        prop_assert!(weight <= CAPACITY);
        let most = CAPACITY + CAPACITY * 15 / 100 + TABLES;
        prop_assert!(held <= most, "{held} held, {weight} counted");
    }
}

/// The cache reads frames ahead for clients that do not read their responses.
#[test]
fn frames_read_ahead_hold_no_more_than_their_bytes() {
    const CLIENTS: usize = 5;
    type Ask = fn() -> Box<dyn std::any::Any>;
    let unread: [(&str, Ask); 2] = [
        ("cache", || {
            let policy = Policy::app().default_ttl(MINUTE).collapse(false);
            let cache = Cache::new(MemoryStore::with_max_bytes(CAPACITY));
            let site = SiteCacheLayer::new(&cache)
                .policy(policy.build().expect("a policy"))
                .layer(service_fn(small_slices));
            Box::new((
                cache,
                on_runtime(async {
                    futures::future::join_all((0..CLIENTS).map(|page| site.clone().oneshot(get(page)))).await
                }),
            ))
        }),
        ("conditional", || {
            let site = ConditionalGetLayer::new().layer(service_fn(small_slices));
            Box::new(on_runtime(async {
                futures::future::join_all((0..CLIENTS).map(|page| site.clone().oneshot(get(page)))).await
            }))
        }),
    ];
    for (name, ask) in unread {
        let mut held = None;
        let info = measure(|| held = Some(ask()));
        // The first frame of each response keeps the service's large buffer.
        let most = CLIENTS as i64 * (LARGE as i64 + (64 << 10)) + (TABLES as i64);
        assert!(info.bytes_current <= most, "{name}: {} bytes are held", info.bytes_current);
        drop(held);
    }
}

/// The size of a buffer whose first bytes are a frame.
const LARGE: usize = 1 << 20;

async fn small_slices(
    _: Request<Empty<Bytes>>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let frames =
        futures::stream::iter(0..200).map(|_| Ok(Frame::data(Bytes::from(vec![7; LARGE]).slice(..16))));
    Ok(Response::new(StreamBody::new(frames)))
}

// ---- Invalidations ----

/// One scope of each kind that has a name.
fn scopes(name: &str) -> [Scope; 10] {
    let (path, uri) = (Scope::path(name), Scope::uri(name, None));
    let (subtree, tag) = (Scope::subtree(name), Scope::tag(name));
    let on_host = [path, uri, subtree, tag, Scope::EVERYTHING].map(|scope| scope.on_host(name));
    let [path_on, uri_on, subtree_on, tag_on, host] = on_host;
    [path, uri, subtree, tag, Scope::value(name.as_bytes()), path_on, uri_on, subtree_on, tag_on, host]
}

fn ready<T: Send + 'static>(future: StoreFuture<T>) -> T {
    future.now_or_never().expect("local").expect("ok")
}

fn invalidate(generations: &dyn Generations, names: std::ops::Range<usize>) {
    for name in names {
        let scopes = scopes(&format!("/{name}"));
        ready(generations.depend(Scope::value(&name.to_le_bytes())));
        ready(generations.advance(&scopes, Strength::Hard));
    }
}

#[test]
fn namespace_memory_grows_with_its_invalidations() {
    let generations = LocalGenerations::new();
    drop(generations.namespace("first"));
    for (names, most) in [(0, 4 << 10), (1, 10 << 10), (100, 300 << 10), (1_000, 2 << 20), (30_000, 22 << 20)]
    {
        let mut kept = None;
        let info = measure(|| {
            let namespace = generations.namespace(&names.to_string());
            invalidate(&*namespace, 0..names);
            kept = Some(namespace);
        });
        assert!(info.bytes_current <= most, "{} bytes after {names}", info.bytes_current);
        assert!(names < 30_000 || info.bytes_current > 16 << 20, "{}", info.bytes_current);
    }
}

#[test]
fn ten_thousand_idle_namespaces_take_little_memory() {
    let mut kept = None;
    let info = measure(|| {
        let generations = LocalGenerations::new();
        for tenant in 0..10_000 {
            invalidate(&*generations.namespace(&format!("tenant {tenant}")), 0..1);
        }
        kept = Some(generations);
    });
    assert!(info.bytes_max <= 32 << 20, "{} bytes", info.bytes_max);
}

/// The store uses the same 100 namespaces in each round, so only their growth can make it drop idle
/// namespaces.
#[test]
fn large_idle_namespaces_take_bounded_memory() {
    let mut kept = None;
    let info = measure(|| {
        let generations = LocalGenerations::new();
        for round in 0..12 {
            for tenant in 0..100 {
                let names = round * 200..(round + 1) * 200;
                invalidate(&*generations.namespace(&tenant.to_string()), names);
            }
        }
        kept = Some(generations);
    });
    assert!(info.bytes_max <= 48 << 20, "{} bytes", info.bytes_max);
}

#[test]
fn released_namespaces_are_dropped() {
    let generations = LocalGenerations::new();
    let info = measure(|| {
        let held: Vec<_> = (0..10_000).map(|tenant| generations.namespace(&tenant.to_string())).collect();
        held.iter().for_each(|namespace| invalidate(&**namespace, 0..1));
        drop(held);
        (0..20_000).for_each(|_| drop(generations.namespace("one")));
    });
    assert!(info.bytes_current <= 28 << 20, "{} bytes", info.bytes_current);
}
