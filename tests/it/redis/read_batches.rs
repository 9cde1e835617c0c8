//! Reads of concurrent callers, which share pipelines.

use super::faults::LIMIT;
use crate::support::forwarder::Forwarder;
use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tower_response_cache::Store;
use tower_response_cache::error::StoreErrorKind;
use tower_response_cache::store::{Entry, KeyRef, PutMode, RedisStore, Scope, Strength};

/// The most batches in flight, and the read of a caller alone.
const MOST_IN_FLIGHT: usize = 2 + 1;

fn names(count: u32) -> Vec<[u8; 4]> {
    (0..count).map(u32::to_le_bytes).collect()
}

fn entry(name: &[u8]) -> Entry {
    Entry::raw(name.to_vec())
}

/// Stores an entry under each name.
async fn fill(store: &RedisStore, names: &[[u8; 4]]) {
    let entries: Vec<_> = names.iter().map(|name| (KeyRef::new(name), entry(name), None)).collect();
    assert!(store.put_many(&entries).await.expect("put").into_iter().all(|is_stored| is_stored));
}

async fn over(forwarder: &Forwarder, timeout: Duration) -> RedisStore {
    RedisStore::builder(forwarder.url()).timeout(timeout).build().await.expect("connected")
}

#[tokio::test]
async fn concurrent_reads_are_sent_in_few_pieces() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let store = over(&forwarder, LIMIT).await;
        let names = names(64);
        fill(&store, &names).await;
        let (sent, reads) = (forwarder.sent.load(Ordering::SeqCst), server.calls("getrange"));
        let found = join_all(names.iter().map(|name| store.get(KeyRef::new(name)))).await;
        for (name, found) in names.iter().zip(found) {
            assert_eq!(found.expect("read"), Some(entry(name)));
        }
        assert_eq!(server.calls("getrange") - reads, 64);
        let pieces = forwarder.sent.load(Ordering::SeqCst) - sent;
        assert!(pieces <= 6, "{pieces}");
    }
}

#[tokio::test]
async fn batch_reads_each_entry_once() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::connect(server.url()).await.expect("connected");
        let names = names(2);
        fill(&store, &names).await;
        for _ in 0..3 {
            let before = server.calls("getrange");
            let found = join_all((0..60).map(|number| store.get(KeyRef::new(&names[number % 2])))).await;
            for (number, found) in found.into_iter().enumerate() {
                assert_eq!(found.expect("read"), Some(entry(&names[number % 2])));
            }
            let reads = server.calls("getrange") - before;
            assert!(reads <= 2 * MOST_IN_FLIGHT as u64, "{reads}");
        }
    }
}

/// Each caller gets the generation of its own namespace.
#[tokio::test]
async fn batch_may_have_callers_of_several_namespaces() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::connect(server.url()).await.expect("connected");
        let names = names(48);
        fill(&store, &names[..40]).await;
        let spaces = ["a", "b", "c"];
        let mut newest = Vec::new();
        for (number, space) in spaces.iter().enumerate() {
            let generations = store.generations(space).expect("its own");
            for _ in 0..=number {
                generations.advance(&[Scope::tag("t")], Strength::Hard).await.expect("advanced");
            }
            newest.push(generations.current().await.expect("read"));
        }
        let reads =
            names.iter().enumerate().map(|(at, name)| store.get_at(spaces[at % 3], KeyRef::new(name)));
        for (at, found) in join_all(reads).await.into_iter().enumerate() {
            let expected = (at < 40).then(|| entry(&names[at]));
            assert_eq!(found.expect("read"), (expected, Some(newest[at % 3])));
        }
    }
}

/// The first callers send a read alone, and begin the task of the first batch.
#[tokio::test]
async fn callers_that_are_dropped_stop_no_other_caller() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let store = over(&forwarder, LIMIT).await;
        let names = names(24);
        fill(&store, &names).await;
        for delay in [0, 100] {
            forwarder.delay.store(delay, Ordering::SeqCst);
            for waits in [false, true] {
                for dropped in 0..12 {
                    let mut reads: Vec<_> =
                        names.iter().map(|name| store.get(KeyRef::new(name))).map(Some).collect();
                    for read in reads.iter_mut().flatten() {
                        let _ = futures::poll!(read);
                    }
                    if waits {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    reads[..dropped].fill_with(|| None);
                    reads[12 + dropped] = None;
                    let rest = reads.into_iter().enumerate().filter_map(|(at, read)| Some((at, read?)));
                    for (at, read) in rest {
                        // The first poll of a read may have returned its result.
                        if at == 0 && delay == 0 {
                            continue;
                        }
                        assert_eq!(read.await.expect("read"), Some(entry(&names[at])));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn cut_connection_fails_every_caller_of_a_batch_at_once() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        for after in [0, 40, 500] {
            let forwarder = Forwarder::start(server.port(), after);
            let store = over(&forwarder, Duration::from_secs(20)).await;
            let names = names(200);
            fill(&store, &names).await;
            forwarder.is_cutting.store(true, Ordering::SeqCst);
            let begun = Instant::now();
            let found = join_all(names.iter().map(|name| store.get(KeyRef::new(name)))).await;
            assert!(begun.elapsed() < 2 * LIMIT, "{:?}", begun.elapsed());
            let failed = found.iter().filter_map(|found| found.as_ref().err());
            assert!(failed.clone().count() >= 190);
            assert!(failed.into_iter().all(|error| error.kind() == StoreErrorKind::Unavailable));
            forwarder.is_cutting.store(false, Ordering::SeqCst);
            let mut is_back = false;
            for _ in 0..100 {
                is_back |= store.get(KeyRef::new(&names[0])).await.is_ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(is_back);
        }
    }
}

/// Further reads wait in the queue, and are sent once the server answers.
#[tokio::test]
async fn batches_in_flight_are_bounded() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let forwarder = Forwarder::start(server.port(), 0);
        let store = over(&forwarder, Duration::from_secs(20)).await;
        let names = names(200);
        fill(&store, &names).await;
        server.signal("STOP");
        let before = forwarder.sent.load(Ordering::SeqCst);
        let mut all = Box::pin(join_all(names.iter().map(|name| store.get(KeyRef::new(name)))));
        for _ in 0..20 {
            assert!(futures::poll!(&mut all).is_pending());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let sent = forwarder.sent.load(Ordering::SeqCst) - before;
        // The forwarder reads at most 4 KiB at once.
        assert!((1..=2 * MOST_IN_FLIGHT).contains(&sent), "{sent}");
        server.signal("CONT");
        for (name, found) in names.iter().zip(all.await) {
            assert_eq!(found.expect("read"), Some(entry(name)));
        }
    }
}

#[tokio::test]
async fn reads_beyond_the_queue_are_answered_too() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::builder(server.url()).timeout(LIMIT).build().await.expect("connected");
        let names = names(2000);
        fill(&store, &names).await;
        let found = join_all(names.iter().map(|name| store.get(KeyRef::new(name)))).await;
        for (name, found) in names.iter().zip(found) {
            assert_eq!(found.expect("read"), Some(entry(name)));
        }
    }
}

#[tokio::test]
async fn callers_whose_limit_has_passed_leave_the_queue() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::builder(server.url()).timeout(LIMIT).build().await.expect("connected");
        let names = names(200);
        fill(&store, &names).await;
        server.signal("STOP");
        let limit = Duration::from_millis(50);
        let begun = Instant::now();
        let reads = names.iter().map(|name| tokio::time::timeout(limit, store.get(KeyRef::new(name))));
        assert!(join_all(reads).await.iter().all(Result::is_err));
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        server.signal("CONT");
        let before = server.calls("getrange");
        assert_eq!(store.get(KeyRef::new(&names[0])).await.expect("read"), Some(entry(&names[0])));
        let reads = server.calls("getrange") - before;
        assert!(reads < 150, "the server does not read for those that have left: {reads}");
    }
}

/// The limit of the store applies to the time in the queue, too.
#[tokio::test]
async fn paused_server_fails_the_queued_reads_in_time() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let timeout = Duration::from_millis(300);
        let store = RedisStore::builder(server.url()).timeout(timeout).build().await.expect("connected");
        server.signal("STOP");
        let begun = Instant::now();
        let names = names(2000);
        let found = join_all(names.iter().map(|name| store.get(KeyRef::new(name)))).await;
        assert!(
            found.iter().all(|found| found.as_ref().is_err_and(|e| e.kind() == StoreErrorKind::TimedOut))
        );
        assert!(begun.elapsed() < 10 * timeout, "{:?}", begun.elapsed());
        server.signal("CONT");
    }
}

/// Reads are in progress all the time, while another process invalidates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generation_of_a_batch_is_not_older_than_its_callers() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let (one, other) = (RedisSite::connect(&server).await, RedisSite::connect(&server).await);
        let generations = other.store.generations("n").expect("its own");
        let names = names(32);
        fill(&one.store, &names).await;
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let background = join_all(names.iter().map(async |name| {
            while !is_over.load(Ordering::SeqCst) {
                one.store.get_at("n", KeyRef::new(name)).await.expect("read");
            }
        }));
        let check = async {
            for _ in 0..100 {
                generations.advance(&[Scope::tag("t")], Strength::Hard).await.expect("advanced");
                let now = generations.current().await.expect("read").counter();
                let reads = names.iter().map(|name| one.store.get_at("n", KeyRef::new(name)));
                for found in join_all(reads).await {
                    let read = found.expect("read").1.expect("a generation").counter();
                    assert!(read >= now, "{read} is older than {now}");
                }
            }
            is_over.store(true, Ordering::SeqCst);
        };
        futures::join!(background, check);
    }
}

/// An entry that was decoded before is used again for the same bytes alone.
#[tokio::test]
async fn changed_bytes_are_not_taken_for_the_entry_decoded_before() {
    for program in programs() {
        for secret in [None, Some("a secret of the store")] {
            let server = Server::start(&program, &[]);
            let mut builder = RedisStore::builder(server.url());
            if let Some(secret) = secret {
                builder = builder.authenticate(secret);
            }
            let store = builder.build().await.expect("connected");
            let (key, old) = (KeyRef::new(b"k"), Entry::raw("old value"));
            store.put(key, old.clone(), None, PutMode::Always).await.expect("put");
            let mut direct = server.direct();
            let name = direct.keys().pop().expect("a key");
            let valid = direct.send(&[b"GET", &name]).bytes();
            for at in 0..valid.len() {
                assert_eq!(store.get(key).await.expect("read"), Some(old.clone()));
                let mut changed = valid.clone();
                changed[at] ^= 1;
                direct.send(&[b"SET", &name, &changed]);
                let found = store.get(key).await.expect("read");
                // The checksum does not cover the stamp. The authentication does.
                assert!(
                    found.is_none() || (secret.is_none() && found == Some(old.clone())),
                    "{at}: {found:?}"
                );
                direct.send(&[b"SET", &name, &valid]);
            }
            let new = Entry::raw("new value");
            store.put(key, new.clone(), None, PutMode::Always).await.expect("put");
            assert_eq!(store.get(key).await.expect("read"), Some(new.clone()));
            assert!(store.compare_and_set(key, Some(&new), old.clone(), None).await.expect("replaced"));
            assert_eq!(store.get(key).await.expect("read"), Some(old));
            store.remove(key).await.expect("removed");
            assert_eq!(store.get(key).await.expect("read"), None);
        }
    }
}
