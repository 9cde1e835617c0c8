//! The low-level cache: values, counters and computations, on local and remote stores.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::NullStore;
use tower_response_cache::store::{Entry, KeyRef, PutMode};
use tower_response_cache::values::ComputeError;
use tower_response_cache::values::ValueError;
use tower_response_cache::{Cache, Invalidation, Store, Ttl};

const S: Duration = Duration::from_secs(1);

fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    name: String,
    price: Option<f64>,
}

fn row(name: &str) -> Row {
    Row { name: name.to_owned(), price: Some(1.5) }
}

#[tokio::test(start_paused = true)]
async fn value_is_returned_unchanged_until_it_expires() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        assert_eq!(cache.get::<Row>("k").await?, None);
        assert!(cache.set("k", &row("a"), 10 * S).await?);
        assert_eq!(cache.get::<Row>("k").await?, Some(row("a")));
        manual.advance(9 * S);
        assert!(cache.contains("k").await?);
        manual.advance(S);
        assert_eq!(cache.get::<Row>("k").await?, None);
        assert!(!cache.contains("k").await? && !cache.delete("k").await?, "an expired value is absent");
        // Three TTLs are not durations: `Ttl::Default`, `Ttl::Forever` and `None`.
        assert!(
            cache.set("default", "x", Ttl::Default).await? && cache.set("ever", "x", Ttl::Forever).await?
        );
        manual.advance(299 * S);
        assert!(cache.contains("default").await?);
        manual.advance(S);
        assert!(!cache.contains("default").await? && cache.contains("ever").await?);
        assert!(cache.set("none", "x", None).await? && cache.touch("none", None).await?);
        manual.advance(1000 * S);
        assert!(cache.contains("none").await?, "`None` never expires");
        assert!(cache.set("short", "x", Some(Duration::from_nanos(1))).await?, "the TTL is rounded up");
        assert!(cache.contains("short").await?);
        manual.advance(Duration::from_millis(1));
        assert!(!cache.contains("short").await?);
        assert!(!cache.set("ever", "y", Duration::ZERO).await?, "a zero TTL stores nothing");
        assert!(!cache.contains("ever").await?, "a zero TTL removes the old value");
        assert!(!cache.add("zero", "x", Duration::ZERO).await? && !cache.contains("zero").await?);
        let longest = cache.value("longest").ttl(Duration::MAX).stale_while_revalidate(S);
        assert!(longest.set("x").await? && cache.contains("longest").await?);
        // A stored `None` is a value.
        cache.set("none", &None::<u8>, 10 * S).await?;
        assert_eq!(cache.get::<Option<u8>>("none").await?, Some(None));
        cache.set_bytes("bytes", &b"\0\xff"[..], 10 * S).await?;
        assert_eq!(cache.get_bytes("bytes").await?.as_deref(), Some(&b"\0\xff"[..]));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn value_of_another_type_reads_as_none_and_is_replaced() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        cache.set("text", "hello", 10 * S).await?;
        cache.set_bytes("bytes", "hello", 10 * S).await?;
        cache.set_counter("number", 300, 10 * S).await?;
        for key in ["text", "bytes"] {
            assert_eq!(cache.get::<u8>(key).await?, None, "{key}");
        }
        assert_eq!(cache.get::<u8>("number").await?, None, "too large");
        assert_eq!(cache.get::<u16>("number").await?, Some(300));
        assert_eq!(cache.get_bytes("text").await?, None);
        let recomputed = cache.get_or_set("text", 10 * S, || async { 7_u8 }).await?;
        assert_eq!((recomputed, cache.get::<u8>("text").await?), (7, Some(7)));
        assert!(matches!(
            cache.set("map", &HashMap::from([(Unwritable, 1)]), S).await,
            Err(ValueError::Unwritable(_))
        ));
    }
    Ok(())
}

#[derive(PartialEq, Eq, Hash)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[tokio::test]
async fn keys_fragments_versions_and_namespaces_do_not_collide() -> Result<(), Box<dyn Error>> {
    let cache = memory();
    let long = "k".repeat(100_000);
    let keys = ["", "k", "k\0", "1:k", "a:1", long.as_str(), &long[1..]];
    for (number, key) in keys.iter().enumerate() {
        cache.set(key, &number, Ttl::Forever).await?;
    }
    let lists: [&[&str]; 5] = [&[], &[""], &["a", "b"], &["a:b"], &["ab"]];
    for (number, list) in lists.iter().enumerate() {
        cache.fragment("menu").vary_on(*list).ttl(Ttl::Forever).get_or_render(number).await?;
    }
    cache.fragment("menua").vary_on(["b"]).ttl(Ttl::Forever).get_or_render(99_usize).await?;
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(cache.get::<usize>(key).await?, Some(number), "{number}");
    }
    for (number, list) in lists.iter().enumerate() {
        assert_eq!(cache.fragment("menu").vary_on(*list).get_or_render(77).await?, number);
    }
    let (other, newer) = (cache.with_namespace("other")?, cache.with_version(2));
    for stranger in [&other, &newer] {
        assert!(!stranger.contains("k").await?);
        stranger.set("k", "theirs", Ttl::Forever).await?;
    }
    assert_eq!(cache.get::<usize>("k").await?, Some(1));
    assert!(cache.with_namespace("").is_err());
    Ok(())
}

#[tokio::test]
async fn key_function_is_applied_to_every_key() -> Result<(), Box<dyn Error>> {
    let builder = Cache::builder(memory_store(1 << 20));
    let cache = builder.key_function(|key| key.to_ascii_lowercase()).build()?;
    cache.set("Key", "x", Ttl::Forever).await?;
    assert_eq!(cache.get::<String>("kEY").await?.as_deref(), Some("x"));
    assert_eq!(cache.get_many::<String, _>(["KEY"]).await?.len(), 1);
    assert!(cache.delete("key").await? && !cache.contains("Key").await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_concurrent_add_succeeds_and_replaces_unusable_values() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        let added = join_all((0..16).map(|number| {
            let cache = cache.clone();
            async move { cache.add("k", &number, 10 * S).await.expect("added or not") }
        }));
        assert_eq!(added.await.into_iter().filter(|added| *added).count(), 1);
        manual.advance(10 * S);
        assert!(cache.add("k", "again", 10 * S).await?);
        cache.value("tagged").tags(["t"]).set("old").await?;
        assert!(!cache.value("tagged").add("new").await?);
        assert_eq!(cache.invalidate(Invalidation::tag("t")).await, Delivery::Delivered);
        assert_eq!(cache.get::<String>("tagged").await?, None);
        assert!(cache.value("tagged").add("new").await?);
        assert_eq!(cache.get::<String>("tagged").await?.as_deref(), Some("new"));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn counters_are_atomic_keep_their_ttl_and_report_errors() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        assert_eq!(kind(cache.incr("n", 1).await), Some(StoreErrorKind::Missing));
        let many = (0..32).map(|_| cache.incr_or("n", 1, 0, 10 * S));
        let mut seen: Vec<_> = join_all(many).await.into_iter().map(|n| n.expect("counted")).collect();
        seen.sort_unstable();
        assert_eq!(seen, (1..=32).collect::<Vec<_>>());
        manual.advance(9 * S);
        assert_eq!((cache.decr("n", 2).await?, cache.get::<i64>("n").await?), (30, Some(30)));
        manual.advance(S);
        assert_eq!(
            kind(cache.incr("n", 1).await),
            Some(StoreErrorKind::Missing),
            "an increment does not extend the TTL"
        );
        cache.set("text", "x", 10 * S).await?;
        assert_eq!(kind(cache.incr_or("text", 1, 0, S).await), Some(StoreErrorKind::NotANumber));
        cache.value("past").ttl(S).stale_while_revalidate(9 * S).set("x").await?;
        manual.advance(2 * S);
        assert_eq!(cache.incr_or("past", 1, 0, S).await?, 1, "a stale value is replaced");
        cache.set_counter("most", i64::MAX, 10 * S).await?;
        assert_eq!(kind(cache.incr("most", 1).await), Some(StoreErrorKind::Overflow));
        assert_eq!(kind(cache.decr("most", i64::MIN).await), Some(StoreErrorKind::Overflow));
        assert_eq!(cache.get::<i64>("most").await?, Some(i64::MAX));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn touch_sets_the_remaining_ttl_and_revives_no_expired_value() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        cache.set("k", "x", 10 * S).await?;
        cache.set_counter("n", 1, 10 * S).await?;
        manual.advance(9 * S);
        assert!(cache.touch("k", 10 * S).await? && cache.touch("n", 10 * S).await?);
        manual.advance(9 * S);
        assert!(cache.contains("k").await? && cache.contains("n").await?);
        manual.advance(S);
        assert!(!cache.touch("k", 10 * S).await? && !cache.contains("k").await?);
        assert!(!cache.contains("n").await?);
        cache.set("k", "x", 10 * S).await?;
        assert!(cache.touch("k", Ttl::Forever).await?);
        manual.advance(1000 * S);
        assert!(cache.touch("k", Duration::ZERO).await? && !cache.contains("k").await?);
        // A handle to a value has its own TTL and stale window, which its `touch` uses.
        let value = cache.value("v").ttl(10 * S).stale_while_revalidate(10 * S);
        assert!(!value.touch().await? && !value.contains().await?);
        value.set("x").await?;
        manual.advance(9 * S);
        assert!(value.touch().await?);
        manual.advance(9 * S);
        assert_eq!(value.get::<String>().await?.as_deref(), Some("x"));
        assert!(value.delete().await? && !value.delete().await? && value.get::<String>().await?.is_none());
        value.set_bytes("bytes").await?;
        assert_eq!(value.get_bytes().await?.as_deref(), Some(&b"bytes"[..]));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn bulk_operations_skip_values_that_are_absent() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        let not_stored = cache.set_many([("a", row("a")), ("b", row("b"))], 10 * S).await?;
        assert!(not_stored.is_empty());
        cache.set("c", "of another type", S).await?;
        let found = cache.get_many::<Row, _>(["a", "b", "c", "d"]).await?;
        assert_eq!(found, HashMap::from([("a", row("a")), ("b", row("b"))]));
        manual.advance(2 * S);
        assert_eq!(cache.delete_many(["a", "c", "d"]).await?, 1, "expired and absent values do not count");
        assert_eq!(cache.delete_many(["b", "b", "b"]).await?, 1, "a key counts once");
        assert!(cache.get_many::<Row, _>(["a", "b"]).await?.is_empty());
        assert!(cache.get_many::<Row, &str>([]).await?.is_empty());
        assert_eq!(cache.delete_many([""; 0]).await?, 0);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn set_many_returns_unstored_keys_and_takes_a_ttl_per_item() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        let ttls = [Ttl::For(S), Ttl::Forever, Ttl::Default, Ttl::For(Duration::ZERO)];
        let items = ["a", "b", "c", "d"].into_iter().zip(ttls).map(|(key, ttl)| (key, 1, ttl));
        assert_eq!(cache.set_many(items, 5 * S).await?, ["d"], "a zero TTL stores nothing");
        let large = "x".repeat(33 << 20);
        let not_stored = cache.set_many([("e", large.as_str()), ("f", "small")], 5 * S).await?;
        assert_eq!(not_stored, ["e"], "too large for the store");
        manual.advance(S);
        assert!(!cache.contains("a").await? && cache.contains("c").await?);
        manual.advance(4 * S);
        assert!(
            cache.contains("b").await? && !cache.contains("c").await?,
            "`Ttl::Default` is the TTL of the call"
        );
        // If several items have the same key, the last one is stored.
        let not_stored = cache.set_many([("g", 1, Some(S)), ("g", 2, None), ("h", 3, None)], S).await?;
        manual.advance(2 * S);
        assert!(not_stored.is_empty());
        assert_eq!(cache.get_many::<u8, _>(["g", "h"]).await?, HashMap::from([("g", 2), ("h", 3)]));
        let unwritable = HashMap::from([(Unwritable, 1)]);
        let result = cache.set_many([("i", Some(&unwritable)), ("j", None)], S).await;
        assert!(matches!(result, Err(ValueError::Unwritable(_))) && !cache.contains("j").await?);
    }
    let failing = Cache::new(Faulty::new(memory_store(1 << 20), Fault::CantPut));
    assert!(failing.set_many([("a", 1)], S).await.is_err());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn clear_removes_values_counters_and_pages_of_one_namespace() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let other = cache.with_namespace("other")?;
        for cache in [&cache, &other] {
            cache.set("k", "x", 10 * S).await?;
            cache.incr_or("n", 5, 0, 10 * S).await?;
        }
        let (inner, _) = origin(|_, call| numbered(&[], call));
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        tokio::time::sleep(S).await;
        assert!(send(&stack, get("/")).await.is_hit());
        assert_eq!(cache.clear().await, Delivery::Delivered);
        assert!(!cache.contains("k").await? && !cache.contains("n").await?);
        assert_eq!(cache.incr_or("n", 1, 0, 10 * S).await?, 1);
        assert!(!send(&stack, get("/")).await.is_hit());
        assert!(other.contains("k").await? && other.incr("n", 1).await? == 6);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn value_that_moves_to_a_version_keeps_its_remaining_ttl() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        cache.set("k", "x", 10 * S).await?;
        manual.advance(4 * S);
        assert_eq!(cache.incr_version("k").await?, 2);
        let next = cache.with_version(2);
        assert!(!cache.contains("k").await?);
        assert_eq!(next.get::<String>("k").await?.as_deref(), Some("x"));
        assert_eq!((next.decr_version("k").await?, cache.incr_version("k").await?), (1, 2));
        manual.advance(6 * S);
        assert!(!next.contains("k").await?);
        assert_eq!(kind(cache.incr_version("k").await), Some(StoreErrorKind::Missing));
        // A value cannot move below version 0 or above the last version.
        let (first, last) = (cache.with_version(0), cache.with_version(u32::MAX));
        for ends in [&first, &last] {
            ends.set("k", "x", 10 * S).await?;
        }
        assert_eq!(kind(first.decr_version("k").await), Some(StoreErrorKind::Overflow));
        assert_eq!(kind(last.incr_version("k").await), Some(StoreErrorKind::Overflow));
        assert!(first.contains("k").await? && last.contains("k").await?);
        assert_eq!((first.incr_version("k").await?, cache.decr_version("k").await?), (1, 0));
        cache.incr_or("n", 1, 0, 10 * S).await?;
        assert_eq!(kind(cache.incr_version("n").await), Some(StoreErrorKind::Unsupported));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_of_many_concurrent_callers_computes() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let calls = Calls::default();
        let all = (0..50).map(|_| {
            cache.get_or_set("k", 10 * S, || async {
                tokio::time::sleep(S).await;
                calls.next()
            })
        });
        assert!(join_all(all).await.into_iter().all(|value| value.is_ok_and(|value| value == 1)));
        assert_eq!((cache.get_or_set("k", S, || async { 9 }).await?, calls.count()), (1, 1));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn all_followers_receive_the_error_which_is_not_stored() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let calls = Calls::default();
        let compute = || {
            cache.try_get_or_set::<usize, String, _, _>("k", 10 * S, || async {
                tokio::time::sleep(S).await;
                match calls.next() {
                    1 => Err("down".to_owned()),
                    call => Ok(call),
                }
            })
        };
        for result in join_all((0..10).map(|_| compute())).await {
            assert!(matches!(result, Err(ComputeError::Failed(error)) if *error == "down"));
        }
        assert_eq!((compute().await.expect("a value"), calls.count()), (2, 2));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn follower_computes_if_the_leader_is_cancelled_or_panics() {
    for (cache, _) in caches() {
        for panics in [false, true] {
            let calls = Calls::default();
            let request_page = |first: bool| {
                let (cache, calls) = (cache.clone(), calls.clone());
                async move {
                    let compute = || async move {
                        calls.next();
                        tokio::time::sleep(5 * S).await;
                        if first && panics {
                            std::panic::resume_unwind(Box::new("compute"));
                        }
                        u8::from(first)
                    };
                    cache.get_or_set(if panics { "a" } else { "b" }, 60 * S, compute).await.expect("a value")
                }
            };
            let leader = tokio::spawn(request_page(true));
            tokio::time::sleep(S).await;
            let others: Vec<_> = (0..5).map(|_| tokio::spawn(request_page(false))).collect();
            tokio::time::sleep(S).await;
            if !panics {
                leader.abort();
            }
            for other in others {
                assert_eq!(other.await.expect("no panic"), 0);
            }
            assert_eq!(calls.count(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn follower_computes_after_its_timeout() -> Result<(), Box<dyn Error>> {
    let cache = memory();
    let hanging = cache.clone();
    let leader = tokio::spawn(async move {
        hanging.get_or_set("k", S, std::future::pending::<u8>).await.expect("never");
    });
    tokio::task::yield_now().await;
    assert_eq!(cache.get_or_set("k", 10 * S, || async { 2_u8 }).await?, 2);
    leader.abort();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_computation_that_began_before_a_change_is_not_stored() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        for change in 0..5 {
            let key = format!("k{change}");
            let slow = cache.clone();
            let name = key.clone();
            let old = tokio::spawn(async move {
                let compute = || async {
                    tokio::time::sleep(5 * S).await;
                    "old".to_owned()
                };
                slow.value(&name).tags(["t"]).get_or_set(compute).await.expect("a value")
            });
            tokio::time::sleep(S).await;
            match change {
                0 => drop(cache.delete(&key).await?),
                1 => drop(cache.set(&key, "set", 60 * S).await?),
                2 => assert_eq!(cache.invalidate(Invalidation::tag("t")).await, Delivery::Delivered),
                3 => assert_eq!(cache.clear_values().await, Delivery::Delivered),
                _ => assert_eq!(cache.clear().await, Delivery::Delivered),
            }
            // Callers after the change do not wait for the old computation.
            let new = cache.get_or_set(&key, 60 * S, || async { "new".to_owned() }).await?;
            let expected = if change == 1 { "set" } else { "new" };
            assert_eq!(new, expected, "{change}");
            assert_eq!(old.await?, "old");
            tokio::time::sleep(S).await;
            assert_eq!(cache.get::<String>(&key).await?.as_deref(), Some(expected), "{change}");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stale_value_serves_others_while_it_is_recomputed() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        let value = || cache.value("k").ttl(10 * S).stale_while_revalidate(10 * S);
        value().set(&1_u8).await?;
        manual.advance(12 * S);
        assert_eq!(cache.get::<u8>("k").await?, None);
        let anew = value();
        let slow = anew.get_or_set(|| async {
            tokio::time::sleep(5 * S).await;
            2_u8
        });
        let (new, old) = tokio::join!(slow, async {
            tokio::time::sleep(S).await;
            value().get_or_set(|| async { 3_u8 }).await
        });
        assert_eq!((new?, old?, cache.get::<u8>("k").await?), (2, 1, Some(2)));
        // A soft invalidation also makes the value stale.
        let tagged = || value().tags(["t"]);
        tagged().set(&4_u8).await?;
        assert_eq!(cache.invalidate(Invalidation::tag("t").soft()).await, Delivery::Delivered);
        assert_eq!(cache.get::<u8>("k").await?, None);
        assert_eq!(tagged().get_or_set(|| async { 5_u8 }).await?, 5);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn store_failures_are_counted_and_values_computed() -> Result<(), Box<dyn Error>> {
    let store = Faulty::new(memory_store(1 << 20), Fault::Down);
    let cache = Cache::new(store.clone());
    assert_eq!(kind(cache.get::<u8>("k").await), Some(StoreErrorKind::Unavailable));
    assert_eq!(cache.get_or_set("k", S, || async { 7_u8 }).await?, 7);
    assert!(matches!(cache.set("k", &1, S).await, Err(ValueError::Store(_))));
    assert!(
        cache.delete("k").await.is_err()
            && cache.incr("k", 1).await.is_err()
            && cache.clear().await == Delivery::Queued
    );
    assert!(cache.store_errors() >= 5);
    store.on.store(false, Ordering::SeqCst);
    assert_eq!(cache.get_or_set("k", S, || async { 8_u8 }).await?, 8, "the failed operations stored nothing");
    Ok(())
}

#[tokio::test]
async fn null_store_keeps_no_values() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(NullStore::new());
    assert!(cache.set("k", "x", S).await? && !cache.contains("k").await? && !cache.delete("k").await?);
    assert_eq!(cache.get_or_set("k", S, || async { 1 }).await?, 1);
    assert!(cache.add("k", "x", S).await? && !cache.touch("k", S).await?);
    assert_eq!(cache.incr_or("n", 1, 0, S).await?, 1);
    Ok(())
}

/// Other programs that use the store may put entries under any key.
#[tokio::test]
async fn foreign_entry_reads_as_absent() -> Result<(), Box<dyn Error>> {
    let store = memory_store(1 << 20);
    let cache = Cache::new(store.clone());
    for length in 0..40_usize {
        store
            .put(KeyRef::new(&vec![b'k'; length]), Entry::raw(vec![7; length]), None, PutMode::Always)
            .await?;
    }
    assert_eq!(cache.get::<u8>("k").await?, None);
    Ok(())
}

/// The name of a namespace may come from a client, and may therefore be long.
#[tokio::test]
async fn long_namespaces_and_keys_take_little_more_memory() -> Result<(), Box<dyn Error>> {
    let store = memory_store(8 << 20);
    let remote = Faulty::new(store.clone(), Fault::NoGenerations);
    for cache in [Cache::new(store.clone()), Cache::new(remote)] {
        for (number, end) in ["a", "b"].into_iter().enumerate() {
            let long = "n".repeat(100_000) + end;
            let namespace = cache.with_namespace(&long)?;
            assert_eq!(namespace.get::<usize>(&long).await?, None, "the value of another namespace");
            assert!(namespace.set(&long, &number, Ttl::Forever).await?);
            assert_eq!(namespace.get::<usize>(&long).await?, Some(number));
        }
    }
    assert!(store.weight() < 10_000, "{}", store.weight());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn soft_invalidation_without_a_window_leaves_no_stale_value() -> Result<(), Box<dyn Error>> {
    for (window, expected) in [(Duration::ZERO, 2), (S, 1)] {
        for (cache, _) in caches() {
            let value = || cache.value("k").ttl(60 * S).tags(["t"]).stale_while_revalidate(window);
            value().set(&1_u8).await?;
            assert_eq!(cache.invalidate(Invalidation::tag("t").soft()).await, Delivery::Delivered);
            let leader = value();
            let slow = leader.get_or_set(|| async {
                tokio::time::sleep(5 * S).await;
                2_u8
            });
            let (new, follower) = tokio::join!(slow, async {
                tokio::time::sleep(S).await;
                value().get_or_set(|| async { 3_u8 }).await
            });
            assert_eq!((new?, follower?), (2, expected), "{window:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn move_that_the_store_refuses_leaves_the_value_unchanged() -> Result<(), Box<dyn Error>> {
    let store = Faulty::new(memory_store(1 << 20), Fault::RefusesPut);
    store.on.store(false, Ordering::SeqCst);
    let cache = Cache::builder(store.clone()).build()?;
    cache.set("k", "x", 60 * S).await?;
    let (page, calls) =
        page(
            &cache,
            |cache| async move { cache.get::<String>("k").await.ok().flatten().unwrap_or_default() },
        );
    assert!(shares(&page, get("/"), get("/")).await);
    store.on.store(true, Ordering::SeqCst);
    assert_eq!(kind(cache.incr_version("k").await), Some(StoreErrorKind::Unavailable));
    assert_eq!(cache.get::<String>("k").await?.as_deref(), Some("x"));
    assert_eq!(cache.with_version(2).get::<String>("k").await?, None);
    assert!(send(&page, get("/")).await.is_hit(), "the page's value is unchanged");
    assert_eq!(calls.count(), 1);
    store.on.store(false, Ordering::SeqCst);
    assert_eq!(cache.incr_version("k").await?, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn touch_ends_the_stale_window_unless_the_handle_has_one() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        for (keeps, expected) in [(false, 2), (true, 1)] {
            let value = || cache.value("k").ttl(10 * S).stale_while_revalidate(10 * S);
            value().set(&1_u8).await?;
            assert!(if keeps { value().touch().await? } else { cache.touch("k", 10 * S).await? });
            manual.advance(12 * S);
            let leader = value();
            let slow = leader.get_or_set(|| async {
                tokio::time::sleep(5 * S).await;
                2_u8
            });
            let (new, follower) = tokio::join!(slow, async {
                tokio::time::sleep(S).await;
                value().get_or_set(|| async { 3_u8 }).await
            });
            assert_eq!((new?, follower?), (2, expected), "{keeps}");
            cache.delete("k").await?;
        }
    }
    Ok(())
}
