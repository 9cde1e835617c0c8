//! A primary and a replica that a sentinel watches.

use super::contract::{Processes, verify_entries};
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tower_response_cache::error::ConnectErrorKind;
use tower_response_cache::store::RedisStore;

/// Starts a primary, a replica and a sentinel that knows both.
pub(super) fn watched(program: &Path) -> [Server; 3] {
    let primary = Server::start(program, &[]);
    let port = primary.port().to_string();
    let replica = Server::start(program, &["--replicaof", &format!("127.0.0.1 {port}")]);
    let sentinel = Server::sentinel(program, primary.port());
    for _ in 0..400 {
        let info = sentinel.direct().send(&[b"SENTINEL", b"REPLICAS", b"cache"]);
        let synchronized =
            String::from_utf8_lossy(&replica.direct().send(&[b"INFO", b"replication"]).bytes())
                .contains("master_link_status:up");
        if synchronized && matches!(&info, Reply::List(replicas) if replicas.len() == 1) {
            return [primary, replica, sentinel];
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the sentinel does not find the replica");
}

async fn connect(sentinel: &Server) -> RedisStore {
    let builder = RedisStore::sentinel([sentinel.url()], "cache").timeout(Duration::from_millis(500));
    builder.build().await.expect("connected")
}

#[tokio::test]
async fn primary_behind_a_sentinel_keeps_the_contract() {
    for program in programs() {
        let [primary, _replica, sentinel] = watched(&program);
        verify_entries(connect(&sentinel).await, vec![primary.port()]).await;
    }
}

#[tokio::test]
async fn authenticated_processes_behind_a_sentinel_keep_the_contract() {
    for program in programs() {
        let [primary, _replica, sentinel] = watched(&program);
        let mut stores = Vec::new();
        for _ in 0..2 {
            let builder = RedisStore::sentinel([sentinel.url()], "cache");
            let builder = builder.authenticate("a secret of 24 bytes ...");
            stores.push(builder.build().await.expect("connected"));
        }
        verify_entries(Processes::over(stores), vec![primary.port()]).await;
    }
}

#[tokio::test]
async fn store_follows_the_primary_after_a_kill_or_a_pause() {
    for program in programs() {
        for pauses in [false, true] {
            let [mut primary, replica, sentinel] = watched(&program);
            let (site, other) =
                (RedisSite::over(connect(&sentinel).await), RedisSite::over(connect(&sentinel).await));
            site.send("/").await;
            assert!(other.is_hit("/").await);
            // Waits until the replica has the entries.
            primary.direct().send(&[b"WAIT", b"1", b"1000"]);
            if pauses {
                primary.signal("STOP")
            } else {
                primary.kill()
            }
            let mut recovered = false;
            for _ in 0..6 {
                recovered = recovered || (site.recovers("/").await && other.recovers("/").await);
            }
            assert!(recovered, "pauses: {pauses}");
            assert!(!replica.direct().keys().is_empty());
            assert!(site.cache.invalidate("/").await.is_delivered());
            assert!(!other.is_hit("/").await);
            if pauses {
                primary.signal("CONT");
            }
        }
    }
}

/// The socket accepts the connection, and no reply ever comes.
#[tokio::test]
async fn silent_sentinel_delays_no_other_one() {
    for program in programs() {
        let [_primary, _replica, sentinel] = watched(&program);
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("redis://127.0.0.1:{}", silent.local_addr().expect("an address").port());
        for urls in [[url.clone(), sentinel.url()], [sentinel.url(), url]] {
            let builder = RedisStore::sentinel(urls, "cache").timeout(Duration::from_millis(450));
            builder.build().await.expect("connected");
        }
    }
}

#[tokio::test]
async fn unknown_service_is_named() {
    for program in programs() {
        let [_primary, _replica, sentinel] = watched(&program);
        let builder = RedisStore::sentinel([sentinel.url()], "unknown").timeout(Duration::from_millis(500));
        let error = builder.build().await.expect_err("unknown");
        assert_eq!(error.kind(), ConnectErrorKind::Unsuitable, "{error}");
    }
}
