//! Servers that are killed, paused, emptied or cut off: the site goes on, and recovers by itself.

use crate::support::forwarder::Forwarder;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tower_response_cache::Store;
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{KeyRef, RedisStore};

/// The time limit of the cache, plus a margin for a slow machine.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// Verifies that a request is answered by the service, in time.
pub(super) async fn answers(site: &RedisSite) {
    let (begun, calls) = (Instant::now(), site.calls.count());
    let text = site.send("/").await;
    assert_eq!(text, (calls + 1).to_string());
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn site_loses_hits_while_the_server_is_down_and_recovers() {
    for program in programs() {
        let mut server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        site.send("/").await;
        assert!(site.is_hit("/").await);
        server.kill();
        for _ in 0..3 {
            answers(&site).await;
        }
        assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
        server.restart_empty();
        assert!(site.recovers("/").await);
        assert!(site.cache.invalidate("/").await.is_delivered());
        assert!(!site.is_hit("/").await);
    }
}

#[tokio::test]
async fn server_that_restarts_empty_begins_a_new_incarnation() {
    for program in programs() {
        let mut server = Server::start(&program, &[]);
        let (site, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        site.send("/").await;
        assert!(other.is_hit("/").await);
        let before = site.store.generations("n").expect("its own").current().await.expect("read");
        server.restart_empty();
        assert!(site.recovers("/").await && other.recovers("/").await);
        let other = other.store.generations("n").expect("its own");
        assert_ne!(other.current().await.expect("read").incarnation(), before.incarnation());
        // This process has seen the earlier incarnation, so it ends up in a later incarnation.
        let own = site.store.generations("n").expect("its own");
        let after = own.current().await.expect("read");
        assert!(after.incarnation() > before.incarnation());
        // The counters may differ: the other process may have invalidated everything once more in
        // the new incarnation.
        assert_eq!(other.current().await.expect("read").incarnation(), after.incarnation());
    }
}

#[tokio::test]
async fn paused_server_delays_requests_only_by_the_limit() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        site.send("/").await;
        assert!(site.is_hit("/").await);
        server.signal("STOP");
        answers(&site).await;
        let begun = Instant::now();
        let error = site.store.get(KeyRef::new(b"k")).await.expect_err("no answer");
        assert_eq!(error.kind(), StoreErrorKind::TimedOut);
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
        server.signal("CONT");
        assert!(site.recovers("/").await);
    }
}

/// Requests that a paused server does not answer take bounded memory.
#[tokio::test]
async fn flood_of_requests_to_a_paused_server_ends_in_time() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        server.signal("STOP");
        let begun = Instant::now();
        let names: Vec<_> = (0..10_000_u32).map(u32::to_le_bytes).collect();
        let gets = names.iter().map(|name| site.store.get(KeyRef::new(name)));
        let results = futures::future::join_all(gets).await;
        assert!(results.iter().all(Result::is_err));
        assert!(begun.elapsed() < 4 * LIMIT, "{:?}", begun.elapsed());
        server.signal("CONT");
        site.send("/").await;
        assert!(site.recovers("/").await);
    }
}

#[tokio::test]
async fn connection_cut_within_a_reply_is_an_error_and_is_replaced() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        for after in [0, 1, 3, 40, 200] {
            let forwarder = Forwarder::start(server.port(), after);
            let url = format!("redis://127.0.0.1:{}", forwarder.port);
            let builder = RedisStore::builder(url).timeout(Duration::from_millis(500));
            let site = RedisSite::over(builder.build().await.expect("connected"));
            site.send("/").await;
            assert!(site.is_hit("/").await || site.recovers("/").await);
            forwarder.is_cutting.store(true, Ordering::SeqCst);
            answers(&site).await;
            answers(&site).await;
            forwarder.is_cutting.store(false, Ordering::SeqCst);
            assert!(site.recovers("/").await, "{after}");
        }
    }
}

#[tokio::test]
async fn changed_password_loses_hits_until_it_is_restored() {
    for program in programs() {
        let server = Server::start(&program, &["--requirepass", "right"]);
        let url = format!("redis://:right@127.0.0.1:{}", server.port());
        let builder = RedisStore::builder(url).timeout(Duration::from_millis(500));
        let site = RedisSite::over(builder.build().await.expect("connected"));
        site.send("/").await;
        assert!(site.is_hit("/").await);
        let mut direct = server.direct();
        direct.send(&[b"AUTH", b"right"]);
        direct.send(&[b"CONFIG", b"SET", b"requirepass", b"changed"]);
        direct.send(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        answers(&site).await;
        direct.send(&[b"CONFIG", b"SET", b"requirepass", b"right"]);
        assert!(site.recovers("/").await);
    }
}

#[tokio::test]
async fn read_only_replica_refuses_invalidations_and_the_site_goes_on() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        site.send("/").await;
        assert!(site.is_hit("/").await);
        // The server becomes a replica of a primary that does not exist. So the server keeps its
        // data, but refuses writes.
        let reply = server.direct().send(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
        assert_eq!(reply, Reply::Text("OK".into()));
        assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
        let begun = Instant::now();
        site.send("/other").await;
        assert!(begun.elapsed() < LIMIT);
        server.direct().send(&[b"REPLICAOF", b"NO", b"ONE"]);
        assert!(site.recovers("/").await);
        assert!(site.cache.invalidate("/").await.is_delivered());
        assert!(!site.is_hit("/").await);
    }
}

/// A future may be dropped at any point: later operations get their own replies.
#[tokio::test]
async fn dropped_operations_do_not_mix_up_replies() {
    use tower_response_cache::store::{Entry, PutMode, Scope, Strength};
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let generations = site.store.generations("n").expect("its own");
        for number in 0..400_u64 {
            let name = number.to_le_bytes();
            let (key, entry) = (KeyRef::new(&name), Entry::counter(number as i64));
            let limit = Duration::from_micros(number % 20 * 20);
            let _ = tokio::time::timeout(limit, site.store.put(key, Entry::raw("x"), None, PutMode::Always))
                .await;
            let _ =
                tokio::time::timeout(limit, generations.advance(&[Scope::tag("t")], Strength::Hard)).await;
            let _ = tokio::time::timeout(limit, site.store.get(key)).await;
            assert!(site.store.put(key, entry.clone(), None, PutMode::Always).await.expect("put"));
            assert_eq!(site.store.get(key).await.expect("read"), Some(entry));
        }
        generations.current().await.expect("read");
    }
}

/// Returns the number of connections that the server has accepted, with the one of this query.
fn connections(server: &Server) -> u64 {
    let info = String::from_utf8(server.direct().send(&[b"INFO", b"stats"]).bytes()).expect("text");
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.expect("a count").parse().expect("a number")
}

#[tokio::test]
async fn connection_whose_command_was_dropped_stays() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let limit = Duration::from_millis(300);
        let builder = RedisStore::builder(server.url()).timeout(limit);
        let store = builder.build().await.expect("connected");
        let before = connections(&server);
        for _ in 0..3 {
            let mut get = store.get(KeyRef::new(b"k"));
            assert!(futures::poll!(&mut get).is_pending(), "the command is sent");
            drop(get);
            tokio::time::sleep(2 * limit).await;
            store.get(KeyRef::new(b"k")).await.expect("read");
        }
        assert_eq!(connections(&server), before + 1, "only this test has connected again");
    }
}
