//! Compares a hit and a miss with the floor: a bare service that returns a clone of the response.
//!
//! A time covers the call, the poll and the drop of the response. All requests are copies of one
//! request with 12 header lines, made before the measured calls.
//!
//! First, the benchmark prints a table with two ratios to the floor: `calls` compares the calls
//! alone, and `whole` the calls with the creation of the requests. The cases of the table take
//! turns, so that other load on the machine affects them equally. Then criterion measures each case
//! alone.
//!
//! ```text
//! cargo bench --bench hit               # both, about a minute
//! cargo bench --bench hit -- --ratios   # the table alone, about 15 seconds
//! cargo bench --bench hit -- 'hit'      # criterion alone, matching cases
//! ```

mod support;

use criterion::Criterion;
use http::{Request, Response, Uri};
use std::convert::Infallible;
use std::hint::{black_box, spin_loop};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Answer, Body, LARGE, SMALL, call, uri, with_uri};
use tower::{Service, service_fn};
use tower_response_cache::MemoryStore;

/// The number of requests that are made in advance, few enough to stay in the processor's cache.
const BATCH: u64 = 64;
const KEYS: usize = 10_000;
/// The number of misses in one store. Then a new, empty store replaces it, so that nothing is
/// evicted.
const MISSES: u64 = 8192;
const ROUNDS: usize = 41;

/// The durations of some operations.
#[derive(Clone, Copy, Default)]
struct Times {
    calls: Duration,
    /// The time of the calls and of the creation of their requests.
    with_requests: Duration,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.with_requests += other.with_requests;
    }
}

/// Runs an operation a number of times, and returns the durations.
type Run = Box<dyn FnMut(u64) -> Times>;

struct Case {
    name: &'static str,
    run: Run,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let ratios_only = arguments.iter().any(|argument| argument == "--ratios");
    let mut cases = cases();
    if ratios_only || (arguments.is_empty() && std::env::args().len() > 1) {
        print_ratios(&mut cases);
        print_scaling();
    }
    if ratios_only {
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in &mut cases {
        criterion.bench_function(case.name, |bencher| {
            bencher.iter_custom(|iterations| (case.run)(iterations).calls)
        });
    }
    let (floor, hit) = (support::floor(support::response(SMALL)), hot());
    for threads in [1, 2] {
        criterion.bench_function(&format!("floor, one response, {threads} threads"), |bencher| {
            bencher.iter_custom(|iterations| on_threads(threads, &floor, iterations));
        });
        criterion.bench_function(&format!("hit, one key, {threads} threads"), |bencher| {
            bencher.iter_custom(|iterations| on_threads(threads, &hit, iterations));
        });
    }
    criterion.final_summary();
}

fn cases() -> Vec<Case> {
    let request = support::request();
    vec![
        Case { name: "floor", run: one(support::floor(support::response(SMALL)), request.clone()) },
        Case { name: "hit, 2 KiB", run: one(hot(), request.clone()) },
        Case {
            name: "hit, 100 KiB",
            run: one(support::warm(request.clone(), support::response(LARGE)), request.clone()),
        },
        Case {
            name: "hit, Vary: Accept-Encoding",
            run: one(support::warm(request.clone(), support::varying_response(SMALL)), request.clone()),
        },
        Case { name: "hit, 304", run: one(hot(), support::conditional(&request)) },
        Case { name: "bypass", run: one(hot(), support::identified(&request)) },
        Case { name: "open circuit", run: open_circuit(request.clone()) },
        Case { name: "miss and store", run: misses(request) },
        Case {
            name: "floor, 10,000 URIs, one response",
            run: many(support::floor(support::response(SMALL))),
        },
        Case { name: "floor, 10,000 responses", run: many(floor_of_many()) },
        Case { name: "hit, 10,000 keys", run: many(warm_for_many()) },
    ]
}

/// Returns a cache that has stored the response to the request.
fn hot()
-> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static {
    support::warm(support::request(), support::response(SMALL))
}

/// Measures calls. The requests of a batch are made before its calls.
fn timed<S>(service: &mut S, iterations: u64, mut request: impl FnMut() -> Request<Body>) -> Times
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let mut batch = Vec::with_capacity(BATCH as usize);
    let (mut total, mut left) = (Times::default(), iterations);
    while left > 0 {
        let now = left.min(BATCH);
        let start = Instant::now();
        batch.extend((0..now).map(|_| request()));
        let made = Instant::now();
        for request in batch.drain(..) {
            black_box(call(service, black_box(request)));
        }
        total += Times { calls: made.elapsed(), with_requests: start.elapsed() };
        left -= now;
    }
    total
}

/// Sends the same request each time.
fn one<S>(mut service: S, request: Request<Body>) -> Run
where
    S: Service<Request<Body>, Error = Infallible> + 'static,
{
    Box::new(move |iterations| timed(&mut service, iterations, || request.clone()))
}

/// Sends random requests for 10,000 URIs, each equally likely.
fn many<S>(mut service: S) -> Run
where
    S: Service<Request<Body>, Error = Infallible> + 'static,
{
    let (request, uris, mut random) = (support::request(), uris(), XorShift::new());
    Box::new(move |iterations| {
        timed(&mut service, iterations, || with_uri(&request, &uris[random.below(KEYS)]))
    })
}

/// Sends a request with another key each time, over a store that evicts nothing.
fn misses(request: Request<Body>) -> Run {
    Box::new(move |iterations| {
        let (mut total, mut left) = (Times::default(), iterations);
        while left > 0 {
            let now = left.min(MISSES);
            let store = MemoryStore::with_max_bytes(128 << 20);
            let mut service = support::cached(store.clone(), support::response(SMALL));
            let mut next = 0..;
            let mut request = || with_uri(&request, &uri(next.next().unwrap_or_default()));
            total += timed(&mut service, now, &mut request);
            assert_eq!(store.len() as u64, now, "each response is stored");
            left -= now;
        }
        total
    })
}

/// Sends requests to a cache whose circuit is open.
///
/// Each batch gets a new cache, because an open circuit sends a request to the store after a while.
fn open_circuit(request: Request<Body>) -> Run {
    Box::new(move |iterations| {
        let (mut total, mut left) = (Times::default(), iterations);
        while left > 0 {
            let now = left.min(BATCH);
            let mut service = support::broken(support::response(SMALL));
            total += timed(&mut service, now, || request.clone());
            left -= now;
        }
        total
    })
}

fn uris() -> Vec<Uri> {
    (0..KEYS).map(uri).collect()
}

fn floor_of_many() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    let responses: Vec<_> = (0..KEYS).map(|_| support::response(SMALL)).collect();
    let mut random = XorShift::new();
    service_fn(move |_: Request<Body>| {
        let response = responses[random.below(KEYS)].clone();
        async move { Ok(response) }
    })
}

fn warm_for_many() -> impl Service<Request<Body>, Response: Answer, Error = Infallible> {
    let mut service = support::cached(MemoryStore::with_max_bytes(128 << 20), support::response(SMALL));
    let request = support::request();
    for uri in uris().into_iter().chain(uris()) {
        call(&mut service, with_uri(&request, &uri));
    }
    for uri in uris() {
        assert!(call(&mut service, with_uri(&request, &uri)).is_hit(), "everything is stored");
    }
    service
}

/// Calls clones of the service on several threads at the same time. Returns the time of one thread
/// divided by the number of threads.
fn on_threads<S>(threads: usize, service: &S, iterations: u64) -> Duration
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
{
    let arrived = AtomicUsize::new(0);
    let arrived = &arrived;
    let total: Duration = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                let mut service = service.clone();
                scope.spawn(move || {
                    // Each thread has its own request, so that the threads share only the service.
                    let request = support::request();
                    timed(&mut service, 4 * BATCH, || request.clone());
                    let mut total = Duration::ZERO;
                    let batches = iterations.div_ceil(BATCH);
                    for batch in 1..=batches as usize {
                        let mut requests: Vec<_> = (0..BATCH).map(|_| request.clone()).collect();
                        arrived.fetch_add(1, Ordering::SeqCst);
                        while arrived.load(Ordering::SeqCst) < batch * threads {
                            spin_loop();
                        }
                        let start = Instant::now();
                        for request in requests.drain(..) {
                            black_box(call(&mut service, black_box(request)));
                        }
                        total += start.elapsed();
                    }
                    total.mul_f64(iterations as f64 / (batches * BATCH) as f64)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    total / (threads * threads) as u32
}

/// Prints the median times of each case, and its median ratios to the floor. The floor is the first
/// case, and each ratio is between times of the same round.
fn print_ratios(cases: &mut [Case]) {
    const ITERATIONS: u64 = MISSES;
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for round in 0..=ROUNDS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let time = (case.run)(ITERATIONS);
            // The first round only warms up.
            if round > 0 {
                times.push(
                    [time.calls, time.with_requests].map(|time| time.as_secs_f64() * 1e9 / ITERATIONS as f64),
                );
            }
        }
    }
    eprintln!("{:34} {:>9} {:>9} {:>9} {:>9}", "", "calls, ns", "ratio", "whole, ns", "ratio");
    for (case, own) in cases.iter().zip(&times) {
        let columns = [0, 1].map(|which| {
            let ratios = own.iter().zip(&times[0]).map(|(own, floor)| own[which] / floor[which]).collect();
            let ns = median(own.iter().map(|own| own[which]).collect());
            format!("{ns:9.0} {:9.2}", median(ratios))
        });
        eprintln!("{:34} {}", case.name, columns.join(" "));
    }
}

/// Prints the throughput of one thread and of two, and their ratio.
fn print_scaling() {
    const ITERATIONS: u64 = 50_000;
    eprintln!("{:34} {:>9} {:>9}", "operations a second", "1 thread", "2 threads");
    print_scaling_of("floor, one response", &support::floor(support::response(SMALL)), ITERATIONS);
    print_scaling_of("hit, one key", &hot(), ITERATIONS);
}

fn print_scaling_of<S>(name: &str, service: &S, iterations: u64)
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
{
    let rate = |threads| iterations as f64 / on_threads(threads, service, iterations).as_secs_f64();
    let pairs: Vec<_> = (0..21).map(|_| (rate(1), rate(2))).collect();
    let one = median(pairs.iter().map(|pair| pair.0).collect());
    let two = median(pairs.iter().map(|pair| pair.1).collect());
    let ratio = median(pairs.iter().map(|pair| pair.1 / pair.0).collect());
    eprintln!("{name:34} {one:9.0} {two:9.0}, {ratio:.2} times as many");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A generator of pseudo-random numbers, the same in each run.
struct XorShift(u64);

impl XorShift {
    fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
