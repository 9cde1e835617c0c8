//! Invalidations that replicas confirm, and fail-overs that undo unconfirmed invalidations.

use super::sentinels::watched;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use futures::future::join_all;
use std::time::Duration;
use tower_response_cache::cache::CircuitState;
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{RedisStore, RedisStoreBuilder, Scope, Strength, Validity};
use tower_response_cache::{Cache, Store};

async fn connect(builder: RedisStoreBuilder, replicas: usize) -> RedisSite {
    let builder = builder.timeout(Duration::from_millis(500)).confirm_by(replicas);
    RedisSite::over(builder.build().await.expect("connected"))
}

async fn watched_site(sentinel: &Server, replicas: usize) -> RedisSite {
    connect(RedisStore::sentinel([sentinel.url()], "cache"), replicas).await
}

#[tokio::test]
async fn unconfirmed_invalidation_is_queued_until_a_replica_confirms() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = connect(RedisStore::builder(server.url()), 1).await;
        let other = RedisSite::connect(&server).await;
        for path in ["/", "/other"] {
            site.send(path).await;
        }
        let generations = site.store.generations("n").expect("its own");
        let error = generations.advance(&[Scope::tag("t")], Strength::Hard).await.expect_err("no replica");
        assert_eq!(error.kind(), StoreErrorKind::Unconfirmed);
        // The server answers, so the circuit stays closed.
        for _ in 0..8 {
            assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
            assert!(!site.is_hit("/").await && site.is_hit("/other").await);
        }
        assert_eq!(site.cache.circuit(), CircuitState::Closed);
        assert!(site.cache.undelivered() > 0);
        let _replica = Server::replica(&program, &server);
        assert!(site.delivers().await);
        assert!(site.cache.invalidate("/other").await.is_delivered());
        assert!(!other.is_hit("/other").await);
    }
}

/// The test uses the default limits. An idle server replies to `WAIT` up to 100 ms after the time
/// limit of the command.
#[tokio::test]
async fn missing_replica_is_no_outage_for_concurrent_invalidations() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::builder(server.url()).confirm_by(1).build().await.expect("connected");
        let generations = store.generations("n").expect("its own");
        let cache = Cache::builder(store).build().expect("valid");
        for _ in 0..3 {
            let paths: [_; 10] = std::array::from_fn(|number| format!("/{number}"));
            assert_eq!(
                join_all(paths.iter().map(|path| cache.invalidate(path.as_str()))).await,
                [Delivery::Queued; 10]
            );
            assert_eq!(cache.circuit(), CircuitState::Closed);
            let tags = [Scope::tag("t")];
            for advance in join_all((0..10).map(|_| generations.advance(&tags, Strength::Hard))).await {
                assert_eq!(advance.expect_err("no replica").kind(), StoreErrorKind::Unconfirmed);
            }
        }
        let _replica = Server::replica(&program, &server);
        // On a busy machine, the replica may answer too late at first.
        let mut is_confirmed = false;
        for _ in 0..100 {
            let advances = (0..10).map(|_| generations.advance(&[Scope::tag("t")], Strength::Hard));
            is_confirmed = join_all(advances).await.iter().all(Result::is_ok);
            if is_confirmed {
                break;
            }
        }
        assert!(is_confirmed);
    }
}

#[tokio::test]
async fn unconfirmed_advance_still_invalidates_all_its_scopes() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = connect(RedisStore::builder(server.url()), 1).await;
        let other = RedisSite::connect(&server).await;
        let (own, others) = (site.store.generations("n"), other.store.generations("n"));
        let (own, others) = (own.expect("its own"), others.expect("its own"));
        let since = others.current().await.expect("read");
        let scopes = [vec![Scope::tag("first"); 20_000], vec![Scope::tag("last")]].concat();
        let error = own.advance(&scopes, Strength::Hard).await.expect_err("no replica");
        assert_eq!(error.kind(), StoreErrorKind::Unconfirmed);
        for tag in ["first", "last"] {
            let state = others.check(since, &[Scope::tag(tag)], &[]).await.expect("checked");
            assert_eq!(state, Validity::Invalid, "{tag}");
        }
    }
}

/// While a connection waits for replicas, the server runs none of its later commands.
#[tokio::test]
async fn look_ups_do_not_wait_for_replicas() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = connect(RedisStore::builder(server.url()), 1).await;
        site.send("/").await;
        let generations = site.store.generations("default").expect("its own");
        let advances: Vec<_> =
            (0..4).map(|_| generations.advance(&[Scope::tag("t")], Strength::Hard)).collect();
        let advances = tokio::spawn(join_all(advances));
        let mut hits = 0;
        while !advances.is_finished() {
            hits += u32::from(site.is_hit("/").await);
        }
        assert!(hits > 2, "{hits}");
        assert!(advances.await.expect("no panic").iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn confirmed_invalidation_survives_a_fail_over() {
    for program in programs() {
        for pauses in [false, true] {
            let [mut primary, replica, sentinel] = watched(&program);
            let (one, other) = (watched_site(&sentinel, 1).await, watched_site(&sentinel, 1).await);
            one.send("/").await;
            assert!(other.is_hit("/").await);
            assert!(one.cache.invalidate("/").await.is_delivered());
            if pauses {
                primary.signal("STOP")
            } else {
                primary.kill()
            }
            assert!(replica.waits_for_info("role:master"));
            assert!(other.recovers_after_fail_over("/probe").await, "pauses: {pauses}");
            assert!(!other.is_hit("/").await, "pauses: {pauses}");
        }
    }
}

/// Without confirmations, a fail-over may undo a delivered invalidation.
#[tokio::test]
async fn fail_over_undoes_an_invalidation_that_no_replica_has() {
    for program in programs() {
        let [mut primary, replica, sentinel] = watched(&program);
        let (one, other) = (watched_site(&sentinel, 0).await, watched_site(&sentinel, 0).await);
        one.send("/").await;
        assert!(other.is_hit("/").await);
        primary.direct().send(&[b"WAIT", b"1", b"5000"]);
        replica.cut_off();
        assert!(one.cache.invalidate("/").await.is_delivered());
        primary.kill();
        assert!(replica.waits_for_info("role:master"));
        assert!(other.recovers_after_fail_over("/probe").await);
        assert!(other.is_hit("/").await, "the old page is back in a process that never saw the invalidation");
        // The process that sent the invalidation notices its loss.
        assert!(one.recovers_after_fail_over("/another").await);
        assert!(!other.is_hit("/").await && !one.is_hit("/probe").await, "all older entries are invalid");
    }
}

#[tokio::test]
async fn queued_invalidation_is_delivered_to_the_new_primary() {
    for program in programs() {
        let [mut primary, replica, sentinel] = watched(&program);
        let (one, other) = (watched_site(&sentinel, 1).await, watched_site(&sentinel, 1).await);
        one.send("/").await;
        assert!(other.is_hit("/").await);
        primary.direct().send(&[b"WAIT", b"1", b"5000"]);
        replica.cut_off();
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        primary.kill();
        assert!(replica.waits_for_info("role:master"));
        let _second = Server::replica(&program, &replica);
        assert!(one.delivers().await);
        assert!(other.recovers_after_fail_over("/probe").await);
        assert!(!other.is_hit("/").await);
        assert!(one.recovers_after_fail_over("/").await);
        assert!(one.cache.invalidate("/").await.is_delivered());
    }
}
