//! Entries that are authenticated by a secret.

use crate::support::servers::{Direct, Reply, Server, programs};
use tower_response_cache::Store;
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, RedisStore};

const OLD: &[u8] = b"the old secret of 25 byte";
const NEW: &[u8] = b"the new secret of 25 byte";

async fn store(server: &Server, secrets: &[&[u8]]) -> RedisStore {
    let builder = secrets
        .iter()
        .fold(RedisStore::builder(server.url()), |builder, secret| builder.authenticate(*secret));
    builder.build().await.expect("connected")
}

async fn put(store: &RedisStore, key: &'static [u8], text: &'static str) {
    assert!(store.put(KeyRef::new(key), Entry::raw(text), None, PutMode::Always).await.expect("put"));
}

async fn text(store: &RedisStore, key: &'static [u8]) -> Option<Entry> {
    store.get(KeyRef::new(key)).await.expect("read")
}

/// Returns the only key of the server, and its value.
fn only_value(direct: &mut Direct) -> (Vec<u8>, Vec<u8>) {
    let key = direct.keys().pop().expect("a key");
    let value = direct.send(&[b"GET", &key]).bytes();
    (key, value)
}

#[tokio::test]
async fn secrets_rotate_without_a_miss() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (old, both, new) =
            (store(&server, &[OLD]).await, store(&server, &[NEW, OLD]).await, store(&server, &[NEW]).await);
        put(&old, b"a", "1").await;
        put(&both, b"b", "2").await;
        assert_eq!(text(&both, b"a").await, Some(Entry::raw("1")));
        assert_eq!(text(&new, b"b").await, Some(Entry::raw("2")));
        assert_eq!((text(&new, b"a").await, text(&old, b"b").await), (None, None));
        let plain = store(&server, &[]).await;
        assert_eq!(text(&plain, b"a").await, None);
        put(&plain, b"a", "3").await;
        assert_eq!((text(&both, b"a").await, text(&plain, b"a").await), (None, Some(Entry::raw("3"))));
    }
}

#[tokio::test]
async fn changed_invented_or_swapped_entries_are_absent() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (store, mut direct) = (store(&server, &[NEW]).await, server.direct());
        put(&store, b"a", "the page of a visitor").await;
        let (a, value) = only_value(&mut direct);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            direct.send(&[b"SET", &a, &changed]);
            assert_eq!(text(&store, b"a").await, None, "{at}");
        }
        for cut in 0..value.len() {
            direct.send(&[b"SET", &a, &value[..cut]]);
            assert_eq!(text(&store, b"a").await, None, "{cut}");
        }
        direct.send(&[b"FLUSHALL"]);
        put(&store, b"b", "the page of another one").await;
        let (b, _) = only_value(&mut direct);
        // Under key `b`: the value of key `a`, unchanged and with `b` in place of its key.
        direct.send(&[b"SET", &b, &value]);
        assert_eq!(text(&store, b"b").await, None);
        let mut moved = value.clone();
        let at = moved.iter().position(|byte| *byte == b'a').expect("the key");
        moved[at] = b'b';
        direct.send(&[b"SET", &b, &moved]);
        assert_eq!(text(&store, b"b").await, None);
        direct.send(&[b"SET", &a, &value]);
        assert_eq!(
            text(&store, b"a").await,
            Some(Entry::raw("the page of a visitor")),
            "authentication does not detect an old value under its own key"
        );
    }
}

#[tokio::test]
async fn authenticated_counters_count_and_keep_their_ttl() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (store, mut direct) = (store(&server, &[NEW]).await, server.direct());
        let key = KeyRef::new(b"n");
        let initial = Some(InitialCounter::new(5, Some(std::time::Duration::from_secs(100))));
        assert_eq!(store.increment(key, 2, initial).await.expect("added"), 7);
        assert_eq!(store.increment(key, 2, None).await.expect("added"), 9);
        let (name, _) = only_value(&mut direct);
        let Reply::Number(rest) = direct.send(&[b"PTTL", &name]) else { panic!("no TTL") };
        assert!((90_000..=100_000).contains(&rest), "{rest}");
        direct.send(&[b"SET", &name, b"r1\x01\0\0\0nn7"]);
        let missing = store.increment(key, 1, None).await.expect_err("absent").kind();
        assert_eq!(missing, StoreErrorKind::Missing, "an unauthenticated counter is absent");
    }
}

#[tokio::test]
async fn entry_moved_to_another_prefix_is_absent() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = async |prefix: &str| {
            let builder = RedisStore::builder(server.url()).prefix(prefix).authenticate(NEW);
            builder.build().await.expect("connected")
        };
        let (one, other) = (store("one").await, store("other").await);
        put(&one, b"a", "the page of one site").await;
        let mut direct = server.direct();
        let (name, value) = only_value(&mut direct);
        let moved = [&b"other"[..], &name[b"one".len()..]].concat();
        put(&other, b"a", "the page of the other site").await;
        assert!(!direct.send(&[b"GET", &moved]).bytes().is_empty());
        direct.send(&[b"SET", &moved, &value]);
        assert_eq!(text(&other, b"a").await, None);
        assert_eq!(text(&one, b"a").await, Some(Entry::raw("the page of one site")));
    }
}

#[tokio::test]
async fn increments_keep_the_time_at_which_a_counter_expires() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (store, key) = (store(&server, &[NEW]).await, KeyRef::new(b"n"));
        let initial = InitialCounter::new(0, Some(std::time::Duration::from_secs(60)));
        store.increment(key, 1, Some(initial)).await.expect("a counter");
        let mut direct = server.direct();
        let name = direct.keys().pop().expect("a key");
        let mut expires = || direct.send(&[b"PEXPIRETIME", &name]);
        let first = expires();
        for number in 2..50 {
            assert_eq!(store.increment(key, 1, Some(initial)).await.expect("a counter"), number);
            assert_eq!(expires(), first);
        }
    }
}
