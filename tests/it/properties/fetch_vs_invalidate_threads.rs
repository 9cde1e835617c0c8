//! Random interleavings of fetches, invalidations and reads, checked against a reference model.

use crate::support::*;
use http::Request;
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, SiteCacheLayer};

#[derive(Debug, Clone)]
enum Step {
    /// A visitor requests a page in a language, `at` milliseconds after the start.
    Read { page: usize, language: usize, at: u64 },
    /// Changes the data of a page, and then invalidates that page or everything.
    Write { page: usize, at: u64, everything: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_usize, 0..2_usize, 0..300_u64).prop_map(|(page, language, at)| Step::Read { page, language, at }),
        1 => (0..3_usize, 0..300_u64, any::<bool>()).prop_map(|(page, at, everything)| Step::Write { page, at, everything }),
    ]
}

proptest! {
    #![proptest_config(crate::support::cases(300))]
    /// A request that begins after an invalidation has returned never gets data older than that
    /// invalidation.
    #[test]
    fn no_response_is_older_than_a_prior_invalidation(
        steps in prop::collection::vec(step(), 1..60),
        delays in prop::collection::vec(0..80_u64, 32),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async move {
            // The capacity is small, so that entries are evicted too.
            let cache = Cache::new(memory_store(64 << 10));
            let data: Arc<[AtomicU64; 3]> = Arc::default();
            // The model: for each page, the version announced by its last completed invalidation.
            let announced: Arc<Mutex<[u64; 3]>> = Arc::default();
            let calls = Calls::default();
            let (source, counted) = (Arc::clone(&data), calls.clone());
            let inner = service_fn(move |request: Request<Body>| {
                let page: usize = request.uri().path()[1..].parse().expect("a page");
                let delay = delays[counted.next() % delays.len()];
                let source = Arc::clone(&source);
                async move {
                    // The data is read before the wait, so that a write is likely to happen during
                    // the call.
                    let version = source[page].load(Ordering::SeqCst);
                    sleep(Duration::from_millis(delay)).await;
                    Ok::<_, Infallible>(with_lines(&[("vary", "accept-language")], version.to_string()))
                }
            });
            let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
            let tasks: Vec<_> = steps.into_iter().map(|step| {
                let (stack, cache, data, announced) = (stack.clone(), cache.clone(), Arc::clone(&data), Arc::clone(&announced));
                tokio::spawn(async move {
                    match step {
                        Step::Read { page, language, at } => {
                            sleep(Duration::from_millis(at)).await;
                            let least = announced.lock().expect("not poisoned")[page];
                            let request = get_with(&format!("/{page}"), &[("accept-language", ["de", "en"][language])]);
                            let answer = read(stack.oneshot(request).await.expect("infallible")).await;
                            let version: u64 = answer.text().parse().expect("a version");
                            assert!(version >= least, "page {page}: got {version}, but {least} was announced before");
                        }
                        Step::Write { page, at, everything } => {
                            sleep(Duration::from_millis(at)).await;
                            let version = data[page].fetch_add(1, Ordering::SeqCst) + 1;
                            let what = if everything { Invalidation::all() } else { Invalidation::path(format!("/{page}")) };
                            assert_eq!(cache.invalidate(what).await, Delivery::Delivered);
                            let mut announced = announced.lock().expect("not poisoned");
                            announced[page] = announced[page].max(version);
                        }
                    }
                })
            }).collect();
            for task in tasks {
                task.await.expect("the promise holds");
            }
            assert_eq!(cache.flights(), 0);
        });
    }
}

#[test]
fn on_threads_no_response_is_older_than_a_prior_invalidation() {
    let cache = Cache::new(memory_store(1 << 20));
    let data = Arc::new(AtomicU64::new(0));
    let announced = Arc::new(AtomicU64::new(0));
    let source = Arc::clone(&data);
    let inner = service_fn(move |_: Request<Body>| {
        let version = source.load(Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(with_lines(&[], version.to_string()))
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let readers = (0..4).map(|_| {
            let (stack, announced) = (stack.clone(), Arc::clone(&announced));
            tokio::spawn(async move {
                for _ in 0..5000 {
                    let least = announced.load(Ordering::SeqCst);
                    let answer = send(&stack, get("/")).await;
                    let version: u64 = answer.text().parse().expect("a version");
                    assert!(version >= least, "got {version}, but {least} was announced before");
                }
            })
        });
        let mut tasks: Vec<_> = readers.collect();
        let (cache, announced) = (cache.clone(), Arc::clone(&announced));
        tasks.push(tokio::spawn(async move {
            for _ in 0..500 {
                let version = data.fetch_add(1, Ordering::SeqCst) + 1;
                assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
                announced.fetch_max(version, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }));
        for task in tasks {
            task.await.expect("the promise holds");
        }
    });
}
