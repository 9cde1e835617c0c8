//! Measures two effects of the cache on slow responses: on the delay of the first byte of a long
//! body, and on the number of handler calls for concurrent requests for one key.
//!
//! ```text
//! cargo bench --bench stampede   # about 10 seconds
//! ```

use bytes::Bytes;
use futures::stream::{Stream, unfold};
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

const FRAMES: u32 = 128;
const FRAME_BYTES: usize = 64 << 10;
const BODY_LASTS: Duration = Duration::from_millis(500);
const REQUESTS: usize = 500;
const HANDLER_TAKES: Duration = Duration::from_millis(50);
const ROUNDS: usize = 5;
const READERS: usize = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    slow_body().await;
    println!();
    many_readers().await;
    println!();
    stampede().await;
}

fn layer(store: &MemoryStore) -> SiteCacheLayer {
    SiteCacheLayer::new(&Cache::new(store.clone()))
        .policy(Policy::app().default_ttl(Duration::from_secs(600)).build().expect("a policy"))
}

fn request(path: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert("host", http::HeaderValue::from_static("www.example.org"));
    request
}

/// The time at which the origin sent the first frame of its most recent body.
type FirstSent = Arc<Mutex<Option<Instant>>>;

fn frames(first_sent: FirstSent) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let start = tokio::time::Instant::now();
    unfold(1, move |number| {
        let first_sent = Arc::clone(&first_sent);
        async move {
            if number > FRAMES {
                return None;
            }
            tokio::time::sleep_until(start + BODY_LASTS * number / FRAMES).await;
            let frame = Frame::data(Bytes::from(vec![b'x'; FRAME_BYTES]));
            if number == 1 {
                *first_sent.lock().expect("no panic") = Some(Instant::now());
            }
            Some((Ok(frame), number + 1))
        }
    })
}

/// The times of one response, since the call.
struct Times {
    head: Duration,
    first_frame: Duration,
    /// The time from the origin's first frame to the client's first frame.
    behind_origin: Duration,
    end: Duration,
}

async fn slow_body() {
    let first_sent = FirstSent::default();
    let sent = Arc::clone(&first_sent);
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        let body = StreamBody::new(frames(Arc::clone(&sent)));
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let megabytes = (FRAMES as usize * FRAME_BYTES) >> 20;
    println!("{megabytes} MiB in {FRAMES} frames over {BODY_LASTS:?}, median of {ROUNDS}");
    println!("{:24} {:>11} {:>14} {:>19} {:>11}", "", "head", "first frame", "behind the origin's", "end");
    let (mut bare, mut misses, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(read(origin.clone(), &first_sent).await);
        let store = MemoryStore::with_max_bytes(64 << 20);
        let service = layer(&store).layer(origin.clone());
        misses.push(read(service.clone(), &first_sent).await);
        assert_eq!(store.len(), 1, "the body is stored at the end");
        hits.push(read(service, &first_sent).await);
    }
    print_times("bare", &bare);
    print_times("through the cache", &misses);
    print_times("out of the cache", &hits);
}

/// Measures concurrent readers of one body through the cache, and of separate bodies without it.
async fn many_readers() {
    println!("{READERS} readers of this body at once: the slowest of them, median of {ROUNDS}");
    println!("{:24} {:>11} {:>14} {:>19} {:>11}", "", "head", "first frame", "behind the first", "end");
    let first_sent = FirstSent::default();
    let sent = Arc::clone(&first_sent);
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        let body = StreamBody::new(frames(Arc::clone(&sent)));
        async move { Ok::<_, Infallible>(Response::new(Box::pin(body))) }
    });
    let (mut bare, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(slowest(origin.clone(), &first_sent).await);
        let store = MemoryStore::with_max_bytes(64 << 20);
        cached.push(slowest(layer(&store).layer(origin.clone()), &first_sent).await);
        assert_eq!(store.len(), 1, "the body is stored at the end");
    }
    print_times("bare", &bare);
    print_times("through the cache", &cached);
}

async fn slowest<S, B>(service: S, first_sent: &FirstSent) -> Times
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Debug> + Send + 'static,
{
    let readers = (0..READERS).map(|_| {
        let (service, first_sent) = (service.clone(), Arc::clone(first_sent));
        tokio::spawn(async move { read(service, &first_sent).await })
    });
    let mut times = Vec::new();
    for reader in readers.collect::<Vec<_>>() {
        times.push(reader.await.expect("no panic"));
    }
    let most = |field: fn(&Times) -> Duration| times.iter().map(field).max().unwrap_or_default();
    let first = times.iter().map(|times| times.first_frame).min().unwrap_or_default();
    Times {
        head: most(|times| times.head),
        first_frame: most(|times| times.first_frame),
        behind_origin: most(|times| times.first_frame) - first,
        end: most(|times| times.end),
    }
}

async fn read<S, B>(service: S, first_sent: &FirstSent) -> Times
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: Debug>,
{
    *first_sent.lock().expect("no panic") = None;
    let start = Instant::now();
    let Ok(response) = service.oneshot(request("/download")).await;
    let head = start.elapsed();
    let mut body = std::pin::pin!(response.into_body());
    let mut first = None;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        first.get_or_insert_with(Instant::now);
        bytes += frame.expect("no error").data_ref().map_or(0, Bytes::len);
    }
    let end = start.elapsed();
    assert_eq!(bytes, FRAMES as usize * FRAME_BYTES);
    let first = first.expect("a frame");
    let sent = first_sent.lock().expect("no panic").unwrap_or(first);
    Times { head, first_frame: first - start, behind_origin: first - sent, end }
}

fn print_times(name: &str, times: &[Times]) {
    let median = |field: fn(&Times) -> Duration| milliseconds(median(times.iter().map(field).collect()));
    let (head, first_frame) = (median(|times| times.head), median(|times| times.first_frame));
    let (behind, end) = (median(|times| times.behind_origin), median(|times| times.end));
    println!("{name:24} {head:>11} {first_frame:>14} {behind:>19} {end:>11}");
}

async fn stampede() {
    println!(
        "{REQUESTS} requests at once for a cold key, handler of {HANDLER_TAKES:?}: most calls, median time of {ROUNDS}"
    );
    println!("{:24} {:>14} {:>11}", "", "handler calls", "all done");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let origin = service_fn(move |_: Request<Empty<Bytes>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(HANDLER_TAKES).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; 2 << 10]))))
        }
    });
    let (mut bare, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(at_once(origin.clone(), &calls).await);
        let store = MemoryStore::with_max_bytes(64 << 20);
        cached.push(at_once(layer(&store).layer(origin.clone()), &calls).await);
    }
    print_calls("bare", &bare);
    print_calls("through the cache", &cached);
}

/// Sends all requests concurrently from separate tasks. Returns the number of handler calls, and
/// the time until the last response.
async fn at_once<S, B>(service: S, calls: &AtomicUsize) -> (usize, Duration)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Debug> + Send + 'static,
{
    calls.store(0, Ordering::SeqCst);
    let start = Instant::now();
    let tasks: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let Ok(response) = service.oneshot(request("/report")).await;
                response.into_body().collect().await.expect("no error").to_bytes().len()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), 2 << 10);
    }
    (calls.load(Ordering::SeqCst), start.elapsed())
}

fn print_calls(name: &str, rounds: &[(usize, Duration)]) {
    let calls = rounds.iter().map(|round| round.0).max().unwrap_or_default();
    let time = milliseconds(median(rounds.iter().map(|round| round.1).collect()));
    println!("{name:24} {calls:>14} {time:>11}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
