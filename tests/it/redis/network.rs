//! Slow networks, and names that stop resolving.

use super::faults::answers;
use super::sentinels::watched;
use crate::support::forwarder::Forwarder;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tower_response_cache::error::ConnectErrorKind;
use tower_response_cache::store::RedisStore;

/// The default limit of a look-up.
const DEFAULT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn slow_network_loses_hits_but_no_invalidation() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let store = || RedisStore::connect(forwarder.url());
        let slow = RedisSite::with_limit(store().await.expect("connected"), DEFAULT);
        let patient = RedisSite::with_limit(store().await.expect("connected"), Duration::from_secs(5));
        let other = RedisSite::connect(&server).await;
        other.send("/").await;
        assert!(slow.recovers("/").await && patient.is_hit("/").await);
        forwarder.delay.store(200, Ordering::SeqCst);
        for _ in 0..10 {
            answers(&slow).await;
        }
        assert!(patient.is_hit("/").await, "its time limit is longer than the delay");
        let _ = slow.cache.invalidate("/").await;
        assert!(!slow.is_hit("/").await);
        forwarder.delay.store(0, Ordering::SeqCst);
        assert!(slow.delivers().await);
        assert!(!other.is_hit("/").await);
        assert!(slow.recovers("/").await);
    }
}

#[tokio::test]
async fn slow_network_delivers_an_invalidation_within_its_limit() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let store = RedisStore::builder(forwarder.url()).timeout(Duration::from_secs(5));
        let site = RedisSite::with_limit(store.build().await.expect("connected"), Duration::from_secs(5));
        let other = RedisSite::connect(&server).await;
        site.send("/").await;
        forwarder.delay.store(200, Ordering::SeqCst);
        assert!(site.is_hit("/").await && other.is_hit("/").await);
        assert!(site.cache.invalidate("/").await.is_delivered());
        assert!(!site.is_hit("/").await && !other.is_hit("/").await);
    }
}

#[tokio::test]
async fn name_that_does_not_resolve_is_unreachable() {
    let begun = Instant::now();
    // RFC 2606: no name under this domain resolves.
    for builder in [
        RedisStore::builder("redis://:s3cret@cache.invalid:6379"),
        RedisStore::sentinel(["redis://:s3cret@cache.invalid:26379"], "cache"),
        RedisStore::cluster(["redis://:s3cret@cache.invalid:6379"]),
    ] {
        let error = builder.timeout(Duration::from_millis(500)).build().await.expect_err("unknown");
        assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The forwarder changes the name of the primary in the replies of the sentinel.
#[tokio::test]
async fn unresolvable_name_loses_hits_until_it_resolves_again() {
    for program in programs() {
        let [primary, _replica, sentinel] = watched(&program);
        let forwarder = Forwarder::start(sentinel.port(), 0);
        let builder = RedisStore::sentinel([forwarder.url()], "cache").timeout(Duration::from_secs(2));
        let site = RedisSite::over(builder.build().await.expect("connected"));
        site.send("/").await;
        assert!(site.is_hit("/").await);
        let rename = |names| *forwarder.renaming.lock().expect("not poisoned") = names;
        rename(Some(("127.0.0.1", "a.invalid")));
        primary.direct().send(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]);
        assert!(!site.is_hit("/").await || !site.is_hit("/").await, "the name is resolved again");
        for _ in 0..3 {
            answers(&site).await;
        }
        let _ = site.cache.invalidate("/").await;
        rename(None);
        assert!(site.recovers_after_fail_over("/").await && site.delivers().await);
    }
}
