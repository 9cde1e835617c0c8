//! Sources of values and fragments: plain values, closures and futures.

use crate::support::faulty::caches;
use crate::support::*;
use std::error::Error;
use std::pin::Pin;
use std::time::Duration;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::values::ComputeError;
use tower_response_cache::{Cache, Invalidation, MemoryStore, Ttl};

const S: Duration = Duration::from_secs(1);

async fn seven() -> u8 {
    7
}

fn eight() -> u8 {
    8
}

#[tokio::test(start_paused = true)]
async fn get_or_set_takes_a_plain_value_a_closure_or_a_future() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let number = 3_u8;
        assert_eq!(cache.get_or_set("plain", S, 1_u8).await?, 1);
        assert_eq!(cache.get_or_set("text", S, "text".to_owned()).await?, "text");
        assert_eq!(cache.get_or_set("none", S, None::<u8>).await?, None);
        assert_eq!(cache.get_or_set("closure", S, || number).await?, 3);
        assert_eq!(cache.get_or_set("function", S, eight).await?, 8);
        assert_eq!(cache.get_or_set("async closure", S, || async { number + 1 }).await?, 4);
        assert_eq!(cache.get_or_set("async function", S, seven).await?, 7);
        assert_eq!(cache.get_or_set("future", S, async { 5_u8 }).await?, 5);
        assert_eq!(cache.get_or_set("called", S, seven()).await?, 7);
        let boxed: Pin<Box<dyn Future<Output = u8> + Send>> = Box::pin(async { 6 });
        assert_eq!(cache.get_or_set("boxed", S, boxed).await?, 6);
        let boxed: Box<dyn FnOnce() -> u8 + Send> = Box::new(|| 9);
        assert_eq!(cache.get_or_set("boxed closure", S, boxed).await?, 9);
        let inferred: u64 = cache.get_or_set("inferred", S, || 10).await?;
        let also: i16 = cache.get_or_set("also", S, async { 11 }).await?;
        assert_eq!((inferred, also), (10, 11));
        assert_eq!(cache.value("value").ttl(S).get_or_set(12_u8).await?, 12);
        for (key, expected) in [("plain", 1), ("closure", 3), ("async closure", 4), ("future", 5)] {
            assert_eq!(cache.get::<u8>(key).await?, Some(expected), "{key}");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn sources_run_only_without_a_value_and_are_tracked() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        cache.set("k", &1_u8, S).await?;
        assert_eq!(cache.get_or_set("k", S, || -> u8 { unreachable!("there is a value") }).await?, 1);
        assert_eq!(cache.get_or_set::<_, _>("k", S, async { never_called() }).await?, 1);
        cache.set("price", &2_u32, 60 * S).await?;
        let handle = cache.clone();
        let price = async move { handle.get::<u32>("price").await.ok().flatten().unwrap_or(0) };
        assert_eq!(cache.get_or_set("total", 60 * S, price).await?, 2);
        cache.set("price", &3_u32, 60 * S).await?;
        assert_eq!(cache.get::<u32>("total").await?, None, "the future has read the price");
        // Each of many concurrent calls has its own future, and only one of the futures runs.
        let calls = Calls::default();
        let all = (0..20).map(|_| {
            cache.get_or_set("slow", S, async {
                tokio::time::sleep(S).await;
                calls.next()
            })
        });
        let values = futures::future::join_all(all).await;
        assert!(values.into_iter().all(|value| value.is_ok_and(|value| value == 1)));
    }
    Ok(())
}

fn never_called() -> u8 {
    unreachable!("there is a value")
}

#[tokio::test(start_paused = true)]
async fn get_or_set_future_is_send_if_its_computation_is() -> Result<(), Box<dyn Error>> {
    let cache = memory();
    let other = cache.clone();
    let task = tokio::spawn(async move { other.get_or_set("k", S, || async { 1_u8 }).await });
    assert_eq!(task.await??, 1);
    let other = cache.clone();
    assert_eq!(tokio::spawn(async move { other.fragment("f").get_or_render(2_u8).await }).await??, 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn fragment_is_rendered_and_deleted_per_vary_on_list() -> Result<(), Box<dyn Error>> {
    for (cache, manual) in caches() {
        let calls = Calls::default();
        let menu = |language: &'static str| {
            cache.fragment("menu").vary_on(["shop.example"]).vary_on([language]).ttl(10 * S).tags(["menu"])
        };
        for _ in 0..2 {
            assert_eq!(menu("en").get_or_render(|| calls.next()).await?, 1);
        }
        assert_eq!(menu("de").get_or_render(|| async { calls.next() }).await?, 2);
        assert_eq!(cache.fragment("menu").vary_on(["shop.example", "en"]).get_or_render(9_usize).await?, 1);
        assert!(menu("en").delete().await? && !menu("en").delete().await?);
        assert_eq!(menu("de").get_or_render(9_usize).await?, 2, "the other fragment stays");
        assert_eq!(cache.invalidate(Invalidation::tag("menu")).await, Delivery::Delivered);
        assert_eq!(menu("de").get_or_render(3_usize).await?, 3);
        manual.advance(10 * S);
        assert_eq!(menu("de").get_or_render(4_usize).await?, 4);
        let failing = menu("fr");
        let failed = failing.try_get_or_render(|| async { Err::<usize, _>("down") }).await;
        assert!(matches!(failed, Err(ComputeError::Failed(error)) if *error == "down"));
        assert_eq!(failing.try_get_or_render(|| async { Ok::<usize, &str>(5) }).await.ok(), Some(5));
        // The stale fragment is served while one task renders it again.
        let stale = || cache.fragment("stale").ttl(10 * S).stale_while_revalidate(10 * S);
        stale().get_or_render(1_u8).await?;
        manual.advance(11 * S);
        let slow = stale();
        let slow = slow.get_or_render(async {
            tokio::time::sleep(5 * S).await;
            2_u8
        });
        let (new, old) = tokio::join!(slow, async {
            tokio::time::sleep(S).await;
            stale().get_or_render(3_u8).await
        });
        assert_eq!((new?, old?), (2, 1));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn default_ttl_of_values_may_be_forever_finite_none_or_zero() -> Result<(), Box<dyn Error>> {
    let lives = async |ttl: Ttl, seconds: u32| {
        let (clock, manual) = tower_response_cache::clock::Clock::manual();
        let store = MemoryStore::builder().seed(3).clock(clock.clone()).build().expect("valid");
        let cache = Cache::builder(store).clock(clock).value_ttl(ttl).build().expect("valid");
        let stored = cache.value("k").set(&1).await.expect("set or not");
        cache.fragment("f").get_or_render(1).await.expect("rendered");
        cache.incr_or("n", 1, 0, Ttl::Default).await.expect("counted");
        manual.advance(seconds * S);
        let lives = cache.contains("k").await.expect("read");
        assert_eq!(lives, cache.contains("n").await.expect("read"));
        (stored, lives)
    };
    assert_eq!(lives(Ttl::Forever, 1_000_000).await, (true, true));
    assert_eq!(
        (lives(Ttl::Default, 299).await, lives(Ttl::Default, 300).await),
        ((true, true), (true, false))
    );
    assert_eq!((lives(Ttl::For(S), 0).await, lives(S.into(), 1).await), ((true, true), (true, false)));
    assert_eq!(lives(None.into(), 1_000_000).await, (true, true));
    assert_eq!(lives(Ttl::For(Duration::ZERO), 0).await, (false, false));
    Ok(())
}
