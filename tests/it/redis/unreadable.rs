//! Values in the server that this version cannot decode: they are absent, and writes replace them.

use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Direct, Reply, Server, programs};
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, RedisStore, Scope, Strength};
use tower_response_cache::{Invalidation, Store};

fn key() -> KeyRef<'static> {
    KeyRef::new(b"k")
}

/// Returns values that cannot be decoded, made from a valid one.
fn unreadable(valid: &[u8]) -> Vec<Vec<u8>> {
    let frame = valid.windows(3).position(|bytes| bytes == b"trc").expect("a frame");
    let mut newer = valid.to_vec();
    newer[frame + 3] += 1;
    let mut damaged = valid.to_vec();
    *damaged.last_mut().expect("a byte") ^= 1;
    let mut other_key = valid.to_vec();
    other_key[6] ^= 1;
    let counter = [&valid[..7], b"n12x"].concat();
    let mut all = vec![b"garbage".to_vec(), Vec::new(), newer, damaged, other_key, counter];
    all.extend((0..valid.len()).step_by(9).map(|cut| valid[..cut].to_vec()));
    all.push([valid, b"more"].concat());
    all
}

async fn with_value(server: &Server) -> (RedisStore, Direct, Vec<u8>, Vec<u8>) {
    let store = RedisStore::connect(server.url()).await.expect("connected");
    store.put(key(), Entry::raw("a value"), None, PutMode::Always).await.expect("put");
    let mut direct = server.direct();
    let name = direct.keys().pop().expect("a key");
    let value = direct.send(&[b"GET", &name]).bytes();
    (store, direct, name, value)
}

#[tokio::test]
async fn unreadable_values_are_absent_for_every_method() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (store, mut direct, name, valid) = with_value(&server).await;
        for bytes in unreadable(&valid) {
            let text = bytes.escape_ascii().to_string();
            let mut place = || assert_eq!(direct.send(&[b"SET", &name, &bytes]), Reply::Text("OK".into()));
            place();
            assert_eq!(store.get(key()).await.expect("read"), None, "{text}");
            assert_eq!(store.get_many(&[key()]).await.expect("read"), [None], "{text}");
            let put = store.put(key(), Entry::raw("new"), None, PutMode::IfAbsent).await.expect("put");
            assert!(put, "{text}");
            assert_eq!(store.get(key()).await.expect("read"), Some(Entry::raw("new")), "{text}");
            place();
            let put = store.compare_and_set(key(), None, Entry::raw("new"), None).await.expect("put");
            assert!(put, "{text}");
            place();
            let initial = Some(InitialCounter::new(1, None));
            assert_eq!(store.increment(key(), 1, initial).await.expect("added"), 2, "{text}");
            place();
            assert!(store.put(key(), Entry::raw("new"), None, PutMode::Always).await.expect("put"), "{text}");
        }
    }
}

#[tokio::test]
async fn keys_of_another_type_are_absent_for_every_method() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (store, mut direct, name, _) = with_value(&server).await;
        let mut place = || {
            direct.send(&[b"DEL", &name]);
            direct.send(&[b"LPUSH", &name, b"x"]);
        };
        place();
        assert_eq!(store.get(key()).await.expect("read"), None);
        assert!(!store.remove(key()).await.expect("removed"));
        place();
        assert!(!store.touch(key(), None).await.expect("touched"));
        assert!(store.put(key(), Entry::raw("new"), None, PutMode::IfAbsent).await.expect("put"));
        place();
        assert!(store.compare_and_set(key(), None, Entry::raw("new"), None).await.expect("put"));
        place();
        let initial = Some(InitialCounter::new(1, None));
        assert_eq!(store.increment(key(), 1, initial).await.expect("added"), 2);
        place();
        assert!(store.put(key(), Entry::raw("new"), None, PutMode::Always).await.expect("put"));
    }
}

/// Returns the name of the only record.
fn record(direct: &mut Direct) -> Vec<u8> {
    direct.keys().into_iter().find(|key| key.starts_with(b"trc:g:")).expect("a record")
}

/// Damage to a record invalidates all entries of its namespace. The site continues.
#[tokio::test]
async fn damaged_record_begins_a_new_incarnation() {
    type Damage = fn(&mut Direct, &[u8]);
    let damages: [Damage; 8] = [
        |direct, key| drop(direct.send(&[b"DEL", key])),
        |direct, key| drop(direct.send(&[b"SET", key, b"a string"])),
        |direct, key| drop(direct.send(&[b"HDEL", key, b"s"])),
        |direct, key| drop(direct.send(&[b"HDEL", key, b"g"])),
        |direct, key| drop(direct.send(&[b"HSET", key, b"g", b"1garbage"])),
        |direct, key| {
            drop(direct.send(&[b"HSET", key, b"g", b"1000000000000000000000000999999999999999999999"]))
        },
        |direct, key| drop(direct.send(&[b"HSET", key, b"s", b"\x04garbage"])),
        |direct, key| drop(direct.send(&[b"HDEL", key, b"S", b"b"])),
    ];
    for program in programs() {
        for (at, damage) in damages.into_iter().enumerate() {
            let server = Server::start(&program, &[]);
            let site = RedisSite::connect(&server).await;
            site.send("/").await;
            assert!(site.cache.invalidate(Invalidation::tag("t")).await.is_delivered());
            let mut direct = server.direct();
            let name = record(&mut direct);
            damage(&mut direct, &name);
            // This process has not read the record before.
            let other = RedisSite::connect(&server).await;
            assert!(other.cache.invalidate("/").await.is_delivered());
            for site in [&other, &site] {
                assert!(!site.is_hit("/").await, "damage {at}");
                assert!(site.cache.invalidate("/").await.is_delivered());
                assert!(site.recovers("/").await, "damage {at}");
            }
            assert!(site.cache.invalidate("/").await.is_delivered());
            assert!(!other.is_hit("/").await, "damage {at}");
        }
    }
}

/// A script counts from the snapshot to the counter. It must end for each of these pairs, too.
#[tokio::test]
async fn impossible_counters_begin_a_new_incarnation() {
    let counters = [
        ["1e300", "1e300"],
        ["1e300", "0"],
        ["inf", "inf"],
        ["nan", "nan"],
        ["-1", "-5000"],
        ["5000.5", "5000.5"],
        ["0x10", "0x10"],
        ["+5", "+5"],
        ["9007199254740993", "9007199254740992"],
        ["4503599627370495", "0"],
        ["5", "900"],
    ];
    for program in programs() {
        for [counter, snapshot] in counters {
            let server = Server::start(&program, &[]);
            let site = RedisSite::connect(&server).await;
            site.send("/").await;
            let mut direct = server.direct();
            let name = record(&mut direct);
            let head = direct.send(&[b"HGET", &name, b"g"]).bytes();
            let head = [&head[..25], counter.as_bytes()].concat();
            direct.send(&[b"HSET", &name, b"g", &head, b"S", snapshot.as_bytes()]);
            let other = RedisSite::connect(&server).await;
            for site in [&other, &site] {
                assert!(site.cache.invalidate("/").await.is_delivered(), "{counter}, {snapshot}");
                assert!(!site.is_hit("/").await, "{counter}, {snapshot}");
                assert!(site.recovers("/").await, "{counter}, {snapshot}");
            }
            let new = direct.send(&[b"HGET", &name, b"g"]).bytes();
            assert_ne!(new[1..17], head[1..17], "{counter}, {snapshot}");
        }
    }
}

#[tokio::test]
async fn invalidation_repairs_the_size_of_a_log() {
    let sizes: [(&[u8], &[u8]); 6] =
        [(b"b", b"nan"), (b"b", b"-1e300"), (b"b", b""), (b"S", b"inf"), (b"S", b"9000"), (b"S", b"-1")];
    for program in programs() {
        for (field, size) in sizes {
            let server = Server::start(&program, &[]);
            let site = RedisSite::connect(&server).await;
            site.send("/").await;
            let mut direct = server.direct();
            let name = record(&mut direct);
            direct.send(&[b"HSET", &name, field, size]);
            assert!(site.cache.invalidate("/").await.is_delivered(), "{}", size.escape_ascii());
            assert!(!site.is_hit("/").await, "{}", size.escape_ascii());
            let repaired = direct.send(&[b"HGET", &name, field]).bytes();
            assert!(repaired.iter().all(u8::is_ascii_digit) && repaired.len() < 4, "{repaired:?}");
        }
    }
}

#[tokio::test]
async fn damaged_record_of_any_size_is_replaced() {
    for program in programs() {
        for field in [&b"g"[..], b"s", b"1", b"S", b"b"] {
            let server = Server::start(&program, &[]);
            let site = RedisSite::connect(&server).await;
            site.send("/").await;
            assert!(site.cache.invalidate("/").await.is_delivered());
            let mut direct = server.direct();
            let name = record(&mut direct);
            let large = vec![b'1'; 8 << 20];
            direct.send(&[b"HSET", &name, field, &large]);
            let other = RedisSite::connect(&server).await;
            for site in [&other, &site] {
                assert!(site.cache.invalidate("/").await.is_delivered(), "{}", field.escape_ascii());
                assert!(site.recovers("/").await, "{}", field.escape_ascii());
            }
            let Reply::Number(size) = direct.send(&[b"MEMORY", b"USAGE", &name]) else { panic!("no size") };
            assert!(size < 1 << 20, "{}: {size}", field.escape_ascii());
        }
    }
}

#[tokio::test]
async fn record_of_a_newer_version_is_left_alone() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        site.send("/").await;
        let mut direct = server.direct();
        let name = record(&mut direct);
        direct.send(&[b"HSET", &name, b"g", b"2anything"]);
        assert!(!site.is_hit("/").await);
        let generations = site.store.generations("default").expect("its own");
        let error = generations.advance(&[Scope::tag("t")], Strength::Hard).await.expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::UnknownVersion);
        assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
        assert_eq!(direct.send(&[b"HGET", &name, b"g"]).bytes(), b"2anything");
    }
}

/// Returns how many bytes the server has sent.
fn sent_bytes(direct: &mut Direct) -> u64 {
    let info = String::from_utf8(direct.send(&[b"INFO", b"stats"]).bytes()).expect("text");
    let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.expect("a count").parse().expect("a number")
}

#[tokio::test]
async fn value_beyond_the_size_limit_is_absent_and_not_read() {
    const LIMIT: usize = 1 << 16;
    for program in programs() {
        let (server, text) = (Server::start(&program, &[]), "x".repeat(64 * LIMIT));
        let mut direct = server.direct();
        let large = RedisStore::connect(server.url()).await.expect("connected");
        let small = RedisStore::builder(server.url()).largest_entry(LIMIT as u64);
        let small = small.build().await.expect("connected");
        assert!(large.put(key(), Entry::raw(text.clone()), None, PutMode::Always).await.expect("put"));
        let before = sent_bytes(&mut direct);
        assert_eq!(small.get(key()).await.expect("read"), None);
        assert_eq!(small.get_many(&[key()]).await.expect("read"), [None]);
        assert_eq!(small.get_many_at("n", &[key()]).await.expect("read").0, [None]);
        assert!(sent_bytes(&mut direct) - before < 8 * LIMIT as u64);
        assert_eq!(large.get(key()).await.expect("read"), Some(Entry::raw(text)));
        assert!(small.put(key(), Entry::raw("new"), None, PutMode::IfAbsent).await.expect("put"));
        assert_eq!(large.get(key()).await.expect("read"), Some(Entry::raw("new")));
    }
}

/// Covers entries around the size limit of a store.
#[tokio::test]
async fn every_entry_that_is_stored_is_found() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        for limit in [64, 300, 1000, 5000] {
            let store = RedisStore::builder(server.url()).largest_entry(limit).build().await;
            let store = store.expect("connected");
            for length in 0..limit as usize {
                let entry = Entry::raw("x".repeat(length));
                let put = store.put(key(), entry.clone(), None, PutMode::Always).await.expect("put");
                assert_eq!(store.get(key()).await.expect("read"), put.then_some(entry), "{limit} {length}");
            }
            assert!(store.put(key(), Entry::counter(i64::MIN), None, PutMode::Always).await.expect("put"));
            let found = store.get(key()).await.expect("read");
            assert_eq!(found, Some(Entry::counter(i64::MIN)), "{limit}");
        }
    }
}
