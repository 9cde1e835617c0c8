//! Oversized and cancelled writes of values.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use std::sync::mpsc;
use std::time::Duration;
use tower_response_cache::{Cache, Ttl};

const S: Duration = Duration::from_secs(1);

fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    hear.recv_timeout(Duration::from_secs(15)).ok()
}

#[test]
fn an_add_of_a_value_over_the_limit_does_not_hang() {
    let done = in_time(|| {
        futures::executor::block_on(async {
            let cache = Cache::new(memory_store(64 << 10));
            cache.add("k", &"x".repeat(1 << 20), Ttl::Forever).await.expect("no error")
        })
    });
    assert_eq!(done, Some(false), "`add` hangs");
}

/// The set is cancelled after 0 to 29 milliseconds.
#[tokio::test(start_paused = true)]
async fn a_cancelled_set_leaves_no_outdated_page() {
    let mut torn = Vec::new();
    for after in 0..30 {
        let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Slow));
        let (stack, _) = page(&cache, |cache| async move {
            cache.get::<u32>("price").await.ok().flatten().unwrap_or(0).to_string()
        });
        cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
        send(&stack, get("/")).await;
        tokio::time::sleep(S).await;
        assert!(send(&stack, get("/")).await.is_hit());
        let _ = tokio::time::timeout(Duration::from_millis(after), cache.set("price", &2_u32, Ttl::Forever))
            .await;
        tokio::time::sleep(S).await;
        let (value, page) = (cache.get::<u32>("price").await.ok().flatten(), send(&stack, get("/")).await);
        if value.map(|v| v.to_string()).as_deref() != Some(page.text()) {
            torn.push((after, value, page.text().to_owned()));
        }
    }
    assert!(torn.is_empty(), "pages that differ from their values: {torn:?}");
}
