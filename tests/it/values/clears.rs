//! `clear`, `clear_pages` and `clear_values` remove only their entries, even during computations.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower_response_cache::Cache;
use tower_response_cache::invalidation::Delivery;

const S: Duration = Duration::from_secs(1);

async fn settled(stack: &Stack, path: &str) -> Answer {
    let answer = send(stack, get(path)).await;
    tokio::time::sleep(S).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn clear_pages_keeps_values_and_clear_values_keeps_pages() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let other = cache.with_namespace("other")?;
        let (inner, _) = origin(|_, call| numbered(&[], call));
        let (stack, others) = (site_over(&cache, inner.clone()), site_over(&other, inner));
        let fill = async || {
            for cache in [&cache, &other] {
                cache.set("k", "x", 60 * S).await.expect("set");
                cache.set("n", &5, 60 * S).await.expect("set");
                cache.incr_or("counter", 5, 0, 60 * S).await.expect("counted");
                cache.fragment("f").get_or_render(1_u8).await.expect("rendered");
            }
            for stack in [&stack, &others] {
                for path in ["/", "/a/b?c=d"] {
                    settled(stack, path).await;
                    assert!(settled(stack, path).await.is_hit());
                }
            }
        };
        fill().await;
        assert_eq!(cache.clear_pages().await, Delivery::Delivered);
        assert!(!settled(&stack, "/").await.is_hit() && !settled(&stack, "/a/b?c=d").await.is_hit());
        assert!(cache.contains("k").await? && cache.incr("n", 1).await? == 6);
        assert_eq!((cache.incr("counter", 1).await?, cache.fragment("f").get_or_render(2_u8).await?), (6, 1));
        fill().await;
        assert_eq!(cache.clear_values().await, Delivery::Delivered);
        assert!(settled(&stack, "/").await.is_hit() && settled(&stack, "/a/b?c=d").await.is_hit());
        assert!(!cache.contains("k").await? && !cache.contains("counter").await?);
        assert_eq!((cache.incr_or("n", 1, 0, S).await?, cache.incr_or("counter", 1, 0, S).await?), (1, 1));
        assert_eq!(cache.fragment("f").get_or_render(2_u8).await?, 2);
        assert!(cache.get_many::<String, _>(["k"]).await?.is_empty());
        assert!(other.contains("k").await? && other.contains("counter").await?, "another namespace");
        assert!(settled(&others, "/").await.is_hit());
        fill().await;
        assert_eq!(cache.clear().await, Delivery::Delivered);
        assert!(!cache.contains("k").await? && !settled(&stack, "/").await.is_hit());
        assert!(cache.set("k", "y", S).await? && cache.contains("k").await?, "the cache works after a clear");
    }
    Ok(())
}

/// The page depends on the value `price`, which it reads. The value `copy` depends on the page, from
/// which it is computed.
#[tokio::test(start_paused = true)]
async fn clear_invalidates_the_dependents_of_cleared_entries() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        let (stack, _) = page(&cache, |cache| async move {
            cache.get::<u32>("price").await.ok().flatten().unwrap_or_default().to_string()
        });
        assert_eq!(settled(&stack, "/").await.text(), "0");
        assert_eq!(cache.clear_values().await, Delivery::Delivered);
        assert!(settled(&stack, "/").await.is_hit(), "the page depends on no cleared value");
        cache.set("price", &7_u32, 60 * S).await?;
        assert_eq!((settled(&stack, "/").await.text(), settled(&stack, "/").await.is_hit()), ("7", true));
        assert_eq!(cache.clear_values().await, Delivery::Delivered);
        assert_eq!(settled(&stack, "/").await.text(), "0");
        cache.set("price", &8_u32, 60 * S).await?;
        let handle = stack.clone();
        let copy = || async move { send(&handle, get("/")).await.text().to_owned() };
        assert_eq!(cache.get_or_set("copy", 60 * S, copy).await?, "8");
        assert!(cache.contains("copy").await?);
        assert_eq!(cache.clear_pages().await, Delivery::Delivered);
        assert!(!cache.contains("copy").await? && cache.contains("price").await?);
    }
    Ok(())
}

/// Pages or values are cleared while a page and a value are being made.
#[tokio::test(start_paused = true)]
async fn running_computation_is_not_stored_after_a_clear_of_its_kind() -> Result<(), Box<dyn Error>> {
    for (cache, _) in caches() {
        for clears_pages in [true, false] {
            let (stack, calls) = page(&cache, |_| async move {
                tokio::time::sleep(5 * S).await;
                "page".to_owned()
            });
            let response = tower::ServiceExt::oneshot(stack.clone(), get("/"));
            let page = tokio::spawn(async move { read(response.await.expect("an answer")).await });
            let value = tokio::spawn({
                let cache = cache.clone();
                async move {
                    let slow = cache.get_or_set("k", 60 * S, async {
                        tokio::time::sleep(5 * S).await;
                        1_u8
                    });
                    slow.await.expect("computed")
                }
            });
            tokio::time::sleep(S).await;
            match clears_pages {
                true => assert_eq!(cache.clear_pages().await, Delivery::Delivered),
                false => assert_eq!(cache.clear_values().await, Delivery::Delivered),
            }
            let begun = tokio::time::Instant::now();
            let new = cache.get_or_set("k", 60 * S, 2_u8).await?;
            assert_eq!((new, begun.elapsed() > S), if clears_pages { (1, true) } else { (2, false) });
            assert_eq!((page.await?.text(), value.await?), ("page", 1));
            tokio::time::sleep(S).await;
            assert_eq!(cache.get::<u8>("k").await?, Some(new));
            assert_eq!(settled(&stack, "/").await.is_hit(), !clears_pages);
            assert_eq!(calls.count(), if clears_pages { 2 } else { 1 });
            assert_eq!(cache.clear().await, Delivery::Delivered);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn failed_clear_is_queued() -> Result<(), Box<dyn Error>> {
    let store = Faulty::new(memory_store(1 << 20), Fault::CantInvalidate);
    let cache = Cache::new(store.clone());
    cache.set("k", "x", 60 * S).await?;
    assert_eq!(cache.clear_pages().await, Delivery::Queued);
    assert_eq!(cache.clear_values().await, Delivery::Queued);
    assert_eq!(cache.clear().await, Delivery::Queued);
    assert!(!cache.contains("k").await?, "the queued invalidation counts in this process");
    store.on.store(false, Ordering::SeqCst);
    assert_eq!(cache.clear_values().await, Delivery::Delivered);
    assert!(!cache.contains("k").await?);
    Ok(())
}
