//! Values that are read while a page is made: when they change, it goes.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, Invalidation, ResponseBody, SiteCacheLayer, Ttl, propagate_dependencies};

const S: Duration = Duration::from_secs(1);

/// Asks until what is stored is there, over stores that take their time.
async fn settled(stack: &Stack) -> Answer {
    let answer = send(stack, get("/")).await;
    tokio::time::sleep(S).await;
    answer
}

async fn price(cache: &Cache) -> u32 {
    cache.get("price").await.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_page_goes_when_a_value_that_it_was_made_from_is_set_deleted_or_invalidated() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move { price(&cache).await.to_string() });
        let changes = [
            cache.set("price", &1, Ttl::Forever).await.map(drop).is_ok(),
            settled(&stack).await.text() == "1",
            send(&stack, get("/")).await.is_hit(),
            cache.set("price", &2, Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "2",
            cache.delete("price").await.is_ok(),
            settled(&stack).await.text() == "0",
            // The absence of a value was read as well.
            cache.add("price", &3, Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "3",
            cache.set_many([("price", 4)], Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "4",
            cache.delete_many(["price"]).await.is_ok(),
            settled(&stack).await.text() == "0",
            cache.value("price").tags(["t"]).set(&5).await.is_ok(),
            settled(&stack).await.text() == "5",
            send(&stack, get("/")).await.is_hit(),
            cache.invalidate(Invalidation::tag("t")).await.is_ok(),
            settled(&stack).await.text() == "0",
        ];
        assert_eq!(changes, [true; 18]);
        assert_eq!(calls.count(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_lives_no_longer_than_what_it_was_made_from() {
    for (cache, hand) in caches() {
        let (stack, calls) = page(&cache, |cache| async move { price(&cache).await.to_string() });
        cache.set("price", &1, 20 * S).await.expect("set");
        hand.advance(5 * S);
        settled(&stack).await;
        hand.advance(14 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        hand.advance(S);
        assert_eq!((settled(&stack).await.text(), calls.count()), ("0", 2));
    }
}

/// A value that the page computes itself does not take it away again.
#[tokio::test(start_paused = true)]
async fn what_is_computed_or_set_while_a_page_is_made_does_not_take_that_page_away() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let a = cache.get_or_set("a", 60 * S, || async { 1_u8 }).await.expect("a value");
            if cache.get::<u8>("b").await.is_err() {
                cache.set("b", &2_u8, 60 * S).await.expect("set");
            }
            format!("{a}{}", cache.get::<u8>("b").await.expect("a value"))
        });
        assert_eq!(settled(&stack).await.text(), "12");
        assert!(send(&stack, get("/")).await.is_hit());
        for key in ["a", "b"] {
            cache.delete(key).await.expect("deleted");
            assert!(!settled(&stack).await.is_hit(), "{key}");
            assert!(send(&stack, get("/")).await.is_hit(), "{key}");
        }
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_value_was_computed_from_counts_for_the_page_too() {
    for (cache, hand) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let handle = cache.clone();
            let total = || async move { 2 * price(&handle).await };
            cache.get_or_set("total", 60 * S, total).await.expect("a value").to_string()
        });
        cache.value("price").ttl(30 * S).tags(["prices"]).set(&1).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "2");
        assert!(send(&stack, get("/")).await.is_hit());
        cache.value("price").ttl(30 * S).tags(["prices"]).set(&2).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "4", "neither the page nor the value in between");
        cache.invalidate(Invalidation::tag("prices")).await.expect("the store answers");
        assert_eq!(settled(&stack).await.text(), "0");
        cache.value("price").ttl(30 * S).set(&3).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "6");
        hand.advance(29 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        hand.advance(S);
        assert_eq!(settled(&stack).await.text(), "0", "nor does either outlive it");
        assert_eq!(calls.count(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_for_a_computation_depend_on_what_it_was_made_from() {
    for (cache, _) in caches() {
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let slow = |cache: Cache| async move {
            let handle = cache.clone();
            let total = || async move {
                tokio::time::sleep(S).await;
                2 * price(&handle).await
            };
            cache.get_or_set("total", 60 * S, total).await.expect("a value").to_string()
        };
        let pages: Vec<_> = ["/a", "/b", "/c"].map(|path| (path, page(&cache, slow).0)).into();
        let ask = || futures::future::join_all(pages.iter().map(|(path, stack)| send(stack, get(path))));
        assert!(ask().await.iter().all(|answer| answer.text() == "2"));
        tokio::time::sleep(S).await;
        assert!(ask().await.iter().all(Answer::is_hit));
        cache.set("price", &2, Ttl::Forever).await.expect("set");
        assert!(ask().await.iter().all(|answer| answer.text() == "4"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_while_a_body_streams_counts_and_so_for_those_who_read_along() {
    type Pieces =
        StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;
    type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;
    for (cache, _) in caches() {
        for together in [1, 3] {
            let handle = cache.clone();
            let inner = service_fn(move |_: Request<Body>| {
                let cache = handle.clone();
                async move {
                    let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                        tokio::time::sleep(S).await;
                        let text = price(&cache).await.to_string();
                        (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
                    });
                    Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
                }
            });
            let shop: Shop = SiteCacheLayer::new(&cache)
                .policy(policy().cache_status(true).build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            let ask = || async {
                let all = (0..together).map(|_| send(&shop, get(&format!("/{together}"))));
                futures::future::join_all(all).await
            };
            cache.set("price", &1, Ttl::Forever).await.expect("set");
            assert!(ask().await.iter().all(|answer| answer.text() == "111"));
            tokio::time::sleep(S).await;
            assert!(ask().await.iter().all(Answer::is_hit));
            cache.set("price", &2, Ttl::Forever).await.expect("set");
            assert!(ask().await.iter().all(|answer| answer.text() == "222"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_changes_while_the_page_is_made_keeps_that_page_from_being_served() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let seen = price(&cache).await;
            tokio::time::sleep(10 * S).await;
            seen.to_string()
        });
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let (old, ()) = tokio::join!(send(&stack, get("/")), async {
            tokio::time::sleep(5 * S).await;
            cache.set("price", &2, Ttl::Forever).await.expect("set");
        });
        assert_eq!(old.text(), "1");
        tokio::time::sleep(S).await;
        assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("2", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_counts_where_it_is_told_to() {
    for (cache, _) in caches() {
        for told in [true, false] {
            let (stack, _) = page(&cache, move |cache| async move {
                let read = async move { price(&cache).await.to_string() };
                let task = if told { tokio::spawn(propagate_dependencies(read)) } else { tokio::spawn(read) };
                task.await.expect("no panic")
            });
            cache.clear().await.expect("cleared");
            cache.set("price", &1, Ttl::Forever).await.expect("set");
            settled(&stack).await;
            assert!(send(&stack, get("/")).await.is_hit());
            cache.set("price", &2, Ttl::Forever).await.expect("set");
            assert_eq!(send(&stack, get("/")).await.is_hit(), !told);
        }
    }
}

/// A value for each visitor, and a counter, cost no page its fast path.
#[tokio::test]
async fn values_that_nothing_was_made_from_and_counters_advance_nothing() {
    use tower_response_cache::Store;
    let store = memory_store(8 << 20);
    let cache = Cache::new(store.clone());
    let generations = store.generations(cache.namespace()).expect("its own");
    let before = generations.current().await.expect("local");
    for visitor in 0..100 {
        cache.set(format!("visitor {visitor}"), &visitor, Ttl::Forever).await.expect("set");
        cache.incr_or(format!("count {visitor}"), 1, 0, Ttl::Forever).await.expect("counted");
        cache.get::<u32>(format!("visitor {visitor}")).await.expect("a value");
        cache.delete(format!("visitor {visitor}")).await.expect("deleted");
    }
    assert_eq!(generations.current().await.expect("local"), before);
    // Nor does a page depend on a counter that it shows.
    let (stack, _) = page(&cache, |cache| async move {
        cache.incr_or("hits", 1, 0, Ttl::Forever).await.expect("counted");
        cache.get::<i64>("hits").await.expect("a number").to_string()
    });
    send(&stack, get("/")).await;
    cache.incr("hits", 1).await.expect("counted");
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(generations.current().await.expect("local"), before);
}

#[tokio::test]
async fn a_page_that_was_made_from_too_many_values_is_not_stored() {
    let cache = memory();
    let read = Arc::new(Mutex::new(1024));
    let number = Arc::clone(&read);
    let (stack, _) = page(&cache, move |cache| {
        let most = *number.lock().expect("not poisoned");
        async move {
            for at in 0..most {
                let _ = cache.get::<u8>(format!("k{at}")).await;
            }
            String::new()
        }
    });
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    *read.lock().expect("not poisoned") = 1025;
    cache.clear().await.expect("cleared");
    send(&stack, get("/")).await;
    assert!(!send(&stack, get("/")).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn where_it_is_not_known_what_a_page_was_made_from_it_is_not_stored() {
    let store = Faulty::new(memory_store(1 << 20), Fault::Down);
    let values = Cache::new(store.clone());
    let pages = memory();
    let (handle, inner) = (values.clone(), Calls::default());
    let counted = inner.clone();
    let service = service_fn(move |_: Request<Body>| {
        let (cache, call) = (handle.clone(), counted.next());
        async move {
            let _ = cache.get::<u8>("k").await;
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let stack = site_over(&pages, service.boxed_clone());
    send(&stack, get("/")).await;
    assert!(!send(&stack, get("/")).await.is_hit());
}
