//! Servers that lack a command, and users that may not run one.

use super::faults::{LIMIT, answers};
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use std::time::Instant;
use tower_response_cache::Invalidation;
use tower_response_cache::error::ConnectErrorKind;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::RedisStore;

/// The commands that every store needs. `build` verifies that the server permits them.
const COMMANDS: [&str; 10] =
    ["EVAL", "EVALSHA", "GET", "GETRANGE", "SET", "DEL", "INCRBY", "PEXPIRE", "HGET", "HSET"];

/// Sets the rules of the user `site`. The default user sends the command.
fn permit(server: &Server, rules: &[&str]) {
    let mut command: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"site"];
    command.extend(rules.iter().map(|rule| rule.as_bytes()));
    assert_eq!(server.direct().send(&command), Reply::Text("OK".into()));
}

fn url(server: &Server) -> String {
    format!("redis://site:secret@127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn missing_command_is_named_at_build() {
    for program in programs() {
        for command in COMMANDS {
            let server = Server::start(&program, &["--rename-command", command, ""]);
            let error = RedisStore::connect(server.url()).await.expect_err("refused");
            assert_eq!(error.kind(), ConnectErrorKind::Unsuitable, "{command}: {error}");
            assert!(error.to_string().to_uppercase().contains(command), "{command}: {error}");
        }
        let server = Server::start(&program, &["--rename-command", "WAIT", ""]);
        RedisStore::connect(server.url()).await.expect("connected");
        let error = RedisStore::builder(server.url()).confirm_by(1).build().await.expect_err("refused");
        assert_eq!(error.kind(), ConnectErrorKind::Unsuitable, "{error}");
    }
}

#[tokio::test]
async fn missing_permission_is_refused_at_build() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        for command in COMMANDS {
            permit(&server, &["reset", "on", ">secret", "~*", "+@all", &format!("-{command}")]);
            let error = RedisStore::connect(url(&server)).await.expect_err("refused");
            assert_eq!(error.kind(), ConnectErrorKind::Refused, "{command}: {error}");
            let text = error.to_string();
            assert!(text.to_uppercase().contains(command) && !text.contains("secret"), "{text}");
        }
        permit(&server, &["reset", "on", ">secret", "~other:*", "+@all"]);
        let error = RedisStore::connect(url(&server)).await.expect_err("refused");
        assert_eq!(error.kind(), ConnectErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn permission_for_the_keys_of_the_prefix_suffices() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        permit(&server, &["reset", "on", ">secret", "~shop:*", "+@all", "-@admin", "-@dangerous"]);
        let store = RedisStore::builder(url(&server)).prefix("shop").build().await.expect("connected");
        let site = RedisSite::over(store);
        site.send("/").await;
        assert!(site.is_hit("/").await);
        assert!(site.cache.invalidate("/").await.is_delivered());
        assert!(!site.is_hit("/").await);
    }
}

#[tokio::test]
async fn invalidations_are_queued_while_scripts_are_revoked() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        permit(&server, &["reset", "on", ">secret", "~*", "+@all"]);
        let site = RedisSite::over(RedisStore::connect(url(&server)).await.expect("connected"));
        let other = RedisSite::connect(&server).await;
        site.send("/").await;
        assert!(other.is_hit("/").await);
        permit(&server, &["-eval", "-evalsha"]);
        assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
        assert!(!site.is_hit("/").await, "the invalidation counts in this process");
        permit(&server, &["+eval", "+evalsha"]);
        assert!(site.delivers().await);
        assert!(!other.is_hit("/").await);
        assert!(site.recovers("/").await);
    }
}

#[tokio::test]
async fn revoked_commands_lose_hits_until_they_are_permitted() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        permit(&server, &["reset", "on", ">secret", "~*", "+@all"]);
        let site = RedisSite::over(RedisStore::connect(url(&server)).await.expect("connected"));
        for taken in ["-getrange", "-hget", "-@all"] {
            assert!(site.recovers("/").await);
            permit(&server, &[taken]);
            for _ in 0..3 {
                answers(&site).await;
            }
            let begun = Instant::now();
            assert!(taken != "-@all" || site.cache.invalidate(Invalidation::all()).await == Delivery::Queued);
            assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
            permit(&server, &["+@all"]);
            assert!(site.delivers().await && site.recovers("/").await, "{taken}");
        }
    }
}
