//! Runs an operation an exact number of times. Callgrind counts the instructions of the run.
//!
//! ```text
//! benches/callgrind.sh                                        # builds, counts, prints a table
//! cargo bench --bench instructions -- --callgrind hit 1000    # runs 1,000 hits, counts nothing
//! ```
//!
//! The operation `none` measures the cost of the harness: it only clones the request and drops it.
//! For `miss`, the harness also creates a URI for each request: `none-miss` measures this cost.

mod support;

use http::Request;
use std::convert::Infallible;
use std::hint::black_box;
use std::ops::RangeFrom;
use support::{Body, SMALL, call, uri, with_uri};
use tower::Service;
use tower_response_cache::MemoryStore;

const USAGE: &str = "--callgrind none|none-conditional|none-bypass|none-miss|floor|hit|hit-quiet|304|bypass|miss|no-store|\
                     no-store-first TIMES\n\
                     and with the feature compression: hit-encoded|hit-offered, with redis: redis-get|redis-hit|redis-gets|redis-hits";

/// The concurrent tasks of `redis-gets` and `redis-hits`.
#[cfg(feature = "redis")]
const TASKS: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(at) = arguments.iter().position(|argument| argument == "--callgrind") else {
        println!("run benches/callgrind.sh instead");
        return;
    };
    let operation = arguments.get(at + 1).map_or("", String::as_str);
    let times = arguments.get(at + 2).and_then(|times| times.parse().ok());
    let times: u64 = times.expect(USAGE);
    let request = support::request();
    match operation {
        "none" => repeat(times, &request, drop),
        "floor" => {
            let mut service = support::floor(support::response(SMALL));
            repeat(times, &request, |request| run(&mut service, request));
        }
        "hit" => {
            let mut service = support::warm(request.clone(), support::response(SMALL));
            repeat(times, &request, |request| run(&mut service, request));
        }
        // Without the `CacheStatus` extension.
        "hit-quiet" => {
            let mut service = support::warm_without_extension(request.clone(), support::response(SMALL));
            repeat(times, &request, |request| run(&mut service, request));
        }
        // A hit on an encoded variant, and a plain hit of the same page and layer.
        #[cfg(feature = "compression")]
        "hit-encoded" => {
            let mut service = support::compression::warm_encoded(&request, support::response(SMALL));
            repeat(times, &request, |request| run(&mut service, request));
        }
        #[cfg(feature = "compression")]
        "hit-offered" => {
            let mut service = support::compression::warm_encoded(&request, support::response(SMALL));
            let mut plain = request.clone();
            plain.headers_mut().insert("accept-encoding", http::HeaderValue::from_static("identity"));
            repeat(times, &plain, |request| run(&mut service, request));
        }
        // Requests with `If-None-Match`.
        "none-conditional" => repeat(times, &support::conditional(&request), drop),
        "304" => {
            let mut service = support::warm(request.clone(), support::response(SMALL));
            repeat(times, &support::conditional(&request), |request| run(&mut service, request));
        }
        // Requests with a session cookie.
        "none-bypass" => repeat(times, &support::identified(&request), drop),
        "bypass" => {
            let mut service = support::warm(request.clone(), support::response(SMALL));
            repeat(times, &support::identified(&request), |request| run(&mut service, request));
        }
        "none-miss" => {
            let mut numbers = 0..;
            repeat(times, &request, |request| drop(black_box(next(&request, &mut numbers))));
        }
        "miss" => {
            let store = MemoryStore::with_max_bytes(128 << 20);
            let mut service = support::cached(store, support::response(SMALL));
            let mut numbers = 0..;
            repeat(times, &request, |request| run(&mut service, next(&request, &mut numbers)));
        }
        // A response with `no-store`, for a key that is known as not storable.
        "no-store" => {
            let store = MemoryStore::with_max_bytes(64 << 20);
            let mut service = support::cached(store, support::no_store_response(SMALL));
            repeat(times, &request, |request| run(&mut service, request));
        }
        // The same for a key that the cache sees for the first time.
        "no-store-first" => {
            let store = MemoryStore::with_max_bytes(64 << 20);
            let mut service = support::cached(store, support::no_store_response(SMALL));
            let mut numbers = 0..;
            repeat(times, &request, |request| run(&mut service, next(&request, &mut numbers)));
        }
        #[cfg(feature = "redis")]
        "redis-get" | "redis-hit" => repeat_redis(times, &request, operation == "redis-hit"),
        // The same, by concurrent tasks.
        #[cfg(feature = "redis")]
        "redis-gets" | "redis-hits" => repeat_concurrently(times, &request, operation == "redis-hits"),
        _ => panic!("{USAGE}"),
    }
}

/// Reads a response from Redis, by a hit or by the client's own `GET` of the same bytes.
#[cfg(feature = "redis")]
fn repeat_redis(times: u64, request: &Request<Body>, hits: bool) {
    use support::redis::{Client, Server, cache, hit, runtime, site};

    let Some(server) = Server::start() else { return };
    let runtime = runtime();
    let cache = runtime.block_on(cache(&server));
    let site = runtime.block_on(site(&cache));
    let client = runtime.block_on(Client::connect(&server));
    repeat(times, request, |request| {
        runtime.block_on(async {
            match hits {
                true => hit(site.clone(), request).await,
                false => client.get(0).await,
            }
        });
    });
}

/// Reads responses from Redis as [`repeat_redis`] does, by concurrent tasks. Each task reads a page of
/// its own.
#[cfg(feature = "redis")]
fn repeat_concurrently(times: u64, request: &Request<Body>, hits: bool) {
    use support::redis::{Client, Server, cache, hit, runtime, site};
    use tower::ServiceExt;

    let Some(server) = Server::start() else { return };
    runtime().block_on(async {
        let cache = cache(&server).await;
        let site = site(&cache).await;
        let pages: Vec<_> = (0..TASKS).map(|task| with_uri(request, &uri(task))).collect();
        for page in &pages {
            let _ = site.clone().oneshot(page.clone()).await;
        }
        cache.shutdown().await;
        let client = Client::connect(&server).await;
        let each = pages.iter().enumerate().map(async |(task, page)| {
            for _ in 0..times / TASKS as u64 {
                match hits {
                    true => hit(site.clone(), black_box(page.clone())).await,
                    false => client.get(task).await,
                }
            }
        });
        futures::future::join_all(each).await;
    });
}

fn repeat(times: u64, request: &Request<Body>, mut operation: impl FnMut(Request<Body>)) {
    for _ in 0..times {
        operation(black_box(request.clone()));
    }
}

/// Returns the request with another URI each time.
fn next(request: &Request<Body>, numbers: &mut RangeFrom<usize>) -> Request<Body> {
    with_uri(request, &uri(numbers.next().unwrap_or_default()))
}

fn run<S>(service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Error = Infallible>,
{
    drop(black_box(call(service, request)));
}
