//! Measures the cost of tags for a hit, before and after an unrelated invalidation. Also measures
//! the cost of invalidating a million entries by a common tag.
//!
//! A time covers the call, the poll and the drop of the response. A round requests each URI once.
//! After an unrelated invalidation, the next hit on each entry looks in the table of invalidations.
//! Later hits are as fast as before. The cases take turns, so that other load on the machine
//! affects them equally. Each ratio is to the hits of the same round without tags and without an
//! invalidation.
//!
//! ```text
//! cargo bench --bench invalidation      # about 15 seconds, 1 GiB of memory
//! ```

mod support;

use futures::FutureExt;
use futures::executor::block_on;
use http::{Request, Response, Uri};
use http_body_util::Full;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{Answer, Body, SMALL, call, uri, with_uri};
use tower::{Layer, Service, service_fn};
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer};

const KEYS: usize = 4096;
const ROUNDS: usize = 41;
const MANY: usize = 1_000_000;
const SAMPLE: usize = 1000;
/// The number of invalidations by the same tag after the first one.
const INVALIDATIONS: usize = 101;

fn main() {
    print_hits();
    print_many();
}

/// Creates a cache in front of a service that answers with clones of a response.
fn cached(
    cache: &Cache,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible> + Clone + use<> {
    let policy = Policy::app().default_ttl(Duration::from_secs(3600));
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(support::floor(response))
}

/// Adds tags to a response, as its handler does.
fn tagged(mut response: Response<Body>, tags: usize) -> Response<Body> {
    if tags > 0 {
        let tags = (0..tags).map(|tag| format!("flavour:{tag}"));
        CacheHints::new().tags(tags).add_to(response.extensions_mut());
    }
    response
}

/// Returns the mean time of a hit on each of the requests, in nanoseconds.
fn hits<S>(service: &mut S, requests: &[Request<Body>]) -> f64
where
    S: Service<Request<Body>, Response: Answer, Error = Infallible>,
{
    let mut total = Duration::ZERO;
    for batch in requests.chunks(64) {
        let batch = batch.to_vec();
        let start = Instant::now();
        for request in batch {
            black_box(call(service, black_box(request)));
        }
        total += start.elapsed();
    }
    total.as_secs_f64() * 1e9 / requests.len() as f64
}

/// Prints the cost of hits with tags, before and after an unrelated invalidation.
fn print_hits() {
    let request = support::request();
    let requests: Vec<_> = (0..KEYS).map(|number| with_uri(&request, &uri(number))).collect();
    let mut cases: Vec<_> = [0, 1, 8]
        .into_iter()
        .map(|tags| {
            let cache = Cache::new(MemoryStore::with_max_bytes(128 << 20));
            let mut service = cached(&cache, tagged(support::response(SMALL), tags));
            for request in requests.iter().chain(&requests) {
                call(&mut service, request.clone());
            }
            (tags, cache, service)
        })
        .collect();
    // The times of each case: before an unrelated invalidation, in the first round after it, and in
    // the second.
    let mut times = vec![[const { Vec::new() }; 3]; cases.len()];
    for round in 0..=ROUNDS {
        for ((_, cache, service), times) in cases.iter_mut().zip(&mut times) {
            // Fills the processor's cache with the data of this case again.
            hits(service, &requests);
            let before = hits(service, &requests);
            assert!(
                block_on(cache.invalidate(Invalidation::tag(format!("unrelated:{round}")))).is_delivered()
            );
            let (looked_up, after) = (hits(service, &requests), hits(service, &requests));
            // The first round only warms up.
            if round > 0 {
                for (times, time) in times.iter_mut().zip([before, looked_up, after]) {
                    times.push(time);
                }
            }
        }
    }
    for (tags, _, service) in &mut cases {
        let found = requests.iter().filter(|request| call(service, (*request).clone()).is_hit()).count();
        // A few pages share the buckets of an unrelated tag, and are invalidated with it.
        assert!(
            found > KEYS * 9 / 10,
            "{tags} tags: unrelated invalidations invalidated {} entries",
            KEYS - found
        );
    }
    println!("{:34} {:>9} {:>9}", "a hit", "ns", "ratio");
    let floor = times[0][0].clone();
    for ((tags, ..), times) in cases.iter().zip(&times) {
        let names = ["nothing invalidated", "after an unrelated one", "after that"];
        for (name, times) in names.into_iter().zip(times) {
            let ratios = times.iter().zip(&floor).map(|(own, floor)| own / floor).collect();
            println!(
                "{:34} {:9.0} {:9.2}",
                format!("{tags} tags, {name}"),
                median(times.clone()),
                median(ratios)
            );
        }
    }
}

/// Prints the cost of invalidating a million entries, and asserts that a sample of them is invalid.
fn print_many() {
    let store = MemoryStore::with_max_bytes(16 << 30);
    let cache = Cache::new(store.clone());
    let mut response = Response::new(Full::from("page"));
    CacheHints::new().tags(["flavours"]).add_to(response.extensions_mut());
    let answer = service_fn(move |_: Request<Body>| {
        let response = response.clone();
        async move { Ok::<_, Infallible>(response) }
    });
    let policy = Policy::app().default_ttl(Duration::from_secs(3600));
    let mut service = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(answer);
    let ask = |number: usize| {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = Uri::try_from(format!("/{number}")).expect("a URI");
        request
    };
    let start = Instant::now();
    for number in 0..MANY {
        call(&mut service, ask(number));
    }
    assert_eq!(store.len(), MANY, "each response is stored");
    println!("\n{MANY} entries with one tag, stored in {:.1} s", start.elapsed().as_secs_f64());
    let sample = (0..SAMPLE).map(|number| number * (MANY / SAMPLE));
    for number in sample.clone() {
        assert!(call(&mut service, ask(number)).is_hit(), "the page is stored");
    }
    let start = Instant::now();
    assert!(block_on(cache.invalidate(Invalidation::tag("flavours"))).is_delivered());
    let first = start.elapsed();
    for number in sample {
        assert!(!call(&mut service, ask(number)).is_hit(), "the page is invalid");
    }
    println!("invalidated by it in {} ns; a sample of {SAMPLE} has no hits", first.as_nanos());
    let times = (0..INVALIDATIONS).map(|_| {
        let start = Instant::now();
        let done = cache.invalidate(Invalidation::tag("flavours")).now_or_never();
        assert!(done.expect("local").is_delivered());
        start.elapsed().as_secs_f64() * 1e9
    });
    println!("again, median of {INVALIDATIONS}: {:.0} ns", median(times.collect()));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
