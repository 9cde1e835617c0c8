//! The contract of stores, over real servers.

use crate::support::servers::{Direct, Reply, Server, programs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower_response_cache::Store;
use tower_response_cache::store::contract::Contract;
use tower_response_cache::store::{
    Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, RedisStore, RedisStoreBuilder,
    StoreFuture,
};

/// Several processes on one server. They take turns: each operation runs in the next process.
#[derive(Debug, Clone)]
pub(super) struct Processes {
    stores: Vec<RedisStore>,
    next: Arc<AtomicUsize>,
}

impl Processes {
    async fn connect(server: &Server, count: usize) -> Self {
        let mut stores = Vec::new();
        for _ in 0..count {
            stores.push(RedisStore::connect(server.url()).await.expect("connected"));
        }
        Self::over(stores)
    }

    pub(super) fn over(stores: Vec<RedisStore>) -> Self {
        Self { stores, next: Arc::default() }
    }

    fn next(&self) -> &RedisStore {
        &self.stores[self.next.fetch_add(1, Ordering::Relaxed) % self.stores.len()]
    }
}

impl Store for Processes {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.next().get(key)
    }
    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        self.next().get_at(namespace, key)
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.next().put(key, entry, ttl, mode)
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.next().remove(key)
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.next().increment(key, delta, initial)
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.next().compare_and_set(key, expected, new, ttl)
    }
    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        self.next().get_many(keys)
    }
    fn get_many_at(
        &self,
        namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        self.next().get_many_at(namespace, keys)
    }
    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        self.next().put_many(entries)
    }
    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        self.next().remove_many(keys)
    }
    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        self.next().touch(key, ttl)
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        self.next().generations(namespace)
    }
    fn largest_entry(&self) -> Option<u64> {
        self.next().largest_entry()
    }
}

async fn verify(server: &Server, store: impl Store + Clone) {
    verify_entries(store, vec![server.port()]).await;
}

/// Verifies a store whose keys are on several servers.
pub(super) async fn verify_entries(store: impl Store + Clone, ports: Vec<u16>) {
    let direct = move || ports.iter().map(|port| Direct::connect(*port)).collect::<Vec<_>>();
    let (timed, same) = (direct.clone(), store.clone());
    Contract::new(store)
        .time(move |by| timed().iter_mut().for_each(|server| server.advance(by)))
        .restart(move || same.clone())
        .snapshot(move || {
            let saved: Vec<_> = direct().into_iter().map(|mut server| (server.dump(), server)).collect();
            move || saved.into_iter().for_each(|(all, mut server)| server.restore(&all))
        })
        .verify()
        .await;
}

#[tokio::test]
async fn one_process_keeps_the_contract() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        verify(&server, RedisStore::connect(server.url()).await.expect("connected")).await;
    }
}

#[tokio::test]
async fn several_processes_keep_the_contract() {
    for program in programs() {
        for count in [2, 3] {
            let server = Server::start(&program, &[]);
            verify(&server, Processes::connect(&server, count).await).await;
        }
    }
}

#[tokio::test]
async fn authenticated_store_keeps_the_contract() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let builder = RedisStore::builder(server.url()).authenticate(*b"a secret of 24 bytes ...");
        verify(&server, builder.build().await.expect("connected")).await;
    }
}

/// A few bytes suffice, so that the small entries of the contract are compressed.
#[tokio::test]
async fn compressing_store_keeps_the_contract() {
    for program in programs() {
        for secret in [None, Some(*b"a secret of 24 bytes ...")] {
            let server = Server::start(&program, &[]);
            let builder = RedisStore::builder(server.url()).compress_above(0);
            let builder = secret.into_iter().fold(builder, RedisStoreBuilder::authenticate);
            verify(&server, builder.build().await.expect("connected")).await;
        }
    }
}

/// Both processes share entries, and replace them by compare-and-set.
#[tokio::test]
async fn processes_with_and_without_compression_share_entries() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let builder = || RedisStore::builder(server.url());
        let plain = builder().build().await.expect("connected");
        let compressing = builder().compress_above(1000).build().await.expect("connected");
        let (key, ttl) = (KeyRef::new(b"k"), Some(Duration::from_secs(60)));
        let page = |word: &str| Entry::raw(word.repeat(2000));
        let mut direct = server.direct();
        let mut length = || {
            let name = direct.keys().into_iter().find(|name| name.starts_with(b"trc:e:")).expect("an entry");
            match direct.send(&[b"STRLEN", &name]) {
                Reply::Number(length) => length,
                other => panic!("{other:?}"),
            }
        };
        assert!(compressing.put(key, page("a"), ttl, PutMode::Always).await.expect("put"));
        assert!(length() < 500);
        assert_eq!(plain.get(key).await.expect("get"), Some(page("a")));
        assert!(plain.compare_and_set(key, Some(&page("a")), page("b"), ttl).await.expect("set"));
        assert!(length() > 2000);
        assert!(compressing.compare_and_set(key, Some(&page("b")), page("c"), ttl).await.expect("set"));
        assert!(length() < 500);
        assert!(!plain.put(key, page("d"), ttl, PutMode::IfAbsent).await.expect("put"));
        assert_eq!(plain.get(key).await.expect("get"), Some(page("c")));
    }
}

/// The other tests of the contract shorten the TTLs in the server instead of waiting.
#[tokio::test]
async fn entries_expire_in_real_time() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        let store = RedisStore::connect(server.url()).await.expect("connected");
        let (key, ttl) = (KeyRef::new(b"k"), Some(Duration::from_millis(300)));
        assert!(store.put(key, Entry::raw("v"), ttl, PutMode::Always).await.expect("put"));
        assert_eq!(store.get(key).await.expect("get"), Some(Entry::raw("v")));
        tokio::time::sleep(Duration::from_millis(301)).await;
        assert_eq!(store.get(key).await.expect("get"), None);
        assert!(store.put(key, Entry::raw("w"), ttl, PutMode::IfAbsent).await.expect("put"));
    }
}
