//! Counts the allocations of a hit and a miss, and of the floor: a bare service that returns a
//! clone of the response. A count includes the drop of the response, but not the creation of the
//! request.
//!
//! ```text
//! cargo bench --bench counts
//! ```

mod support;

use allocation_counter::{AllocationInfo, measure};
use http::Request;
use std::convert::Infallible;
use std::hint::black_box;
use support::{Body, LARGE, SMALL, call, uri, with_uri};
use tower::Service;
use tower_response_cache::MemoryStore;

/// The number of operations of each case.
const TIMES: u64 = 4096;

fn main() {
    let request = support::request();
    let same = || request.clone();
    let store = MemoryStore::with_max_bytes(128 << 20);
    let mut next = 0..;
    let new = || {
        let number = next.next().unwrap_or_default();
        with_uri(&request, &uri(number))
    };
    println!("{:28} {:>12} {:>8} {:>14}", "", "allocations", "bytes", "most in one");
    print("floor", support::floor(support::response(SMALL)), same);
    print("hit, 2 KiB", support::warm(request.clone(), support::response(SMALL)), same);
    print("hit, 100 KiB", support::warm(request.clone(), support::response(LARGE)), same);
    print(
        "hit, Vary: Accept-Encoding",
        support::warm(request.clone(), support::varying_response(SMALL)),
        same,
    );
    let conditional = support::conditional(&request);
    print("hit, 304", support::warm(request.clone(), support::response(SMALL)), || conditional.clone());
    let identified = support::identified(&request);
    print("bypass", support::warm(request.clone(), support::response(SMALL)), || identified.clone());
    print("open circuit", support::broken(support::response(SMALL)), same);
    print("miss and store", support::cached(store.clone(), support::response(SMALL)), new);
    assert_eq!(store.len() as u64, TIMES + 1, "each response is stored");
    #[cfg(feature = "redis")]
    print_redis(&request);
}

/// Prints the allocations of a hit in Redis, and of the client's own `GET` of the same bytes.
#[cfg(feature = "redis")]
fn print_redis(request: &Request<Body>) {
    use support::redis::{Client, Server, cache, hit, runtime, site};

    let Some(server) = Server::start() else { return };
    let runtime = runtime();
    let cache = runtime.block_on(cache(&server));
    let site = runtime.block_on(site(&cache));
    let client = runtime.block_on(Client::connect(&server));
    print_counts("GET", || measure(|| runtime.block_on(client.get(0))));
    print_counts("hit in Redis, 2 KiB", || {
        let (site, request) = (site.clone(), request.clone());
        measure(|| runtime.block_on(hit(site, request)))
    });
}

/// Prints the allocations of calls of a service.
fn print<S>(name: &str, mut service: S, mut request: impl FnMut() -> Request<Body>)
where
    S: Service<Request<Body>, Error = Infallible>,
{
    call(&mut service, request());
    print_counts(name, || {
        let request = request();
        measure(|| drop(black_box(call(&mut service, request))))
    });
}

/// Prints the mean number of allocations and of bytes per operation, and the maximum number of
/// allocations.
fn print_counts(name: &str, mut operation: impl FnMut() -> AllocationInfo) {
    let mut sum = AllocationInfo::default();
    let mut most = 0;
    for _ in 0..TIMES {
        let counted = operation();
        most = most.max(counted.count_total);
        sum += counted;
    }
    let mean = |total: u64| total as f64 / TIMES as f64;
    println!("{name:28} {:12.2} {:8.0} {most:14}", mean(sum.count_total), mean(sum.bytes_total));
}
