//! Numbers of the low-level cache: counters, and integers that were set, added or computed.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use futures::executor::block_on;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, Ttl};

const S: Duration = Duration::from_secs(1);

fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Stock(u16);

#[tokio::test(start_paused = true)]
async fn any_stored_integer_can_be_incremented_and_keeps_its_ttl() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        cache.set("set", &1_u8, 10 * S).await?;
        cache.set("option", &Some(1_i64), 10 * S).await?;
        cache.set("newtype", &Stock(1), 10 * S).await?;
        cache.set_many([("many", 1)], 10 * S).await?;
        assert!(cache.add("added", &1_u32, 10 * S).await?);
        cache.get_or_set("computed", 10 * S, 1_u64).await?;
        cache.incr_or("counter", 1, 0, 10 * S).await?;
        cache.set("ever", &1, Ttl::Forever).await?;
        let keys = ["set", "option", "newtype", "many", "added", "computed", "counter"];
        manual.advance(9 * S);
        for key in keys {
            assert_eq!((cache.incr(key, 300).await?, cache.decr(key, 1).await?), (301, 300), "{key}");
            assert_eq!(cache.incr_or(key, 1, 7, 100 * S).await?, 301, "{key}");
            assert_eq!(cache.get::<u8>(key).await?, None, "{key}: out of range");
            assert_eq!(cache.get::<u16>(key).await?, Some(301), "{key}");
            assert_eq!(cache.get::<i128>(key).await?, Some(301), "{key}");
            assert_eq!(cache.get::<Option<u64>>(key).await?, Some(Some(301)), "{key}");
            assert_eq!(cache.get::<Stock>(key).await?, Some(Stock(301)), "{key}");
            assert_eq!(cache.get_many::<i32, _>([key]).await?[key], 301, "{key}");
            assert_eq!(cache.get_or_set(key, S, 7_u16).await?, 301, "{key}");
        }
        manual.advance(S);
        for key in keys {
            assert!(!cache.contains(key).await?, "{key}: the TTL is unchanged");
            assert_eq!(kind(cache.incr(key, 1).await), Some(StoreErrorKind::Missing), "{key}");
        }
        manual.advance(1_000_000 * S);
        assert_eq!(cache.incr("ever", 1).await?, 2);
        manual.advance(1_000_000 * S);
        assert_eq!(cache.get::<u8>("ever").await?, Some(2));
        assert_eq!(cache.store_errors(), 0, "the store has not failed");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn non_integers_cannot_be_incremented_and_stay_unchanged() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        cache.set("text", "7", S).await?;
        cache.set("float", &1.5, S).await?;
        cache.set("truth", &true, S).await?;
        cache.set("none", &None::<u8>, S).await?;
        cache.set("list", &[1], S).await?;
        cache.set_bytes("bytes", &[7][..], S).await?;
        for key in ["text", "float", "truth", "none", "list", "bytes"] {
            for counted in [cache.incr(key, 1).await, cache.incr_or(key, 1, 0, S).await] {
                assert_eq!(kind(counted), Some(StoreErrorKind::NotANumber), "{key}");
            }
            assert!(cache.contains(key).await?, "{key}");
        }
        cache.set("most", &i64::MAX, S).await?;
        cache.set("least", &i64::MIN, S).await?;
        cache.set("more", &u64::MAX, S).await?;
        assert_eq!(kind(cache.incr("most", 1).await), Some(StoreErrorKind::Overflow));
        assert_eq!(kind(cache.decr("least", 1).await), Some(StoreErrorKind::Overflow));
        assert_eq!(kind(cache.decr("more", 1).await), Some(StoreErrorKind::Overflow));
        assert_eq!(cache.get::<u64>("more").await?, Some(u64::MAX));
        assert_eq!(cache.incr("most", -1).await?, i64::MAX - 1);
    }
    Ok(())
}

/// A number that was set keeps its tags, dependencies and dependents after an increment.
#[tokio::test(start_paused = true)]
async fn incremented_number_keeps_its_tags_and_dependents() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let read = |cache: Cache| async move {
            cache.get::<u32>("stock").await.ok().flatten().unwrap_or_default().to_string()
        };
        let (stack, _) = page(&cache, read);
        let settled = || async {
            let answer = send(&stack, get("/")).await.text().to_owned();
            tokio::time::sleep(S).await;
            answer
        };
        cache.value("stock").ttl(60 * S).tags(["t"]).set(&1).await?;
        assert_eq!((settled().await, settled().await), ("1".to_owned(), "1".to_owned()));
        cache.incr("stock", 1).await?;
        assert_eq!(settled().await, "2", "the page depends on the number");
        assert_eq!(cache.invalidate(Invalidation::tag("t")).await, Delivery::Delivered);
        assert_eq!(cache.get::<u32>("stock").await?, None, "the number keeps its tag");
        assert_eq!(kind(cache.incr("stock", 1).await), Some(StoreErrorKind::Missing));
        assert_eq!(cache.incr_or("stock", 1, 4, 60 * S).await?, 5);
        // This number depends on another value.
        cache.set("price", &2_u32, 60 * S).await?;
        let handle = cache.clone();
        let double = || async move { 2 * handle.get::<u32>("price").await.ok().flatten().unwrap_or(0) };
        assert_eq!(cache.get_or_set("double", 60 * S, double).await?, 4);
        assert_eq!((cache.incr("double", 1).await?, cache.get::<u32>("double").await?), (5, Some(5)));
        cache.set("price", &3_u32, 60 * S).await?;
        assert_eq!(cache.get::<u32>("double").await?, None);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn concurrent_increments_of_a_set_number_all_count() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        cache.set("n", &0, 60 * S).await?;
        let counted = join_all((0..200).map(|_| cache.incr("n", 1))).await;
        let mut sums = counted.into_iter().collect::<Result<Vec<_>, _>>()?;
        sums.sort_unstable();
        assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    }
    // Two caches share a slow remote store.
    let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
    let caches = [Cache::new(store.clone()), Cache::new(store)];
    caches[0].set("n", &0, 60 * S).await?;
    let counted = join_all((0..20).map(|number| caches[number % 2].incr("n", 1))).await;
    assert!(counted.iter().all(Result::is_ok), "{counted:?}");
    assert_eq!(caches[0].get::<u8>("n").await?, Some(20));
    Ok(())
}

/// An increment waits for earlier increments of the same number, but not longer than its time
/// limit.
#[tokio::test(start_paused = true)]
async fn increments_time_out_together_if_the_store_hangs() -> Result<(), Box<dyn Error>> {
    let store = Faulty::new(memory_store(1 << 20), Fault::Hangs);
    store.on.store(false, Ordering::SeqCst);
    let cache = Cache::new(store.clone());
    cache.set("n", &0, 60 * S).await?;
    store.on.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    let counted = join_all((0..50).map(|_| cache.incr("n", 1))).await;
    assert!(counted.into_iter().all(|counted| kind(counted) == Some(StoreErrorKind::TimedOut)));
    assert!(begun.elapsed() <= S, "{:?}", begun.elapsed());
    Ok(())
}

/// Increments the number `n`. Tries again if other threads changed it during every attempt.
fn increment(cache: &Cache) -> Result<i64, StoreError> {
    loop {
        match block_on(cache.incr("n", 1)) {
            Err(error) if error.kind() == StoreErrorKind::Contended => {}
            result => return result,
        }
    }
}

/// Counts a thread as ended when it is dropped, also after a panic.
struct CountedThread<'a>(&'a AtomicUsize);

impl Drop for CountedThread<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All threads increment the number. In the second part, one thread sets and deletes the number
/// while the others increment it.
#[test]
fn threads_that_count_set_and_delete_lose_no_update() {
    const TIMES: usize = 2_000;
    let cache = memory();
    let in_threads = |work: &(dyn Fn(usize) + Sync)| {
        let barrier = &std::sync::Barrier::new(8);
        let run = move |thread| {
            barrier.wait();
            work(thread);
        };
        std::thread::scope(|scope| (0..8).for_each(|thread| drop(scope.spawn(move || run(thread)))));
    };
    block_on(cache.set("n", &0, Ttl::Forever)).expect("set");
    in_threads(&|_| {
        for _ in 0..TIMES {
            increment(&cache).expect("counted");
        }
    });
    let sum = block_on(cache.get::<usize>("n")).expect("read");
    assert_eq!(sum, Some(8 * TIMES));
    // Each set writes a number above all earlier sums. A sum that is too low shows that a set was
    // lost.
    let (base, lost) = (AtomicI64::new(0), AtomicUsize::new(0));
    let changes = AtomicUsize::new(0);
    let counting = AtomicUsize::new(7);
    in_threads(&|thread| {
        if thread > 0 {
            let _counted = CountedThread(&counting);
            for _ in 0..TIMES {
                let set = base.load(Ordering::SeqCst);
                match increment(&cache) {
                    Ok(sum) if sum < set => drop(lost.fetch_add(1, Ordering::SeqCst)),
                    Ok(_) => drop(changes.fetch_add(1, Ordering::SeqCst)),
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Missing),
                }
            }
            return;
        }
        for time in 0.. {
            if counting.load(Ordering::SeqCst) == 0 {
                break;
            }
            if time % 4 == 3 {
                block_on(cache.delete("n")).expect("deleted");
            } else {
                let number = base.load(Ordering::SeqCst) + 1_000_000;
                block_on(cache.set("n", &number, Ttl::Forever)).expect("set");
                base.store(number, Ordering::SeqCst);
            }
        }
    });
    assert_eq!(lost.load(Ordering::SeqCst), 0);
    assert!(changes.load(Ordering::SeqCst) > 0);
}

/// The number is set while it is being recomputed, and in the second round also incremented.
#[tokio::test(start_paused = true)]
async fn stale_computation_does_not_replace_a_set_or_counted_number() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        for counts in [false, true] {
            let value = || cache.value("n").ttl(10 * S).stale_while_revalidate(60 * S);
            value().set(&1_u8).await?;
            manual.advance(11 * S);
            let slow = cache.clone();
            let computed = tokio::spawn(async move {
                let value = slow.value("n").ttl(10 * S).stale_while_revalidate(60 * S);
                value
                    .get_or_set(|| async {
                        tokio::time::sleep(5 * S).await;
                        7_u8
                    })
                    .await
            });
            tokio::time::sleep(S).await;
            cache.set("n", &20_u8, 60 * S).await?;
            if counts {
                cache.incr("n", 1).await?;
            }
            assert_eq!(computed.await??, 7);
            assert_eq!(cache.get::<u8>("n").await?, Some(20 + u8::from(counts)));
            cache.delete("n").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn page_that_increments_a_number_is_invalidated_by_its_tag() {
    let cache = memory();
    let handle = cache.clone();
    let inner = tower::service_fn(move |_: http::Request<Body>| {
        let cache = handle.clone();
        async move {
            let count = cache.incr("n", 1).await.unwrap_or(0);
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(count.to_string())))
        }
    });
    let policy = policy().build().expect("a policy");
    let stack = tower::Layer::layer(&tower_response_cache::SiteCacheLayer::new(&cache).policy(policy), inner);
    let stack = tower::ServiceExt::boxed_clone(stack);
    cache.value("n").tags(["t"]).set(&1).await.expect("set");
    assert_eq!(send(&stack, get("/")).await.text(), "2");
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(cache.invalidate(tower_response_cache::Invalidation::tag("t")).await, Delivery::Delivered);
    assert!(!send(&stack, get("/")).await.is_hit());
}
