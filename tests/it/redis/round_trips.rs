//! The number of commands that a hit takes, and the effect of writes on other processes.

use crate::support::forwarder::Forwarder;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use crate::support::{get, send};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tower_response_cache::store::{Entry, KeyRef, PutMode, RedisStore, Scope, Strength, Validity};
use tower_response_cache::{Invalidation, Store};

/// The numbers of calls, since the start of the server, of the commands that a hit may use.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    get: u64,
    hget: u64,
    scripts: u64,
}

fn counts(server: &Server) -> Counts {
    let scripts = server.calls("evalsha") + server.calls("eval");
    Counts { get: server.calls("getrange"), hget: server.calls("hget"), scripts }
}

/// Returns the numbers of reads of entries and of scripts since `before`. Leaves out `HGET`, since
/// scripts call `HGET`, too.
fn since(server: &Server, before: Counts) -> (u64, u64) {
    let now = counts(server);
    (now.get - before.get, now.scripts - before.scripts)
}

#[tokio::test]
async fn hit_reads_the_entry_and_the_generation_and_nothing_else() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        site.send("/").await;
        assert!(site.is_hit("/").await);
        let before = counts(&server);
        for _ in 0..10 {
            assert!(site.is_hit("/").await);
        }
        let now = counts(&server);
        assert_eq!(now, Counts { get: before.get + 10, hget: before.hget + 10, scripts: before.scripts });
    }
}

/// Both commands of a hit are sent in one piece, so the hit waits for the server once.
#[tokio::test]
async fn hit_sends_one_piece_to_the_server() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let url = format!("redis://127.0.0.1:{}", forwarder.port);
        let site = RedisSite::over(RedisStore::connect(url).await.expect("connected"));
        site.send("/").await;
        assert!(site.is_hit("/").await);
        let before = forwarder.sent.load(Ordering::SeqCst);
        for _ in 0..10 {
            assert!(site.is_hit("/").await);
        }
        assert_eq!(forwarder.sent.load(Ordering::SeqCst) - before, 10);
        let other = RedisSite::connect(&server).await;
        assert!(other.cache.invalidate(Invalidation::tag("another")).await.is_delivered());
        for _ in 0..10 {
            assert!(site.is_hit("/").await);
        }
        assert_eq!(forwarder.sent.load(Ordering::SeqCst) - before, 10 + 11);
    }
}

#[tokio::test]
async fn invalidation_costs_each_process_one_more_read() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        one.send("/").await;
        assert!(other.is_hit("/").await, "one process stored the page, and the other reads it");
        for _ in 0..3 {
            assert!(one.cache.invalidate(Invalidation::tag("another")).await.is_delivered());
            let before = counts(&server);
            for _ in 0..10 {
                assert!(other.is_hit("/").await);
            }
            assert_eq!(since(&server, before), (10, 1));
            let before = counts(&server);
            assert!(one.is_hit("/").await, "the process knows its own invalidation");
            assert_eq!(since(&server, before), (1, 0));
        }
    }
}

#[tokio::test]
async fn concurrent_hits_after_an_invalidation_share_one_read() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        one.send("/").await;
        assert!(other.is_hit("/").await);
        assert!(one.cache.invalidate(Invalidation::tag("another")).await.is_delivered());
        let before = counts(&server);
        let answers = join_all((0..64).map(|_| send(&other.stack, get("/")))).await;
        assert!(answers.iter().all(|answer| answer.is_hit()));
        let (reads, scripts) = since(&server, before);
        assert!(reads <= 64 && scripts == 1, "{reads} reads, {scripts} scripts");
    }
}

#[tokio::test]
async fn page_invalidated_by_one_process_is_a_miss_in_the_other() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        one.send("/").await;
        for round in 0..20 {
            assert!(other.is_hit("/").await && one.is_hit("/").await, "{round}");
            let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
            assert!(from.cache.invalidate("/").await.is_delivered());
            assert!(!to.is_hit("/").await, "{round}");
            to.cache.shutdown().await;
        }
        assert_eq!(one.calls.count() + other.calls.count(), 21);
    }
}

/// A process reads the snapshot if it has missed more advances than the log holds.
#[tokio::test]
async fn process_that_missed_the_whole_log_sees_every_invalidation() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        let [one, other] = [&one.store, &other.store].map(|store| store.generations("n").expect("its own"));
        let before = one.current().await.expect("read");
        assert_eq!(other.current().await.expect("read"), before);
        let scope = |number: usize| Scope::tag(&number.to_string());
        for number in 0..1200 {
            one.advance(&[scope(number)], Strength::Hard).await.expect("advanced");
        }
        for number in (0..1200).step_by(37) {
            let state = other.check(before, &[scope(number)], &[]).await.expect("checked");
            assert_eq!(state, Validity::Invalid, "{number}");
        }
        assert_eq!(other.current().await.expect("read").counter(), before.counter() + 1200);
        assert_eq!(one.current().await.expect("read"), other.current().await.expect("read"));
        let mut direct = server.direct();
        let record = direct.keys().into_iter().find(|key| key.starts_with(b"trc:g:")).expect("a record");
        let crate::support::servers::Reply::Number(fields) = direct.send(&[b"HLEN", &record]) else {
            panic!("no hash")
        };
        assert!(fields <= 4 + 513, "{fields}");
    }
}

#[tokio::test]
async fn one_invalidation_may_name_many_scopes() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let generations = site.store.generations("n").expect("its own");
        let before = generations.current().await.expect("read");
        let scopes: Vec<_> = (0..20_000).map(|number: u32| Scope::tag(&number.to_string())).collect();
        generations.advance(&scopes, Strength::Hard).await.expect("advanced");
        for scope in scopes.iter().step_by(997) {
            let state = generations.check(before, &[*scope], &[]).await.expect("checked");
            assert_eq!(state, Validity::Invalid);
        }
    }
}

/// A value is looked up by the generation of the last clear that the process knows.
#[tokio::test]
async fn value_is_read_in_one_round_trip() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let url = format!("redis://127.0.0.1:{}", forwarder.port);
        let site = RedisSite::over(RedisStore::connect(url).await.expect("connected"));
        let other = RedisSite::connect(&server).await;
        let minute = Duration::from_secs(60);
        let keys: Vec<_> = (0..20).map(|number| format!("k{number}")).collect();
        site.cache.set_many(keys.iter().map(|key| (key, 1)), minute).await.expect("set");
        let sent = || forwarder.sent.load(Ordering::SeqCst);
        let read = async |trips: usize| {
            let before = (counts(&server), sent());
            assert_eq!(site.cache.get::<u32>("k0").await.expect("read"), Some(1));
            assert_eq!(sent() - before.1, trips);
            assert_eq!(since(&server, before.0), (1, trips as u64 - 1));
        };
        let read_many = async |trips: usize| {
            let before = (counts(&server), sent());
            let found = site.cache.get_many::<u32, _>(&keys).await.expect("read");
            assert!(found.len() == keys.len() && found.values().all(|value| *value == 1));
            assert_eq!(sent() - before.1, trips);
            assert_eq!(since(&server, before.0), (20, trips as u64 - 1));
        };
        read(1).await;
        read_many(1).await;
        assert!(other.cache.invalidate(Invalidation::tag("another")).await.is_delivered());
        read(2).await;
        assert!(other.cache.invalidate(Invalidation::tag("another")).await.is_delivered());
        read_many(2).await;
        read(1).await;
        read_many(1).await;
    }
}

/// The first look-up after a clear uses the key from before the clear. Two more round trips follow:
/// one reads the clear, and one repeats the look-up.
#[tokio::test]
async fn clear_costs_the_next_value_two_more_round_trips() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let url = format!("redis://127.0.0.1:{}", forwarder.port);
        let site = RedisSite::over(RedisStore::connect(url).await.expect("connected"));
        let other = RedisSite::connect(&server).await;
        let minute = Duration::from_secs(60);
        for round in 0..5 {
            site.cache.set("value", &round, minute).await.expect("set");
            assert_eq!(site.cache.incr_or("counter", 1, 0, minute).await.expect("counted"), 1);
            assert_eq!(site.cache.get::<u32>("value").await.expect("read"), Some(round));
            assert!(other.cache.clear_values().await.is_delivered());
            other.cache.set("later", &round, minute).await.expect("set");
            let before = forwarder.sent.load(Ordering::SeqCst);
            assert_eq!(site.cache.get::<u32>("later").await.expect("read"), Some(round));
            assert_eq!(forwarder.sent.load(Ordering::SeqCst) - before, 3);
            assert_eq!(site.cache.get::<u32>("value").await.expect("read"), None);
            assert_eq!(site.cache.get::<u32>("counter").await.expect("read"), None);
            assert_eq!(forwarder.sent.load(Ordering::SeqCst) - before, 5);
        }
    }
}

/// A clear hides counters, which carry no generation, from every later request.
#[tokio::test]
async fn cleared_values_are_absent_in_every_process() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        let keys = ["a", "b", "c"];
        for round in 0..20 {
            let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
            for key in keys {
                let sum = to.cache.incr_or(key, 1, 0, Duration::from_secs(60)).await;
                assert_eq!(sum.expect("counted"), 1, "{round}");
            }
            assert_eq!(from.cache.get_many::<i64, _>(keys).await.expect("read").len(), 3, "{round}");
            assert!(from.cache.clear().await.is_delivered());
            assert_eq!(to.cache.get::<i64>("a").await.expect("read"), None, "{round}");
            assert!(from.cache.clear().await.is_delivered());
            assert!(to.cache.get_many::<i64, _>(keys).await.expect("read").is_empty(), "{round}");
        }
    }
}

/// The process knows the generation of an earlier clear, and must not look counters up by it.
#[tokio::test]
async fn undelivered_clear_hides_counters() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let minute = Duration::from_secs(60);
        assert_eq!(site.cache.incr_or("counter", 1, 0, minute).await.expect("counted"), 1);
        assert_eq!(site.cache.get::<i64>("counter").await.expect("read"), Some(1));
        server.signal("STOP");
        assert!(!site.cache.clear().await.is_delivered());
        server.signal("CONT");
        for _ in 0..200 {
            let found = site.cache.get::<i64>("counter").await;
            assert!(!matches!(found, Ok(Some(_))), "{found:?}");
            if site.cache.undelivered() == 0 && found.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(site.cache.get::<i64>("counter").await.expect("read"), None);
    }
}

#[tokio::test]
async fn many_operations_take_one_command_for_each_key_and_no_more() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let names: Vec<_> = (0..100).map(|number: u8| [number]).collect();
        let keys: Vec<_> = names.iter().map(|name| KeyRef::new(name)).collect();
        let entries: Vec<_> = keys.iter().map(|key| (*key, Entry::raw("v"), None)).collect();
        assert_eq!(site.store.put_many(&entries).await.expect("put"), vec![true; 100]);
        let before = counts(&server);
        assert_eq!(site.store.get_many(&keys).await.expect("read"), vec![Some(Entry::raw("v")); 100]);
        assert_eq!(since(&server, before), (100, 0));
        assert_eq!(site.store.remove_many(&keys).await.expect("removed"), vec![true; 100]);
        assert_eq!(site.store.remove_many(&keys).await.expect("removed"), vec![false; 100]);
        server.direct().send(&[b"SCRIPT", b"FLUSH"]);
        assert_eq!(site.store.put_many(&entries).await.expect("put"), vec![true; 100]);
        assert_eq!(site.store.remove_many(&keys).await.expect("removed"), vec![true; 100]);
    }
}

#[tokio::test]
async fn prefixes_and_namespaces_share_nothing_and_keep_foreign_keys() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let mut direct = server.direct();
        direct.send(&[b"SET", b"foreign", b"1"]);
        let build = async |prefix: &str| {
            let builder = RedisStore::builder(server.url()).prefix(prefix);
            RedisSite::over(builder.build().await.expect("connected"))
        };
        let (one, other) = (build("one").await, build("other").await);
        assert_eq!((one.send("/").await, other.send("/").await), ("1".into(), "1".into()));
        assert!(one.cache.invalidate(Invalidation::all()).await.is_delivered());
        assert!(other.is_hit("/").await);
        let blog = other.cache.with_namespace("blog").expect("a name");
        assert!(blog.invalidate(Invalidation::all()).await.is_delivered());
        assert!(blog.clear().await.is_delivered());
        assert!(other.is_hit("/").await);
        let keys = direct.keys();
        let is_own = |key: &Vec<u8>| key.starts_with(b"one:") || key.starts_with(b"other:");
        assert_eq!(keys.iter().filter(|key| !is_own(key)).collect::<Vec<_>>(), [b"foreign"]);
        for key in keys.iter().filter(|key| is_own(key)) {
            let crate::support::servers::Reply::Number(rest) = direct.send(&[b"PTTL", key]) else {
                panic!("no time")
            };
            assert!(rest > 0, "everything expires");
        }
    }
}

#[tokio::test]
async fn operation_outside_a_runtime_runs_in_the_connections_runtime() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisSite::connect(&server).await.store;
        let outside = move || {
            let key = KeyRef::new(b"k");
            futures::executor::block_on(async {
                store.put(key, Entry::raw("v"), Some(Duration::from_secs(9)), PutMode::Always).await?;
                store.get(key).await
            })
        };
        let found = tokio::task::spawn_blocking(move || std::thread::spawn(outside).join());
        assert_eq!(found.await.expect("joined").expect("no panic").expect("read"), Some(Entry::raw("v")));
    }
}

/// Returns the name of the only record of the server.
fn record_name(direct: &mut crate::support::servers::Direct) -> Vec<u8> {
    direct.keys().into_iter().find(|key| key.starts_with(b"trc:g:")).expect("a record")
}

/// A page that a handler makes from its own write is outdated by a later write.
#[tokio::test]
async fn later_write_outdates_an_own_write_whose_reply_is_late() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await.store, RedisSite::connect(&server).await.store);
        let (own, others) =
            (one.generations("n").expect("its own"), other.generations("n").expect("its own"));
        let value = Scope::value(b"x");
        let since = own.depend(value).await.expect("a generation");
        let mut direct = server.direct();
        let name = record_name(&mut direct);
        let mut head = || direct.send(&[b"HGET", &name, b"g"]).bytes();
        let before = head();
        let mut written = std::pin::pin!(own.written(value, since));
        // Polls only until the server has the advance, so its reply is not read yet.
        'sent: loop {
            assert!(futures::poll!(&mut written).is_pending());
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if head() != before {
                    break 'sent;
                }
            }
        }
        others.advance(&[value], Strength::Hard).await.expect("advanced");
        let newest = own.current().await.expect("a generation");
        let written = written.await.expect("written").expect("the only write since");
        assert!(written.counter() < newest.counter());
        let state = others.check(written, &[value], &[]).await.expect("checked");
        assert_eq!(state, Validity::Invalid);
    }
}

#[tokio::test]
async fn hits_renew_the_record_of_invalidations() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let builder = RedisStore::builder(server.url()).max_ttl(Duration::from_millis(800));
        let site = RedisSite::over(builder.build().await.expect("connected"));
        site.send("/").await;
        let mut direct = server.direct();
        let name = record_name(&mut direct);
        direct.send(&[b"PERSIST", &name]);
        let mut ttl = || direct.send(&[b"PTTL", &name]);
        assert_eq!(ttl(), crate::support::servers::Reply::Number(-1));
        for _ in 0..200 {
            site.store.get_at("default", KeyRef::new(b"k")).await.expect("read");
            if ttl() != crate::support::servers::Reply::Number(-1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_ne!(ttl(), crate::support::servers::Reply::Number(-1));
    }
}
