//! A cluster of three primaries.

use super::contract::{Processes, verify_entries};
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use std::path::Path;
use std::time::{Duration, Instant};
use tower_response_cache::Store;
use tower_response_cache::store::{Entry, KeyRef, RedisStore};

/// Starts three primaries that share all slots.
pub(super) fn cluster(program: &Path) -> Vec<Server> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let servers: Vec<_> = (0..3).map(|_| Server::start(program, &options)).collect();
    let ok = Reply::Text("OK".into());
    for (at, server) in servers.iter().enumerate() {
        let (first, last) = (at * 16384 / 3, (at + 1) * 16384 / 3 - 1);
        let (first, last) = (first.to_string(), last.to_string());
        let mut direct = server.direct();
        let added = direct.send(&[b"CLUSTER", b"ADDSLOTSRANGE", first.as_bytes(), last.as_bytes()]);
        assert_eq!(added, ok);
        let port = servers[0].port().to_string();
        assert_eq!(direct.send(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes()]), ok);
    }
    for _ in 0..400 {
        let is_ready = |server: &Server| {
            let info = String::from_utf8(server.direct().send(&[b"CLUSTER", b"INFO"]).bytes()).expect("text");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        if servers.iter().all(is_ready) {
            return servers;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the cluster does not form");
}

pub(super) async fn connect(servers: &[Server]) -> RedisStore {
    RedisStore::cluster(servers.iter().map(Server::url)).build().await.expect("connected")
}

#[tokio::test]
async fn cluster_keeps_the_contract() {
    for program in programs() {
        let servers = cluster(&program);
        verify_entries(connect(&servers).await, servers.iter().map(Server::port).collect()).await;
        let with_keys = servers.iter().filter(|server| !server.direct().keys().is_empty());
        assert_eq!(with_keys.count(), 3, "all primaries have some keys");
    }
}

/// Several processes whose entries are authenticated, on one cluster.
#[tokio::test]
async fn authenticated_processes_on_a_cluster_keep_the_contract() {
    for program in programs() {
        let servers = cluster(&program);
        let mut stores = Vec::new();
        for _ in 0..2 {
            let builder = RedisStore::cluster(servers.iter().map(Server::url));
            let builder = builder.authenticate("a secret of 24 bytes ...");
            stores.push(builder.build().await.expect("connected"));
        }
        verify_entries(Processes::over(stores), servers.iter().map(Server::port).collect()).await;
    }
}

#[tokio::test]
async fn many_operations_work_across_slots() {
    for program in programs() {
        let servers = cluster(&program);
        let store = connect(&servers).await;
        let names: Vec<_> = (0..100).map(|number: u8| [number]).collect();
        let keys: Vec<_> = names.iter().map(|name| KeyRef::new(name)).collect();
        let entries: Vec<_> =
            keys.iter().zip(0..).map(|(key, number)| (*key, Entry::counter(number), None)).collect();
        assert_eq!(store.put_many(&entries).await.expect("put"), vec![true; 100]);
        let expected: Vec<_> = (0..100).map(|number| Some(Entry::counter(number))).collect();
        assert_eq!(store.get_many(&keys).await.expect("read"), expected);
        assert_eq!(store.remove_many(&keys).await.expect("removed"), vec![true; 100]);
        assert_eq!(store.get_many(&keys).await.expect("read"), vec![None; 100]);
    }
}

#[tokio::test]
async fn processes_on_a_cluster_share_pages_and_invalidations() {
    for program in programs() {
        let servers = cluster(&program);
        let (one, other) =
            (RedisSite::over(connect(&servers).await), RedisSite::over(connect(&servers).await));
        for number in 0..20 {
            let path = format!("/{number}");
            one.send(&path).await;
            assert!(other.is_hit(&path).await, "{path}");
            assert!(other.cache.invalidate(&*path).await.is_delivered());
            assert!(!one.is_hit(&path).await, "{path}");
        }
    }
}

/// The socket of a paused server accepts connections, and no reply comes.
#[tokio::test]
async fn silent_server_delays_a_cluster_build_by_one_limit() {
    for program in programs() {
        let servers = cluster(&program);
        servers[0].signal("STOP");
        let (begun, limit) = (Instant::now(), Duration::from_secs(6));
        let builder = RedisStore::cluster(servers.iter().map(Server::url)).timeout(limit);
        // The build may fail, since the cluster notices that one primary is gone.
        let _ = builder.build().await;
        assert!(begun.elapsed() < limit + limit / 2, "{:?}", begun.elapsed());
        servers[0].signal("CONT");
    }
}

#[tokio::test]
async fn cluster_without_a_time_limit_survives_a_restart() {
    for program in programs() {
        let mut servers = cluster(&program);
        let builder = RedisStore::cluster(servers.iter().map(Server::url)).timeout(Duration::MAX);
        let site = RedisSite::over(builder.build().await.expect("connected"));
        site.send("/").await;
        servers[0].restart_empty();
        for number in 0..10 {
            site.send(&format!("/{number}")).await;
        }
        assert!(site.recovers_after_fail_over("/").await);
    }
}
