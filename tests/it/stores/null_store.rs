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
