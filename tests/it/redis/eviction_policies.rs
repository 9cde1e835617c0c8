//! The warning about an eviction policy that is unsuitable for a cache.

use crate::status::events::{listen, recorded_events};
use crate::support::servers::{Server, programs};
use tower_response_cache::store::RedisStore;

/// Returns the warnings that building a store emits.
async fn warnings(url: String) -> Vec<String> {
    listen();
    RedisStore::builder(url).confirm_by(1).build().await.expect("connected");
    recorded_events().into_iter().filter(|line| line.starts_with("WARN")).collect()
}

#[tokio::test]
async fn unsuitable_eviction_policy_is_warned_of_once() {
    let policies = [
        ("noeviction", 1),
        ("allkeys-random", 1),
        ("volatile-random", 1),
        ("allkeys-lru", 0),
        ("allkeys-lfu", 0),
        ("volatile-lru", 0),
        ("volatile-lfu", 0),
        ("volatile-ttl", 0),
    ];
    for program in programs() {
        // Managed servers have a memory limit, too.
        let server = Server::start(&program, &["--maxmemory", "64mb"]);
        for (policy, count) in policies {
            server.direct().send(&[b"CONFIG", b"SET", b"maxmemory-policy", policy.as_bytes()]);
            let found = warnings(server.url()).await;
            assert_eq!(found.len(), count, "{policy}: {found:?}");
            assert!(found.iter().all(|line| line.contains("message=eviction policy")), "{found:?}");
        }
    }
}

#[tokio::test]
async fn policy_without_a_memory_limit_is_not_warned_of() {
    for program in programs() {
        let server = Server::start(&program, &["--maxmemory-policy", "allkeys-random"]);
        assert!(warnings(server.url()).await.is_empty());
    }
}

/// Managed servers refuse `CONFIG`, and may refuse `INFO`.
#[tokio::test]
async fn policy_is_read_without_config_and_may_be_unknown() {
    for program in programs() {
        let options = ["--maxmemory", "64mb", "--rename-command", "CONFIG", ""];
        assert_eq!(warnings(Server::start(&program, &options).url()).await.len(), 1);
        let options = ["--maxmemory", "64mb", "--rename-command", "INFO", ""];
        assert!(warnings(Server::start(&program, &options).url()).await.is_empty());
    }
}
