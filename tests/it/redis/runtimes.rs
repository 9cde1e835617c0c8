//! Stores outside of their runtime, and runtimes that lack a part.

use crate::support::redis_sites::RedisSite;
use crate::support::servers::{Server, programs};
use tokio::runtime::{Builder, Runtime};
use tower_response_cache::Store;
use tower_response_cache::error::{ConnectErrorKind, StoreErrorKind};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::{Entry, KeyRef, PutMode, RedisStore};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Verifies that the store is unavailable in each of several attempts.
fn is_unavailable(store: &RedisStore) {
    let key = KeyRef::new(b"k");
    for _ in 0..5 {
        let get = futures::executor::block_on(store.get(key)).expect_err("no runtime");
        assert_eq!(get.kind(), StoreErrorKind::Unavailable);
        let put = store.put(key, Entry::raw("v"), None, PutMode::Always);
        let put = runtime().block_on(put).expect_err("no runtime");
        assert_eq!(put.kind(), StoreErrorKind::Unavailable);
    }
}

#[test]
fn store_whose_runtime_has_shut_down_is_unavailable() {
    for program in programs() {
        let many = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        for own in [runtime(), many.expect("a runtime")] {
            let server = Server::start(&program, &[]);
            for replicas in [0, 1] {
                let builder = RedisStore::builder(server.url()).confirm_by(replicas);
                let other = runtime();
                let store = other.block_on(builder.build()).expect("connected");
                drop(other);
                is_unavailable(&store);
            }
            let site = own.block_on(RedisSite::connect(&server));
            own.block_on(site.send("/"));
            let pending = site.store.get(KeyRef::new(b"k"));
            drop(own);
            let pending = futures::executor::block_on(pending).expect_err("no runtime");
            assert_eq!(pending.kind(), StoreErrorKind::Unavailable);
            is_unavailable(&site.store);
            runtime().block_on(async {
                assert_eq!(site.send("/").await, "2");
                assert_eq!(site.cache.invalidate("/").await, Delivery::Queued);
                assert_eq!(site.send("/").await, "3");
            });
        }
    }
}

#[test]
fn runtime_without_timers_is_an_invalid_option() {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    let error = runtime.block_on(RedisStore::connect("redis://127.0.0.1:1")).expect_err("no timers");
    assert_eq!(error.kind(), ConnectErrorKind::InvalidOption, "{error}");
    assert!(error.to_string().contains("no timers"), "{error}");
}
