//! Encoded variants are parts of their entry: they live and die with it.

use super::*;
use crate::support::faulty::{Fault, Faulty};
use crate::support::stacks::{has_validators, invalidate, not_modified};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tower_http::compression::predicate::Predicate;
use tower_response_cache::clock::Clock;
use tower_response_cache::{Invalidation, MemoryStore, Policy};

#[tokio::test]
async fn variants_count_toward_the_weight_of_their_entry() {
    let store = memory_store(32 << 20);
    let cache = Cache::new(store.clone());
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    send(&stack, get("/")).await;
    let mut weight = store.weight();
    for coding in CODINGS {
        let answer = encoded(&cache, &stack, coding).await;
        let added = store.weight() - weight;
        assert!(added > answer.body.len() as u64, "{coding}: {added}");
        assert!(added < answer.body.len() as u64 + 2048, "{coding}: {added}");
        weight = store.weight();
    }
    assert_eq!(store.len(), 1);
    invalidate(&cache, Invalidation::path("/")).await;
    assert_eq!(send(&stack, accepting("/", "gzip")).await.text(), text(2));
    assert!(store.weight() < weight, "the new entry has no variants");
}

#[tokio::test]
async fn invalidated_or_expired_page_has_no_variant() {
    let (cache, clock) = timed();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    encoded(&cache, &stack, "gzip").await;
    invalidate(&cache, Invalidation::path("/")).await;
    let answer = ask(&cache, &stack, "gzip").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, &*text(2)));
    assert_eq!(decoded(&encoded(&cache, &stack, "gzip").await).await, text(2));
    clock.advance(2 * MINUTE);
    let answer = ask(&cache, &stack, "gzip").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, &*text(3)));
    assert_eq!(decoded(&encoded(&cache, &stack, "gzip").await).await, text(3));
}

/// RFC 9111 section 4.3.4.
#[tokio::test]
async fn response_that_a_304_freshens_is_encoded_again() {
    let (cache, clock) = timed();
    let lines = [("etag", "\"v1\""), ("cache-control", "max-age=60")];
    let inner = origin(move |request, _| match has_validators(request) {
        true => not_modified(&[("etag", "\"v1\""), ("cache-control", "max-age=60"), ("x-new", "1")]),
        false => with_lines(&lines, text(1)),
    });
    let stack = encoding(&cache, policy(), inner.0);
    encoded(&cache, &stack, "gzip").await;
    clock.advance(2 * MINUTE);
    let freshened = ask(&cache, &stack, "gzip").await;
    assert_eq!((freshened.text(), freshened.header("etag")), (&*text(1), Some("W/\"v1\"")));
    assert_eq!(vary(&freshened.headers), ["accept-encoding"]);
    let gzip = encoded(&cache, &stack, "gzip").await;
    assert_eq!((gzip.header("x-new"), gzip.header("age")), (Some("1"), Some("0")));
}

#[tokio::test]
async fn stale_variant_is_served_within_the_stale_window() {
    let (cache, clock) = timed();
    let lasting = policy().stale_while_revalidate(10 * MINUTE);
    let stack = encoding(&cache, lasting, origin(|_, call| html(call)).0);
    encoded(&cache, &stack, "gzip").await;
    clock.advance(2 * MINUTE);
    let stale = send(&stack, accepting("/", "gzip")).await;
    assert_eq!((stale.header("content-encoding"), stale.detail()), (Some("gzip"), Some("stale")));
    assert_eq!(decoded(&stale).await, text(1));
    cache.wait_idle().await;
    assert_eq!(send(&stack, accepting("/", "gzip")).await.text(), text(2));
}

#[tokio::test]
async fn softly_invalidated_page_keeps_its_variants() {
    let (cache, _) = timed();
    let lasting = policy().stale_while_revalidate(10 * MINUTE);
    let stack = encoding(&cache, lasting, origin(|_, call| html(call)).0);
    encoded(&cache, &stack, "gzip").await;
    invalidate(&cache, Invalidation::path("/").soft()).await;
    let stale = send(&stack, accepting("/", "gzip")).await;
    assert_eq!((stale.header("content-encoding"), stale.detail()), (Some("gzip"), Some("stale")));
    cache.wait_idle().await;
    assert_eq!(send(&stack, accepting("/", "gzip")).await.text(), text(2));
}

#[tokio::test]
async fn each_variant_of_a_page_has_encoded_variants() {
    let cache = memory();
    let inner = origin(|request, _| {
        let name = request.headers().get("x-a").map_or("", |value| value.to_str().expect("text"));
        with_lines(&[("vary", "x-a")], format!("{name} {}", text(1)))
    });
    let stack = encoding(&cache, policy(), inner.0);
    for round in 0..5 {
        for name in ["one", "two"] {
            let lines = [("x-a", name), ("accept-encoding", "br")];
            let answer = send(&stack, get_with("/", &lines)).await;
            cache.wait_idle().await;
            assert_eq!(answer.header("content-encoding").is_some(), round > 2, "{round} {name}");
            assert_eq!(decoded(&answer).await, format!("{name} {}", text(1)));
        }
    }
}

/// Each thread has a replica of a hot entry.
#[tokio::test]
async fn hot_entry_gets_its_variant() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    for _ in 0..100 {
        send(&stack, get("/")).await;
    }
    let gzip = encoded(&cache, &stack, "gzip").await;
    for _ in 0..100 {
        assert_eq!(send(&stack, accepting("/", "gzip")).await.body, gzip.body);
    }
    assert_eq!(decoded(&encoded(&cache, &stack, "br").await).await, text(1));
    assert_eq!(send(&stack, accepting("/", "gzip")).await.body, gzip.body);
}

#[tokio::test]
async fn entry_that_has_no_room_for_a_variant_stays_plain() {
    let store = MemoryStore::builder().max_bytes(64 << 10).largest_entry(9 << 10).build().expect("valid");
    let cache = Cache::new(store);
    let page: String =
        (0..1000_u32).map(|n| format!("{:05} ", n.wrapping_mul(2_654_435_761) % 99_991)).collect();
    let body = page.clone();
    let (inner, calls) = origin(move |_, _| with_lines(&[], body.clone()));
    let stack = encoding(&cache, policy(), inner);
    for _ in 0..6 {
        let answer = ask(&cache, &stack, "gzip").await;
        assert_eq!((answer.text(), answer.header("content-encoding")), (&*page, None));
    }
    assert_eq!(calls.count(), 1, "the entry stays");
}

/// The layer without `encode` may stand inside a compression layer, so its tags must stay weak.
#[tokio::test]
async fn layer_without_the_option_shares_no_entries() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| html(call));
    let stacks = [true, false].map(|encodes| {
        let layer = SiteCacheLayer::new(&cache);
        let layer = if encodes { layer.encode(CompressionLayer::new()) } else { layer };
        layer.policy(policy().etags(true).build().expect("a policy")).layer(inner.clone())
    });
    for (at, stack) in stacks.iter().enumerate() {
        send(stack, get("/")).await;
        let answer = send(stack, get("/")).await;
        assert_eq!((answer.is_hit(), calls.count()), (true, at + 1));
        assert_eq!(answer.header("etag").expect("a tag").starts_with("W/"), at == 1);
    }
}

#[tokio::test]
async fn remote_store_keeps_only_plain_responses() {
    let cache = Cache::new(Faulty::new(memory_store(32 << 20), Fault::Slow));
    tokio::time::pause();
    let inner = origin(|_, _| with_lines(&[("etag", "\"v1\"")], text(1))).0;
    let stack = encoding(&cache, policy(), inner);
    for _ in 0..5 {
        let answer = ask(&cache, &stack, "gzip").await;
        assert_eq!((answer.text(), answer.header("vary")), (&*text(1), None));
        assert_eq!(answer.header("etag"), Some("\"v1\""));
    }
}

/// A predicate that stops each encoding until the test lets it go on.
#[derive(Clone)]
struct Gate {
    began: mpsc::Sender<()>,
    goes_on: Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
    thread: std::thread::ThreadId,
}

impl Gate {
    fn new() -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((began, has_begun), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        let goes_on = Arc::new(std::sync::Mutex::new(goes_on));
        (Self { began, goes_on, thread: std::thread::current().id() }, has_begun, go_on)
    }
}

impl Predicate for Gate {
    fn should_compress<B: http_body::Body>(&self, _: &Response<B>) -> bool {
        // The cache also asks at the admission, on the thread of the test.
        if std::thread::current().id() != self.thread {
            let _ = self.began.send(());
            let _ = self.goes_on.lock().expect("no panic").recv();
        }
        true
    }
}

/// Lets `event` happen while a variant of the page is being made, and returns the bytes that the
/// store holds before and after the work is done.
async fn in_the_midst(
    policy: impl Fn() -> tower_response_cache::policy::PolicyBuilder,
    event: &str,
) -> (u64, u64) {
    let (clock, manual) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(1 << 20).clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store.clone()).clock(clock).build().expect("valid");
    let (gate, has_begun, go_on) = Gate::new();
    // A call takes a second, so that an early refresh is due.
    let (inner, calls) = origin({
        let manual = manual.clone();
        move |_, call| {
            manual.advance(Duration::from_secs(1));
            html(call)
        }
    });
    let stack = encoding_by(&cache, policy(), CompressionLayer::new().compress_when(gate), inner);
    for _ in 0..3 {
        send(&stack, accepting("/", "gzip")).await;
    }
    has_begun.recv_timeout(Duration::from_secs(20)).expect("the encoding begins");
    match event {
        "invalidation" => invalidate(&cache, Invalidation::path("/")).await,
        "refresh" => {
            manual.advance(2 * MINUTE);
            send(&stack, get("/")).await;
            tokio::task::yield_now().await;
        }
        // The hits have started it.
        "early refresh" => {
            while calls.count() < 2 {
                tokio::task::yield_now().await;
            }
        }
        "clear" => invalidate(&cache, Invalidation::all()).await,
        "eviction" => {
            for number in 0..2000 {
                let path = format!("/{number}");
                send(&stack, get(&path)).await;
                send(&stack, get(&path)).await;
            }
        }
        "disabling" => cache.set_enabled(false),
        other => panic!("{other}"),
    }
    let before = store.weight();
    go_on.send(()).expect("the encoding waits");
    cache.wait_idle().await;
    let after = store.weight();
    for _ in 0..2 {
        let answer = send(&stack, accepting("/", "gzip")).await;
        assert_eq!(answer.header("content-encoding"), None, "{event}");
    }
    (before, after)
}

#[tokio::test]
async fn change_of_the_entry_discards_the_variant_that_is_being_made() {
    for event in ["invalidation", "clear", "eviction", "disabling"] {
        let (before, after) = in_the_midst(policy, event).await;
        assert_eq!(before, after, "{event}");
    }
    for event in ["refresh", "early refresh"] {
        let windowed = || policy().stale_while_revalidate(10 * MINUTE).early_refresh(1e12);
        let (before, after) = in_the_midst(windowed, event).await;
        assert_eq!(before, after, "{event}");
    }
}

#[tokio::test]
async fn panic_of_the_encoder_leaves_the_plain_response() {
    let cache = memory();
    let thread = std::thread::current().id();
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let predicate = move |_: http::StatusCode, _: http::Version, _: &HeaderMap, _: &http::Extensions| {
        if std::thread::current().id() != thread {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("a predicate that panics");
        }
        true
    };
    let layer = CompressionLayer::new().compress_when(predicate);
    let stack = encoding_by(&cache, Policy::app().default_ttl(MINUTE), layer, origin(|_, call| html(call)).0);
    for _ in 0..6 {
        assert_eq!(ask(&cache, &stack, "gzip").await.text(), text(1));
    }
    assert_eq!(panics.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_eager_encodings_that_have_not_begun() {
    let cache = memory();
    let (gate, has_begun, go_on) = Gate::new();
    let encoder = ResponseEncoder::new(CompressionLayer::new().compress_when(gate)).eager(true);
    let stack = encoding_by(&cache, policy(), encoder, origin(|_, call| html(call)).0);
    for page in 0..10 {
        send(&stack, get(&format!("/{page}"))).await;
    }
    // Two encodings run at a time.
    for _ in 0..2 {
        while has_begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
    let mut shutdown = std::pin::pin!(cache.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    drop(go_on);
    shutdown.await;
    let mut encoded = 0;
    for page in 0..10 {
        let answer = send(&stack, accepting(&format!("/{page}"), "gzip")).await;
        encoded += usize::from(answer.header("content-encoding").is_some());
    }
    assert_eq!(encoded, 2);
}
