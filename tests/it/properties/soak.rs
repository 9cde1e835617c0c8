//! Soak test: visitors leave, and the service and its bodies fail, hang and panic, while pages are
//! invalidated.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::{Cache, Invalidation, MemoryStore, SiteCacheLayer};

/// The number of random runs.
const SEEDS: u64 = 200;

/// No response is older than an invalidation that had returned before the request began. After each
/// run, no flight, recording, background refresh, call or body is left.
#[test]
fn no_invalidated_response_under_concurrent_failures() {
    use std::sync::atomic::{AtomicU64, AtomicUsize};
    struct Live(Arc<AtomicUsize>);
    impl Drop for Live {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let ms = Duration::from_millis;
    for seed in 0..SEEDS {
        let state = Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        let draw = move |below: u64| {
            let mut x = state.load(Ordering::Relaxed);
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.store(x, Ordering::Relaxed);
            (x >> 11) % below
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime").block_on(async {
            let (clock, manual) = tower_response_cache::clock::Clock::manual();
            let ticks = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(ms(5)).await;
                    manual.advance(ms(5));
                }
            });
            let memory = MemoryStore::builder()
                .seed(3)
                .max_bytes(8 << 20)
                .clock(clock.clone())
                .build()
                .expect("valid");
            let store = Faulty::new(memory, Fault::Slow);
            store.on.store(seed % 3 != 0, Ordering::SeqCst);
            let cache = if seed % 2 == 0 {
                Cache::builder(store).clock(clock).build().expect("valid")
            } else {
                let memory = MemoryStore::builder()
                    .seed(3)
                    .max_bytes(8 << 20)
                    .clock(clock.clone())
                    .build()
                    .expect("valid");
                Cache::builder(memory).clock(clock).build().expect("valid")
            };
            let (version, floor) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
            let live = Arc::new(AtomicUsize::new(0));
            let (v, l, d) = (Arc::clone(&version), Arc::clone(&live), draw.clone());
            let inner = tower::service_fn(move |request: http::Request<Body>| {
                let (v, l, d) = (Arc::clone(&v), Arc::clone(&l), d.clone());
                async move {
                    l.fetch_add(1, Ordering::SeqCst);
                    let live = Live(l);
                    let now = v.load(Ordering::SeqCst);
                    tokio::time::sleep(ms(d(60))).await;
                    let mut response = http::Response::builder().header("x-v", now.to_string());
                    if d(2) == 0 {
                        response = response.header("vary", "x-a");
                    }
                    let tag = format!("\"{now}\"");
                    response = response.header("etag", &tag);
                    match d(14) {
                        0 => return Err(std::io::Error::other("down")),
                        1 => std::panic::resume_unwind(Box::new("the handler")),
                        2 => std::future::pending().await,
                        3 => response = response.status(503),
                        4 => response = response.header("cache-control", "private"),
                        5 => response = response.status(404),
                        6 => response = response.status(429),
                        _ => {}
                    }
                    if request.headers().get("if-none-match").is_some_and(|t| *t == tag.as_str()) && d(2) == 0
                    {
                        response = response.status(304);
                    }
                    let (count, fate) = (d(5), d(12));
                    let d2 = d.clone();
                    let frames = futures::stream::unfold((0, live), move |(at, live)| {
                        let d = d2.clone();
                        async move {
                            tokio::time::sleep(ms(d(15))).await;
                            if at == count {
                                match fate {
                                    0 => return Some((Err(std::io::Error::other("torn")), (at + 1, live))),
                                    1 => std::future::pending().await,
                                    2 => std::panic::resume_unwind(Box::new("the body")),
                                    _ => return None,
                                }
                            }
                            if at > count {
                                return None;
                            }
                            let text = format!("[{now}]");
                            Some((Ok(Frame::data(Bytes::from(text))), (at + 1, live)))
                        }
                    });
                    Ok::<_, std::io::Error>(response.body(StreamBody::new(Box::pin(frames))).expect("ok"))
                }
            });
            let base = || {
                policy()
                    .default_ttl(ms(40))
                    .stale_while_revalidate(ms(200))
                    .stale_if_error(ms(400))
                    .collapse_timeout(ms(500))
            };
            let p = match seed % 6 {
                0 => base(),
                1 => base().origin_timeout(ms(50)),
                2 => base().complete_after_disconnect(ms(300)),
                3 => base().max_body_bytes(9).origin_timeout(ms(100)),
                4 => base().early_refresh(2.0).origin_timeout(ms(100)),
                _ => base().origin_timeout(ms(100)).complete_after_disconnect(ms(100)).early_refresh(1.0),
            };
            let shop = SiteCacheLayer::new(&cache).policy(p.build().expect("a policy")).layer(inner);
            let mut tasks = Vec::new();
            for _ in 0..60 {
                let (shop, d, floor) = (shop.clone(), draw.clone(), Arc::clone(&floor));
                tasks.push(tokio::spawn(async move {
                    tokio::time::sleep(ms(d(1500))).await;
                    let least = floor.load(Ordering::SeqCst);
                    let method = if d(4) == 0 { "HEAD" } else { "GET" };
                    let a = d(3).to_string();
                    let mut lines = vec![("x-a", a.as_str())];
                    if d(8) == 0 {
                        lines.push(("range", "bytes=0-1"));
                    }
                    if d(8) == 0 {
                        lines.push(("if-none-match", "\"1\""));
                    }
                    let timeout_ms = if d(3) == 0 { d(80) } else { 3_000 };
                    let head =
                        tokio::time::timeout(ms(timeout_ms), shop.oneshot(request(method, "/", &lines)))
                            .await;
                    let response = match head {
                        Ok(Ok(response)) => response,
                        Ok(Err(_)) => return,
                        Err(_) => {
                            // The visitor has left, or the handler hangs without an
                            // `origin_timeout`.
                            return;
                        }
                    };
                    if let Some(v) = response.headers().get("x-v") {
                        let v: u64 = v.to_str().expect("text").parse().expect("a number");
                        assert!(
                            v >= least,
                            "older than an invalidation: {v} < {least} {:?}",
                            response.headers()
                        );
                        let is_head = method == "HEAD";
                        let status = response.status();
                        let timeout_ms = if d(3) == 0 { d(80) } else { 2_000 };
                        let hit = response.headers()["cache-status"].to_str().expect("text").contains("hit");
                        if let Ok(Ok(complete)) =
                            tokio::time::timeout(ms(timeout_ms), response.into_body().collect()).await
                        {
                            let text = String::from_utf8(complete.to_bytes().to_vec()).expect("text");
                            if hit && status == 200 && !is_head {
                                assert!(
                                    text.split_terminator(']').all(|t| t == format!("[{v}")),
                                    "{v}: {text}"
                                );
                            }
                            assert!(!(hit && is_head && !text.is_empty()), "{status} {text}");
                        }
                    }
                }));
            }
            for _ in 0..8 {
                tokio::time::sleep(ms(draw(250))).await;
                let now = version.fetch_add(1, Ordering::SeqCst) + 1;
                if cache.invalidate(Invalidation::path("/")).await.is_delivered() {
                    floor.fetch_max(now, Ordering::SeqCst);
                }
            }
            for task in tasks {
                if let Err(error) = task.await {
                    let panic = error.into_panic();
                    let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
                    if !text.starts_with("the ") {
                        eprintln!("seed {seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            }
            ticks.abort();
            tokio::time::sleep(Duration::from_secs(100)).await;
            tokio::time::timeout(Duration::from_secs(100), cache.shutdown())
                .await
                .expect("the shutdown completes");
            let refreshes = cache.refreshes();
            assert_eq!(
                (cache.flights(), cache.recording_bytes(), refreshes.running(), live.load(Ordering::SeqCst)),
                (0, 0, 0, 0),
                "seed {seed}"
            );
        });
    }
}
