//! A cluster of three primaries, each with a replica. One primary fails.

use super::cluster::cluster;
use super::faults::LIMIT;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use std::path::Path;
use std::time::{Duration, Instant};
use tower_response_cache::store::RedisStore;

const OPTIONS: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

/// Starts three primaries and a replica of each.
fn replicated(program: &Path) -> (Vec<Server>, Vec<Server>) {
    let primaries = cluster(program);
    let replicas: Vec<_> = primaries.iter().map(|_| Server::start(program, &OPTIONS)).collect();
    for (primary, replica) in primaries.iter().zip(&replicas) {
        let port = primary.port().to_string();
        let id = primary.direct().send(&[b"CLUSTER", b"MYID"]).bytes();
        replica.direct().send(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes()]);
        let is_replica = (0..400).any(|_| {
            let reply = replica.direct().send(&[b"CLUSTER", b"REPLICATE", &id]);
            std::thread::sleep(Duration::from_millis(50));
            reply == Reply::Text("OK".into())
        });
        assert!(is_replica && replica.waits_for_info("master_link_status:up"), "no replica");
    }
    // A replica replaces its primary only if the other servers know the replica.
    let knows_all = |server: &Server| {
        let nodes = server.direct().send(&[b"CLUSTER", b"NODES"]).bytes();
        String::from_utf8_lossy(&nodes).matches("slave").count() == replicas.len()
    };
    let is_known = (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        primaries.iter().chain(&replicas).all(knows_all)
    });
    assert!(is_known, "the replicas are not known");
    (primaries, replicas)
}

async fn connect(servers: &[Server], title: &'static str) -> RedisSite {
    let builder = RedisStore::cluster(servers.iter().map(Server::url)).confirm_by(1);
    let store = builder.timeout(Duration::from_millis(500)).build().await.expect("connected");
    RedisSite::over(store).titled(title)
}

/// Returns the index of the primary that has the invalidations.
fn with_record(primaries: &[Server]) -> usize {
    let has_record = |server: &Server| server.direct().keys().iter().any(|key| key.starts_with(b"trc:g:"));
    primaries.iter().position(has_record).expect("a record")
}

/// During the seconds of a fail-over, the site answers every request in time, and never with an
/// invalidated page.
async fn fails_over(program: &Path, pauses: bool) {
    let (mut primaries, replicas) = replicated(program);
    let (one, other) = (connect(&primaries, "one").await, connect(&primaries, "other").await);
    let paths: Vec<_> = (0..12).map(|number| format!("/{number}")).collect();
    for path in &paths {
        one.send(path).await;
        assert!(other.is_hit(path).await, "{path}");
    }
    assert!(one.cache.invalidate(&*paths[0]).await.is_delivered());
    let failed = with_record(&primaries);
    if pauses {
        primaries[failed].signal("STOP")
    } else {
        primaries[failed].kill()
    }
    for path in &paths[..3] {
        let begun = Instant::now();
        let text = other.send(path).await;
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert!(path != &paths[0] || text.starts_with("other"), "{text} is old");
    }
    assert!(replicas[failed].waits_for_info("role:master"), "no fail-over");
    assert!(other.recovers_after_fail_over("/probe").await, "pauses: {pauses}");
    assert!(other.send(&paths[0]).await.starts_with("other"));
    for path in &paths {
        assert!(one.recovers_after_fail_over(path).await, "{path}, pauses: {pauses}");
    }
    // The failed server comes back as a replica, and confirms invalidations again.
    if pauses {
        primaries[failed].signal("CONT")
    } else {
        primaries[failed].restart_empty()
    }
    let _ = one.cache.invalidate(&*paths[1]).await;
    assert!(one.delivers().await && other.recovers_after_fail_over("/probe").await);
    assert!(!other.send(&paths[1]).await.starts_with("one"));
    assert!(one.cache.invalidate(&*paths[1]).await.is_delivered());
}

#[tokio::test]
async fn killed_primary_of_a_cluster_is_replaced() {
    for program in programs() {
        fails_over(&program, false).await;
    }
}

/// The paused server keeps its connections open, and does not answer.
#[tokio::test]
async fn paused_primary_of_a_cluster_is_replaced() {
    for program in programs() {
        fails_over(&program, true).await;
    }
}
