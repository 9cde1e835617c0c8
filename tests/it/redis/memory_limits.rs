//! Servers whose memory is full, under each policy.

use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use crate::support::{get, send};
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::store::{Entry, KeyRef, PutMode, Scope, Strength, Validity};
use tower_response_cache::{Invalidation, Store};

/// Fills the memory of the server with foreign keys.
fn fill(server: &Server) {
    let mut direct = server.direct();
    let value = vec![b'x'; 16 << 10];
    for number in 0..20_000 {
        let reply = direct.send(&[b"SET", format!("filler:{number}").as_bytes(), &value]);
        if matches!(reply, crate::support::servers::Reply::Error(_)) {
            // Smaller values fill the rest.
            for number in 0..20_000 {
                let key = format!("small:{number}");
                let reply = direct.send(&[b"SET", key.as_bytes(), b"0123456789"]);
                if matches!(reply, crate::support::servers::Reply::Error(_)) {
                    return;
                }
            }
        }
    }
}

fn limited(program: &std::path::Path, policy: &str) -> Server {
    Server::start(program, &["--maxmemory", "8mb", "--maxmemory-policy", policy])
}

#[tokio::test]
async fn invalidations_work_while_the_memory_is_full() {
    for program in programs() {
        let server = limited(&program, "noeviction");
        let (site, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        for path in ["/a", "/b"] {
            site.send(path).await;
            assert!(other.is_hit(path).await);
        }
        fill(&server);
        let (key, large) = (KeyRef::new(b"k"), Entry::raw(vec![7; 100_000]));
        let full = site.store.put(key, large, None, PutMode::Always).await.expect_err("full");
        assert_eq!(full.kind(), StoreErrorKind::Unavailable);
        for _ in 0..700 {
            assert!(site.cache.invalidate("/a").await.is_delivered());
        }
        assert!(!other.is_hit("/a").await && other.is_hit("/b").await);
        // The namespace `another` has no record yet.
        let generations = other.store.generations("another").expect("its own");
        let before = generations.current().await.expect("read");
        generations.advance(&[Scope::tag("t")], Strength::Hard).await.expect("advanced");
        let state = generations.check(before, &[Scope::tag("t")], &[]).await.expect("checked");
        assert_eq!(state, Validity::Invalid);
    }
}

#[tokio::test]
async fn old_entry_is_gone_after_a_put_that_a_full_server_refuses() {
    for program in programs() {
        let server = limited(&program, "noeviction");
        let site = RedisSite::connect(&server).await;
        let key = KeyRef::new(b"k");
        assert!(site.store.put(key, Entry::raw("old"), None, PutMode::Always).await.expect("put"));
        fill(&server);
        let large = || Entry::raw(vec![7; 100_000]);
        site.store.put(key, large(), None, PutMode::Always).await.expect_err("full");
        assert_eq!(site.store.get(key).await.expect("read"), None);
        let put = site.store.put(key, large(), None, PutMode::IfAbsent).await.expect_err("full");
        assert_eq!(put.kind(), StoreErrorKind::Unavailable);
        site.store.put_many(&[(key, large(), None)]).await.expect_err("full");
        assert!(!site.store.remove(key).await.expect("removed"));
    }
}

/// The server evicts entries and records. An invalidated page is never served.
#[tokio::test]
async fn no_invalidated_page_is_served_under_any_eviction_policy() {
    let policies = [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-ttl",
        "volatile-random",
    ];
    for program in programs() {
        for policy in policies {
            let server = limited(&program, policy);
            let (site, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
            let large = site.with_large_pages(16 << 10);
            for round in 0..8 {
                let made = site.send("/").await;
                assert!(other.cache.invalidate("/").await.is_delivered());
                for number in 0..150 {
                    send(&large, get(&format!("/{round}/{number}"))).await;
                }
                site.cache.shutdown().await;
                let answer = site.send("/").await;
                assert_ne!(answer, made, "{policy}, {round}");
            }
            assert!(other.cache.invalidate(Invalidation::all()).await.is_delivered());
            assert!(site.recovers("/").await, "{policy}");
        }
    }
}
