//! Compares a hit of a cache in Redis with the client's own `GET` of the same bytes.
//!
//! The benchmark starts `redis-server`, or the program that `REDIS_SERVER` names, on the loopback
//! interface. Without such a program, it measures nothing. One thread runs the callers and the
//! client.
//!
//! The cache and the client take turns, so that other load on the machine affects them equally. The
//! ratios are the medians of the ratios in each round.
//!
//! ```text
//! cargo bench --bench redis --features redis    # about a minute
//! ```
//!
//! `counts.rs` counts the allocations, and `instructions.rs` the instructions.

mod support;

use futures::future::join_all;
use http::Request;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use support::redis::{Client, Server, cache, hit, runtime, site};
use support::{Answer, Body, uri, with_uri};
use tower::{Service, ServiceExt};
use tower_response_cache::Cache;

/// The number of operations of each side in one round.
const OPERATIONS: usize = 4096;
const ROUNDS: usize = 41;
/// The number of pages of a site with many pages.
const PAGES: usize = 512;
/// The number of keys of one `get_many`.
const MANY: usize = 100;

fn main() {
    let Some(server) = Server::start() else { return };
    runtime().block_on(async {
        let cache = cache(&server).await;
        let site = site(&cache).await;
        let client = Client::connect(&server).await;
        eprintln!("{:34} {:>12} {:>12} {:>6}", "operations a second", "GET", "hit", "ratio");
        for tasks in [1, 16, 64] {
            compare_hits(tasks, &[support::request()], &client, &site).await;
        }
        let pages: Vec<_> = (0..PAGES).map(|page| with_uri(&support::request(), &uri(page))).collect();
        for page in &pages {
            let _ = site.clone().oneshot(page.clone()).await;
        }
        cache.shutdown().await;
        let client = Client::connect(&server).await;
        for tasks in [1, 16, 64] {
            compare_hits(tasks, &pages, &client, &site).await;
        }
        compare_many(&cache).await;
    });
}

/// Prints the throughput of `GET` and of hits on some pages, by a number of concurrent tasks.
async fn compare_hits<S>(tasks: usize, pages: &[Request<Body>], client: &Client, site: &S)
where
    S: Service<Request<Body>, Response: Answer, Error = Infallible> + Clone,
{
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let gets = async {
            let start = Instant::now();
            let each = (0..tasks).map(async |task| {
                for number in 0..OPERATIONS / tasks {
                    client.get(number * tasks + task).await;
                }
            });
            join_all(each).await;
            start.elapsed()
        };
        let hits = async {
            let page = |number: usize| pages[number % pages.len()].clone();
            let requests = |task| (0..OPERATIONS / tasks).map(move |number| page(number * tasks + task));
            let all: Vec<Vec<_>> = (0..tasks).map(|task| requests(task).collect()).collect();
            let start = Instant::now();
            let each = all.into_iter().map(async |requests| {
                for request in requests {
                    hit(site.clone(), request).await;
                }
            });
            join_all(each).await;
            start.elapsed()
        };
        let pair = in_turn(round, gets, hits).await;
        // The first round warms up.
        if round > 0 {
            rounds.push(pair);
        }
    }
    print(&format!("{tasks} concurrent, pages: {}", pages.len()), OPERATIONS, &rounds);
}

/// Prints the throughput of single look-ups of values, and of look-ups of many at once.
async fn compare_many(cache: &Cache) {
    let keys: Vec<String> = (0..MANY).map(|number| format!("key-{number}")).collect();
    let values = keys.iter().map(|key| (key, "x".repeat(100)));
    let not_stored = cache.set_many(values, Duration::from_secs(600)).await.expect("stored");
    assert!(not_stored.is_empty());
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let single = async {
            let start = Instant::now();
            for key in &keys {
                assert!(cache.get::<String>(key).await.expect("read").is_some());
            }
            start.elapsed()
        };
        let many = async {
            let start = Instant::now();
            let found = cache.get_many::<String, _>(&keys).await.expect("read");
            assert_eq!(found.len(), MANY);
            start.elapsed()
        };
        let pair = in_turn(round, single, many).await;
        if round > 0 {
            rounds.push(pair);
        }
    }
    eprintln!("{:34} {:>12} {:>12} {:>6}", "values a second", "get", "get_many", "ratio");
    print(&format!("{MANY} values"), MANY, &rounds);
}

/// Runs two measurements. In every other round, the second one runs first.
async fn in_turn(
    round: usize,
    one: impl Future<Output = Duration>,
    other: impl Future<Output = Duration>,
) -> (Duration, Duration) {
    if round.is_multiple_of(2) {
        let one = one.await;
        (one, other.await)
    } else {
        let other = other.await;
        (one.await, other)
    }
}

fn print(name: &str, operations: usize, rounds: &[(Duration, Duration)]) {
    let rate = |time: &Duration| operations as f64 / time.as_secs_f64();
    let one = median(rounds.iter().map(|(one, _)| rate(one)));
    let other = median(rounds.iter().map(|(_, other)| rate(other)));
    let ratio = median(rounds.iter().map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()));
    eprintln!("{name:34} {one:12.0} {other:12.0} {ratio:6.2}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
