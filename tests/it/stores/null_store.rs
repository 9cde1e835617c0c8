//! `NullStore`, which keeps no entries.

use crate::support::*;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::NullStore;
use tower_response_cache::{Cache, Invalidation};

#[tokio::test]
async fn null_store_serves_every_page_from_the_origin() {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let cache = Cache::new(NullStore::new());
    let stack = site_over(&cache, inner);
    for call in 1..=3 {
        assert_eq!(send(&stack, get("/")).await.text(), call.to_string());
    }
    assert_eq!(cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
    assert_eq!((calls.count(), cache.store_errors()), (3, 0));
}

/// `NullStore` replaces another store in development. An application that uses `add` as a lock must
/// work there, too.
#[tokio::test]
async fn null_store_accepts_values_and_finds_none() {
    let cache = Cache::new(NullStore::new());
    for _ in 0..2 {
        assert!(cache.add("lock", &1, None).await.expect("local"));
        assert!(cache.set("k", &1, None).await.expect("local"));
        assert!(cache.set_many([("k", 1)], None).await.expect("local").is_empty());
        assert_eq!(cache.get::<i32>("k").await.expect("local"), None);
    }
    assert!(!cache.set("k", &1, std::time::Duration::ZERO).await.expect("local"));
    let error = cache.incr_version("k").await.expect_err("no value");
    assert_eq!(error.kind(), tower_response_cache::error::StoreErrorKind::Missing);
}
