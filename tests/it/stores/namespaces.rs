//! The table of a namespace in a local store grows with its invalidations. An idle namespace is
//! dropped.

use crate::support::*;
use futures::FutureExt;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{
    Dependency, Generation, Generations, LocalGenerations, Scope, StoreFuture, Strength, Validity,
};
use tower_response_cache::{Cache, Invalidation, MemoryStore};

fn ready<T: Send + 'static>(future: StoreFuture<T>) -> T {
    future.now_or_never().expect("local").expect("ok")
}

fn since(table: &dyn Generations, since: Generation, scope: Scope) -> Validity {
    ready(table.check(since, &[scope], &[]))
}

fn advance(table: &dyn Generations, scope: Scope) {
    ready(table.advance(&[scope], Strength::Hard));
}

// ---- Idle namespaces ----

/// More namespaces than a store keeps while they are idle.
const OTHERS: usize = 20_000;

/// Creates handles to other namespaces, invalidates a path in each, and drops them.
async fn use_others(cache: &Cache, others: std::ops::Range<usize>) {
    for number in others {
        let other = cache.with_namespace(format!("other {number}")).expect("valid");
        assert_eq!(other.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    }
}

fn tenant(cache: &Cache) -> Cache {
    cache.with_namespace("tenant").expect("valid")
}

async fn request_page(cache: &Cache, uri: &str) -> Answer {
    let (inner, _) = origin(|_, call| numbered(&[], call));
    send(&site_over(cache, inner), get(uri)).await
}

#[tokio::test(start_paused = true)]
async fn page_of_a_dropped_namespace_is_invalid() {
    let cache = Cache::new(MemoryStore::with_max_bytes(8 << 20));
    request_page(&tenant(&cache), "/").await;
    assert!(request_page(&tenant(&cache), "/").await.is_hit());
    assert_eq!(tenant(&cache).invalidate(Invalidation::path("/old")).await, Delivery::Delivered);
    use_others(&cache, 0..OTHERS).await;
    assert!(
        !request_page(&tenant(&cache), "/").await.is_hit(),
        "its invalidations are lost, so its pages are invalid"
    );
    assert!(request_page(&tenant(&cache), "/").await.is_hit());
    assert_eq!(tenant(&cache).invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(!request_page(&tenant(&cache), "/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn per_request_handles_keep_a_used_namespace() {
    let cache = Cache::new(MemoryStore::with_max_bytes(8 << 20));
    request_page(&tenant(&cache), "/").await;
    for from in (0..OTHERS).step_by(500) {
        use_others(&cache, from..from + 500).await;
        assert!(request_page(&tenant(&cache), "/").await.is_hit(), "{from}");
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_small_namespaces_keep_their_pages() {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    for round in 0..3 {
        for number in 0..3_000 {
            let tenant = cache.with_namespace(number.to_string()).expect("valid");
            assert_eq!(request_page(&tenant, "/").await.is_hit(), round > 0, "{number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn recently_released_namespace_is_kept() {
    let cache = Cache::new(MemoryStore::with_max_bytes(8 << 20));
    let held = tenant(&cache);
    request_page(&held, "/").await;
    use_others(&cache, 0..OTHERS).await;
    drop(held);
    use_others(&cache, OTHERS..OTHERS + 500).await;
    assert!(request_page(&tenant(&cache), "/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_a_handle_is_never_dropped() {
    let cache = Cache::new(MemoryStore::with_max_bytes(8 << 20));
    let (held, root) = (tenant(&cache), request_page(&cache, "/").await);
    assert!(!root.is_hit());
    request_page(&held, "/").await;
    use_others(&cache, 0..OTHERS).await;
    assert!(request_page(&held, "/").await.is_hit());
    assert!(request_page(&tenant(&cache), "/").await.is_hit(), "both handles share one table");
    assert!(request_page(&cache, "/").await.is_hit(), "the cache's own namespace is kept, too");
    assert_eq!(tenant(&cache).invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(!request_page(&held, "/").await.is_hit());
}

#[test]
fn recreated_namespace_has_a_later_incarnation() {
    let generations = LocalGenerations::new();
    let mut last = 0;
    for _ in 0..5 {
        let incarnation = ready(generations.namespace("tenant").current()).incarnation();
        assert!(incarnation > last);
        last = incarnation;
        for number in 0..OTHERS {
            drop(generations.namespace(&number.to_string()));
        }
    }
}

/// While a namespace has a handle, every new handle shares its table.
#[test]
fn concurrent_handles_share_one_table_per_namespace() {
    let generations = LocalGenerations::new();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let generations = &generations;
            threads.spawn(move || {
                for number in 0..20_000_usize {
                    let name = if number % 4 == 0 {
                        (number % 16).to_string()
                    } else {
                        format!("{thread} {number}")
                    };
                    let (one, other) = (generations.namespace(&name), generations.namespace(&name));
                    let before = ready(one.current());
                    advance(&*one, Scope::path("/"));
                    assert_eq!(since(&*other, before, Scope::path("/")), Validity::Invalid);
                }
            });
        }
    });
}

// ---- Growth ----

/// One constructor for each kind of scope that has a name.
const KINDS: [fn(&str) -> Scope; 8] = [
    |name| Scope::path(name),
    |name| Scope::path(name).on_host("h"),
    |name| Scope::uri(name, None),
    |name| Scope::uri(name, None).on_host("h"),
    |name| Scope::subtree(name),
    |name| Scope::tag(name),
    |name| Scope::tag(name).on_host("h"),
    |name| Scope::value(name.as_bytes()),
];

#[test]
fn unrelated_scopes_are_rarely_invalidated_at_any_size() {
    for (kind, of) in KINDS.into_iter().enumerate() {
        let table = LocalGenerations::with_seed(kind as u64).namespace("n");
        let before = ready(table.current());
        let mut invalidated = 0;
        for (size, most) in [(1, 0), (5, 0), (100, 0), (1_000, 0), (5_000, 0), (10_000, 10), (15_000, 80)] {
            for number in invalidated..size {
                advance(&*table, of(&format!("/{number}")));
            }
            invalidated = size;
            let others = (0..10_000).map(|number| of(&format!("/other/{number}")));
            let wrong = others.filter(|other| since(&*table, before, *other) != Validity::Valid).count();
            assert!(wrong <= most, "{wrong} of 10,000 after {size} of kind {kind}");
        }
    }
}

proptest! {
    #![proptest_config(crate::support::cases(24))]

    /// Each step invalidates a range of names, so that tables grow to every size.
    #[test]
    fn no_invalidation_is_lost_while_tables_grow(
        steps in prop::collection::vec((0..KINDS.len(), 0..8_000_usize, 1..2_000_usize, any::<bool>()), 1..12),
    ) {
        let table = LocalGenerations::new().namespace("n");
        let scope = |kind: usize, number: usize| KINDS[kind](&format!("/{number}"));
        let mut model: HashMap<(usize, usize), (u64, u64)> = HashMap::new();
        let mut readings = vec![ready(table.current())];
        for (kind, first, count, is_hard) in steps {
            let scopes: Vec<_> = (first..first + count).map(|number| scope(kind, number)).collect();
            ready(table.advance(&scopes, if is_hard { Strength::Hard } else { Strength::Soft }));
            let now = ready(table.current());
            for number in first..first + count {
                let marks = model.entry((kind, number)).or_default();
                if is_hard { marks.0 = now.counter() } else { marks.1 = now.counter() }
            }
            readings.push(now);
            for reading in &readings {
                for (&(kind, number), &(hard, soft)) in model.iter().step_by(7) {
                    let found = since(&*table, *reading, scope(kind, number));
                    let counter = reading.counter();
                    prop_assert!(hard <= counter || found == Validity::Invalid);
                    prop_assert!(soft <= counter || found != Validity::Valid);
                }
            }
            // An entry that is made after all these invalidations is valid, whatever its scopes
            // are.
            for (kind, number) in model.keys().step_by(7) {
                prop_assert_eq!(since(&*table, now, scope(*kind, *number)), Validity::Valid);
            }
        }
    }
}

#[test]
fn checks_see_returned_invalidations_while_tables_grow() {
    const LAST: usize = 9_000;
    let table = LocalGenerations::new().namespace("n");
    let before = ready(table.current());
    let (done, scope) = (AtomicUsize::new(0), |number: usize| Scope::tag(&number.to_string()));
    std::thread::scope(|threads| {
        for thread in 0..3_usize {
            let (table, done) = (&table, &done);
            threads.spawn(move || {
                let mut at = thread;
                loop {
                    let last = done.load(Ordering::SeqCst);
                    if last == LAST {
                        return;
                    }
                    at = (at * 31 + 7) % (last + 1);
                    for number in [at, last].into_iter().filter(|number| (1..=last).contains(number)) {
                        assert_eq!(since(&**table, before, scope(number)), Validity::Invalid);
                    }
                    // A reader that sees a generation must also see every invalidation up to that
                    // generation.
                    let counter = ready(table.current()).counter();
                    if counter > 0 {
                        let newest = scope(counter as usize);
                        assert_eq!(since(&**table, before, newest), Validity::Invalid);
                    }
                }
            });
        }
        for number in 1..=LAST {
            advance(&*table, scope(number));
            done.store(number, Ordering::SeqCst);
        }
    });
}

/// A dependent records its dependency before it reads the value, so that a later write invalidates
/// the dependent.
#[test]
fn no_dependent_is_missed_while_values_are_written() {
    for round in 0..20 {
        let table = LocalGenerations::new().namespace("n");
        let values: Vec<Mutex<bool>> = (0..500).map(|_| Mutex::default()).collect();
        let value = |number: usize| Scope::value(&number.to_le_bytes());
        let begun = AtomicBool::new(false);
        let readings = std::thread::scope(|threads| {
            let readers: Vec<_> = (0..2)
                .map(|reader| {
                    let (table, values, begun) = (&table, &values, &begun);
                    threads.spawn(move || {
                        while !begun.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                        let mut old = Vec::new();
                        for number in (reader..500).step_by(1 + round % 2) {
                            let since = ready(table.depend(value(number)));
                            if !*values[number].lock().expect("not poisoned") {
                                old.push(Dependency::new(value(number), since));
                            }
                        }
                        old
                    })
                })
                .collect();
            begun.store(true, Ordering::Relaxed);
            for (number, written) in values.iter().enumerate() {
                let before = ready(table.current());
                *written.lock().expect("not poisoned") = true;
                ready(table.written(value(number), before));
            }
            readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect::<Vec<_>>()
        });
        let now = ready(table.current());
        for old in readings {
            assert_eq!(ready(table.check(now, &[], &[old])), Validity::Invalid);
        }
    }
}

#[test]
fn clones_of_local_generations_share_namespaces() {
    let generations = LocalGenerations::new();
    let (one, other) = (generations.namespace("n"), generations.clone().namespace("n"));
    assert_eq!(Arc::strong_count(&one), 3, "the map holds one reference");
    advance(&*one, Scope::tag("t"));
    assert_eq!(ready(one.current()), ready(other.current()));
}
