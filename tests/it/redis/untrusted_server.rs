//! A server that other programs can read, change or pause: it holds no secrets, and changed pages are not served.

use super::cluster::{cluster, connect};
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Reply, Server, programs};
use crate::support::{get_with, numbered, origin, policy, send};
use std::collections::HashSet;
use tower::{Layer, ServiceExt};
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::store::RedisStore;
use tower_response_cache::{Cache, SiteCacheLayer, Store};

/// Returns the names and the contents of everything in the server, as text.
fn contents(server: &Server) -> String {
    let mut direct = server.direct();
    let mut text = String::new();
    for key in direct.keys() {
        let content = match direct.send(&[b"GET", &key]) {
            Reply::Bulk(value) => value,
            _ => format!("{:?}", direct.send(&[b"HGETALL", &key])).into_bytes(),
        };
        text += &format!("{}={}\n", key.escape_ascii(), content.escape_ascii());
    }
    text
}

#[tokio::test]
async fn server_holds_no_cookie_credential_or_identity() {
    for program in programs() {
        let server = Server::start(&program, &["--requirepass", "p4ss"]);
        let url = format!("redis://:p4ss@127.0.0.1:{}", server.port());
        let store = RedisStore::builder(url).authenticate("an0ther s3cret of the store").build().await;
        let cache = Cache::builder(store.expect("connected")).key_secret("k3y of the cache").build();
        let cache = cache.expect("valid");
        let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "public, max-age=60")], call));
        let policy = policy()
            .cache_status_key(true)
            .vary_on_cookies(["plan"])
            .vary_by("tenant", |_| Some("t3nant".to_owned()))
            .vary_by_identity("user", |request| {
                Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
            });
        let layer = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy"));
        let stack = layer.layer(inner).boxed_clone();
        let lines = [("authorization", "Bearer t0ken"), ("x-user", "al1ce"), ("cookie", "plan=g0ld")];
        let mut shown = String::new();
        for lines in [&lines[..], &lines[1..], &lines[2..]] {
            for _ in 0..2 {
                let answer = send(&stack, get_with("/report", lines)).await;
                shown += answer.header("cache-status").expect("reported");
                cache.shutdown().await;
            }
        }
        assert!(calls.count() < 6, "some responses are stored: {shown}");
        assert!(cache.invalidate("/report").await.is_delivered());
        let mut direct = server.direct();
        direct.send(&[b"AUTH", b"p4ss"]);
        direct.send(&[b"CONFIG", b"SET", b"requirepass", b""]);
        let all = contents(&server);
        assert!(all.contains("/report"), "{all}");
        for secret in ["t0ken", "al1ce", "g0ld", "t3nant", "p4ss", "an0ther", "k3y"] {
            assert!(!all.contains(secret) && !shown.contains(secret), "{secret}: {all} {shown}");
        }
    }
}

/// The test changes each byte of a stored page, truncates it, extends it, and replaces it by another page.
#[tokio::test]
async fn page_that_was_changed_in_the_server_is_never_served() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let mut direct = server.direct();
        let is_entry = |key: &Vec<u8>| key.starts_with(b"trc:e:");
        site.send("/other").await;
        let others: HashSet<_> = direct.keys().into_iter().filter(is_entry).collect();
        let other = others.iter().map(|key| direct.send(&[b"GET", key]).bytes()).max_by_key(Vec::len);
        let text = site.send("/").await;
        let added = direct.keys().into_iter().filter(|key| is_entry(key) && !others.contains(key));
        let valid: Vec<_> = added.map(|key| (key.clone(), direct.send(&[b"GET", &key]).bytes())).collect();
        // The longest value is the page. A shorter value is the index of its variants.
        let (key, page) = valid.iter().max_by_key(|(_, value)| value.len()).expect("an entry").clone();
        let flipped = (0..page.len()).map(|at| {
            let mut changed = page.clone();
            changed[at] ^= 0x40;
            changed
        });
        let cut = (0..page.len()).step_by(7).map(|cut| page[..cut].to_vec());
        let others = [other.expect("an entry"), [&page[..], b"more"].concat(), vec![0xff; 1 << 20]];
        for value in flipped.chain(cut).chain(others).collect::<Vec<_>>() {
            for (key, value) in &valid {
                direct.send(&[b"SET", key, value]);
            }
            assert!(site.is_hit("/").await);
            direct.send(&[b"SET", &key, &value]);
            let (calls, answer) = (site.calls.count(), site.send("/").await);
            let is_forwarded = site.calls.count() == calls + 1 && answer == (calls + 1).to_string();
            assert!(is_forwarded || answer == text, "{answer} from {}", value.escape_ascii());
        }
    }
}

/// The server refuses only reads of the record. Meanwhile, another process invalidates the page.
#[tokio::test]
async fn page_whose_generation_cannot_be_read_is_not_served() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (port, mut direct) = (server.port(), server.direct());
        direct.send(&[b"ACL", b"SETUSER", b"free", b"on", b"nopass", b"~*", b"&*", b"+@all"]);
        let free = RedisStore::connect(format!("redis://free:x@127.0.0.1:{port}")).await.expect("connected");
        let (site, other) = (RedisSite::connect(&server).await, RedisSite::over(free));
        let old = site.send("/").await;
        assert!(site.is_hit("/").await && other.is_hit("/").await);
        direct.send(&[b"AUTH", b"free", b"x"]);
        let limited = direct.send(&[b"ACL", b"SETUSER", b"default", b"resetkeys", b"~trc:e:*"]);
        assert_eq!(limited, Reply::Text("OK".into()));
        for _ in 0..10 {
            assert_ne!(site.send("/").await, old);
        }
        let generations = site.store.generations("default").expect("its own");
        assert_eq!(generations.current().await.expect_err("denied").kind(), StoreErrorKind::Unavailable);
        assert!(other.cache.invalidate("/").await.is_delivered());
        assert_ne!(site.send("/").await, old);
        direct.send(&[b"ACL", b"SETUSER", b"default", b"allkeys"]);
        assert!(site.recovers("/").await);
        assert_ne!(site.send("/").await, old);
    }
}

/// The primary of the entries answers. The primary of the record is paused.
#[tokio::test]
async fn page_is_not_served_while_its_record_is_on_a_paused_primary() {
    for program in programs() {
        let servers = cluster(&program);
        let site = RedisSite::over(connect(&servers).await);
        let mut pages = Vec::new();
        for number in 0..20 {
            let path = format!("/{number}");
            let text = site.send(&path).await;
            assert!(site.is_hit(&path).await);
            pages.push((path, text));
        }
        let has_record =
            |server: &&Server| server.direct().keys().iter().any(|key| key.starts_with(b"trc:g:"));
        let paused = servers.iter().find(has_record).expect("a record");
        paused.signal("STOP");
        for (path, text) in &pages {
            assert_ne!(site.send(path).await, *text, "{path}");
        }
        paused.signal("CONT");
        assert!(site.recovers("/0").await);
    }
}
