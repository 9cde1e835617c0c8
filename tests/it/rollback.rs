//! The record of invalidations goes back to an earlier one, and other processes advance that before anybody notices.

use crate::generations::{Remote, fill, process};
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::sleep;
use tower::{ServiceExt, service_fn};
use tower_response_cache::store::Entry;
use tower_response_cache::{Cache, Invalidation, Ttl};

/// A store that answers later, and one that answers at once.
fn remotes() -> [Remote; 2] {
    [Remote::new(), Remote::local()]
}

async fn invalidate(cache: &Cache, path: &str) {
    cache.invalidate(Invalidation::path(path)).await.expect("ok");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_counts_for_who_saw_it_when_the_record_went_back_and_was_overtaken() {
    for overtaking in [1, 3, 100] {
        for store in remotes() {
            let (cache, stack) = process(&store);
            fill(&stack, "/").await;
            let before = store.record();
            invalidate(&cache, "/").await;
            store.put_back(before);
            let (other, _) = process(&store);
            for number in 0..overtaking {
                invalidate(&other, &format!("/other/{number}")).await;
            }
            assert!(!send(&stack, get("/")).await.is_hit(), "{overtaking}");
            // Both go on, with the same generations.
            fill(&stack, "/a").await;
            assert!(send(&process(&store).1, get("/a")).await.is_hit());
            invalidate(&other, "/a").await;
            assert!(!send(&stack, get("/a")).await.is_hit());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_after_the_record_went_back_takes_entries_made_before_that() {
    for store in remotes() {
        let (cache, stack) = process(&store);
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        fill(&stack, "/page").await;
        store.put_back(before);
        let (other, stack_of_other) = process(&store);
        invalidate(&other, "/page").await;
        assert!(!send(&stack_of_other, get("/page")).await.is_hit());
        invalidate(&other, "/page").await;
        assert!(!send(&stack, get("/page")).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_after_the_record_went_back_takes_values_made_before_that() {
    for store in remotes() {
        let (cache, stack) = process(&store);
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        cache.value("name").tags(["t"]).ttl(MINUTE).set("old").await.expect("ok");
        store.put_back(before);
        let (other, _) = process(&store);
        other.invalidate(Invalidation::tag("t")).await.expect("ok");
        for cache in [&other, &cache] {
            assert!(cache.get::<String>("name").await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_arrives_after_the_record_went_back_is_not_used_again_once_invalidated() {
    for store in remotes() {
        let cache = Cache::new(store.clone());
        let slow = service_fn(|request: Request<Body>| async move {
            if request.uri().path() == "/page" {
                sleep(Duration::from_secs(1)).await;
            }
            Ok::<_, Infallible>(numbered(&[], 0))
        });
        let stack = site_over(&cache, slow.boxed_clone());
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        let (other, stack_of_other) = process(&store);
        let meanwhile = async {
            sleep(Duration::from_millis(500)).await;
            store.put_back(before);
            invalidate(&other, "/page").await;
        };
        tokio::join!(send(&stack, get("/page")), meanwhile);
        assert!(!send(&stack_of_other, get("/page")).await.is_hit());
        assert!(!send(&stack, get("/other")).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn counters_that_were_cleared_stay_cleared_when_the_record_went_back_and_was_overtaken() {
    let store = Remote::new();
    let (cache, stack) = process(&store);
    send(&stack, get("/first")).await;
    let before = store.record();
    cache.invalidate(Invalidation::all()).await.expect("ok");
    cache.incr_or("visits", 5, 0, Ttl::Forever).await.expect("ok");
    store.put_back(before);
    let (other, _) = process(&store);
    other.invalidate(Invalidation::all()).await.expect("ok");
    assert!(other.get::<i64>("visits").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_cut_anywhere_brings_nothing_back() {
    for cut in 0.. {
        let store = Remote::local();
        let (cache, stack) = process(&store);
        fill(&stack, "/page").await;
        for path in ["/page", "/other"] {
            invalidate(&cache, path).await;
        }
        let Entry::Value(record) = store.record() else { panic!("no value") };
        if cut >= record.bytes().len() {
            break;
        }
        store.put_back(Entry::raw(record.bytes().slice(..cut)));
        assert!(!send(&process(&store).1, get("/page")).await.is_hit(), "{cut}");
    }
}
