//! The low-level cache over a server: values, numbers and their times to live.

use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Direct, Reply, Server, programs};
use std::time::Duration;
use tower_response_cache::Ttl;
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::store::RedisStore;

const DAY: Duration = Duration::from_secs(86_400);

/// Returns the remaining times to live of all entries in milliseconds.
fn remaining(direct: &mut Direct) -> Vec<i64> {
    let keys = direct.keys().into_iter().filter(|key| key.starts_with(b"trc:e:"));
    let ttl = |key: Vec<u8>| match direct.send(&[b"PTTL", &key]) {
        Reply::Number(ttl) => ttl,
        other => panic!("no TTL: {other:?}"),
    };
    keys.map(ttl).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T, tower_response_cache::error::StoreError>) -> StoreErrorKind {
    result.expect_err("an error").kind()
}

#[tokio::test]
async fn failed_set_leaves_no_old_value() {
    for program in programs() {
        let options = ["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"];
        let server = Server::start(&program, &options);
        let builder = RedisStore::builder(server.url()).largest_entry(1 << 20);
        let site = RedisSite::over(builder.build().await.expect("connected"));
        let cache = &site.cache;
        assert!(cache.set("k", "old", Ttl::Forever).await.expect("set"));
        // The value is larger than the limit of one entry.
        assert!(!cache.set("k", &"x".repeat(2 << 20), Ttl::Forever).await.expect("refused"));
        assert_eq!(cache.get::<String>("k").await.expect("read"), None);
        assert!(cache.set("k", "old", Ttl::Forever).await.expect("set"));
        let left = cache.set_many([("k", "x".repeat(2 << 20)), ("l", "new".to_owned())], Ttl::Forever).await;
        assert_eq!(left.expect("refused"), ["k"]);
        assert_eq!(cache.get::<String>("k").await.expect("read"), None);
        // The value is larger than the memory of the server.
        assert!(cache.set("k", "old", Ttl::Forever).await.expect("set"));
        server.direct().send(&[b"CONFIG", b"SET", b"maxmemory", b"1mb"]);
        cache.set("k", &"x".repeat(500_000), Ttl::Forever).await.expect_err("full");
        for _ in 0..100 {
            // The removal of the old value may wait for delivery.
            if cache.undelivered() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(cache.get::<String>("k").await.expect("read"), None);
        let other = RedisSite::connect(&server).await;
        assert_eq!(other.cache.get::<String>("k").await.expect("read"), None);
    }
}

#[tokio::test]
async fn ttls_are_exact_from_milliseconds_to_the_longest() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let (cache, mut direct) = (&site.cache, server.direct());
        // The longest TTL is 30 days.
        for (ttl, least, most) in [
            (Ttl::from(Duration::from_millis(20_500)), 10_500, 20_500),
            (Ttl::from(DAY), 86_390_000, 86_400_000),
            (Ttl::from(29 * DAY), 29 * 86_400_000 - 10_000, 29 * 86_400_000),
            (Ttl::from(60 * DAY), 30 * 86_400_000 - 10_000, 30 * 86_400_000),
            (Ttl::Forever, 30 * 86_400_000 - 10_000, 30 * 86_400_000),
        ] {
            direct.send(&[b"FLUSHALL"]);
            assert!(cache.set("k", "v", ttl).await.expect("set"));
            let all = remaining(&mut direct);
            assert!(all.len() == 1 && (least..=most).contains(&all[0]), "{ttl:?}: {all:?}");
        }
        // A TTL of less than a second is not rounded to zero.
        assert!(cache.set("k", "short", Duration::from_millis(900)).await.expect("set"));
        assert_eq!(remaining(&mut direct).len(), 1);
        assert!(!cache.set("k", "none", Duration::ZERO).await.expect("not stored"));
        assert_eq!(cache.get::<String>("k").await.expect("read"), None);
        assert!(remaining(&mut direct).is_empty(), "a TTL of zero removes the value");
    }
}

#[tokio::test]
async fn text_of_digits_stays_text_and_numbers_stay_numbers() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let cache = &site.cache;
        for text in ["42", "-1", "1e3", ""] {
            assert!(cache.set("text", text, Ttl::Forever).await.expect("set"));
            assert_eq!(cache.get::<String>("text").await.expect("read").as_deref(), Some(text));
            assert_eq!(cache.get::<i64>("text").await.expect("read"), None);
            assert_eq!(kind(cache.incr("text", 1).await), StoreErrorKind::NotANumber);
        }
        for number in [0, i64::MIN, i64::MAX - 1] {
            assert!(cache.set("number", &number, Ttl::Forever).await.expect("set"));
            assert_eq!(cache.incr("number", 1).await.expect("added"), number + 1);
            assert_eq!(cache.get::<i64>("number").await.expect("read"), Some(number + 1));
            assert_eq!(cache.get::<String>("number").await.expect("read"), None);
        }
        assert_eq!(kind(cache.incr("number", 1).await), StoreErrorKind::Overflow);
    }
}

#[tokio::test]
async fn increment_of_an_expired_counter_does_not_revive_it() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let (cache, mut direct) = (&site.cache, server.direct());
        cache.set_counter("n", 5, Duration::from_secs(100)).await.expect("set");
        assert_eq!(cache.incr("n", 1).await.expect("added"), 6);
        assert!(remaining(&mut direct).iter().all(|ttl| (1..=100_000).contains(ttl)), "it keeps its TTL");
        direct.advance(Duration::from_secs(101));
        assert_eq!(kind(cache.incr("n", 1).await), StoreErrorKind::Missing);
        assert!(remaining(&mut direct).is_empty());
    }
}

/// A key without a TTL would stay in the server for ever.
#[tokio::test]
async fn every_write_sets_a_ttl() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let site = RedisSite::connect(&server).await;
        let (cache, mut direct) = (&site.cache, server.direct());
        cache.set("a", "v", Ttl::Forever).await.expect("set");
        cache.set_many([("b", 1), ("c", 2)], Ttl::Forever).await.expect("set");
        cache.add("d", "v", Ttl::Forever).await.expect("added");
        cache.set_counter("e", 1, Ttl::Forever).await.expect("set");
        cache.incr("e", 1).await.expect("added");
        cache.incr("b", 1).await.expect("added");
        cache.incr_or("f", 1, 0, Ttl::Forever).await.expect("added");
        cache.touch("a", Ttl::Forever).await.expect("touched");
        site.send("/").await;
        assert!(cache.invalidate("/").await.is_delivered() && cache.clear_values().await.is_delivered());
        let mut count = 0;
        for key in direct.keys() {
            let ttl = direct.send(&[b"PTTL", &key]);
            assert!(matches!(ttl, Reply::Number(1..)), "{}: {ttl:?}", key.escape_ascii());
            count += 1;
        }
        assert!(count >= 8, "{count} keys");
    }
}

#[tokio::test]
async fn every_process_reads_a_value_once_it_is_set() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let sites = [RedisSite::connect(&server).await, RedisSite::connect(&server).await];
        for number in 0..100_usize {
            let [writer, reader] = [&sites[number % 2].cache, &sites[(number + 1) % 2].cache];
            writer.set("k", &number, Ttl::Forever).await.expect("set");
            assert_eq!(writer.get::<usize>("k").await.expect("read"), Some(number));
            assert_eq!(reader.get::<usize>("k").await.expect("read"), Some(number));
            if number % 10 == 0 {
                assert!(reader.clear_values().await.is_delivered());
                assert_eq!(writer.get::<usize>("k").await.expect("read"), None);
            }
        }
    }
}

#[tokio::test]
async fn replacement_that_is_too_large_removes_the_value() {
    use tower_response_cache::Store;
    use tower_response_cache::store::{Entry, KeyRef, PutMode};
    for program in programs() {
        let server = Server::start(&program, &[]);
        let builder = RedisStore::builder(server.url()).largest_entry(10_000);
        let store = builder.build().await.expect("connected");
        let (key, old, large) = (KeyRef::new(b"k"), Entry::raw("old"), Entry::raw(vec![7; 20_000]));
        assert!(store.put(key, old.clone(), None, PutMode::Always).await.expect("put"));
        assert!(!store.compare_and_set(key, Some(&old), large, None).await.expect("an answer"));
        assert_eq!(store.get(key).await.expect("read"), None);
    }
}
