//! The consequences of a look-up, and the misses that join no flight.

use super::{Follower, Lines, app, key, missed, rfc, stale};
use crate::flight::{Chain, HitForMissReason, Role};
use crate::policy::PolicyBuilder;
use crate::serve::lookup::Lookup;
use crate::serve::request::{RequestFacts, RequestState};
use crate::status::{Detail, ForwardReason, Reason};
use crate::{Cache, Invalidation, MemoryStore};
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn look_up_with_a_result_needs_no_flight() {
    let follower = Follower::new(app());
    let (fresh, stale) = (follower.stored(|_| {}).await, follower.stored(stale).await);
    let found = Lookup::Stale { stored: Arc::clone(&stale), variant: None };
    let again = Lookup::Stale { stored: stale, variant: None };
    assert_eq!(follower.round(Lookup::Hit(fresh)).await, "answer");
    assert_eq!(follower.round(Lookup::Bypass(Detail::KeyLength)).await, "key-length");
    assert_eq!(follower.round(found).await, "refresh");
    assert_eq!(follower.round(missed()).await, "lead");
    // RFC 5861 section 3: one request refreshes the stale response, the others are answered.
    let _leader = follower.lead(0).await;
    assert_eq!(follower.round(again).await, "answer");
}

/// RFC 9111 section 5.2.1.7: "the client only wishes to obtain a stored response".
#[tokio::test(start_paused = true)]
async fn only_if_cached_is_refused_unless_an_inner_layer_may_answer() {
    let only_if_cached: Lines = &[("cache-control", "only-if-cached")];
    let facts = RequestFacts { directives: true, ..RequestFacts::default() };
    let failed = || Lookup::Bypass(Detail::StoreFailed);
    let by_rfc = Follower::with(rfc(), facts, only_if_cached);
    assert_eq!(by_rfc.round(missed()).await, "refuse");
    assert_eq!(by_rfc.round(failed()).await, "refuse");
    assert_eq!(by_rfc.round(Lookup::Hit(by_rfc.stored(|_| {}).await)).await, "answer");
    assert_eq!(Follower::with(app(), facts, only_if_cached).round(missed()).await, "lead");
    assert_eq!(Follower::with(rfc(), RequestFacts::default(), only_if_cached).round(missed()).await, "lead");
    let now = by_rfc.cache().clock().now();
    by_rfc.cache().hit_for_miss().remember(key().as_ref(), HitForMissReason::HandledByInner, now);
    assert_eq!(by_rfc.round(missed()).await, "inner-layer");
    assert_eq!(by_rfc.round(failed()).await, "store-failed");
}

#[tokio::test(start_paused = true)]
async fn misses_that_do_not_collapse_fetch_alone() {
    type Set = fn(&mut RequestFacts);
    let table: [(PolicyBuilder, Set, Reason); 8] = [
        (app(), |facts| facts.conditional = true, ForwardReason::UriMiss.into()),
        (app(), |facts| facts.authorization = true, ForwardReason::UriMiss.into()),
        (app(), |facts| facts.range = true, ForwardReason::UriMiss.into()),
        (app(), |facts| facts.needs_current = true, ForwardReason::UriMiss.into()),
        (app(), |facts| facts.head = true, ForwardReason::UriMiss.into()),
        (app().collapse(false), |_| {}, ForwardReason::UriMiss.into()),
        (app().max_followers(0), |_| {}, ForwardReason::UriMiss.into()),
        (rfc(), |_| {}, Reason::new(ForwardReason::Request, Detail::RequestNoCache)),
    ];
    for (row, (policy, set, reason)) in table.into_iter().enumerate() {
        let mut facts = RequestFacts::default();
        set(&mut facts);
        let follower = Follower::with(policy, facts, &[]);
        let _leader = follower.lead(0).await;
        let lookup = Lookup::Miss { reason, variant: None, stale: None };
        assert_eq!(follower.round(lookup).await, "fetch alone", "row {row}");
    }
    let copies: [Set; 3] =
        [|facts| facts.has_copy = true, |facts| facts.identified = true, |facts| facts.personal = true];
    for set in copies {
        let mut facts = RequestFacts::default();
        set(&mut facts);
        assert_eq!(Follower::with(app(), facts, &[]).round(missed()).await, "lead");
    }
}

#[tokio::test(start_paused = true)]
async fn full_flight_table_or_cyclic_wait_means_fetching_alone() {
    let full = Cache::builder(MemoryStore::with_max_bytes(1 << 20)).max_flights(0).build().expect("a cache");
    let follower = Follower::of(full, app(), RequestFacts::default(), &[]);
    assert_eq!(follower.round(missed()).await, "fetch alone", "no room");
    // The request is nested in the request that leads the flight. If the nested request waited for
    // the flight, neither request would end.
    let follower = Follower::new(app());
    let parent = Chain::request(key(), 1);
    let generation = follower.generation().await;
    let flights = follower.cache().flight_table();
    let Role::Leader(_leader) = flights.join(&key(), None, generation, 0, &Arc::downgrade(&parent)) else {
        panic!("there is a flight already")
    };
    let chain = parent.enter(|| Chain::request(key(), 2));
    let nested = Follower { state: RequestState { chain, ..follower.state }, request: follower.request };
    assert_eq!(nested.round(missed()).await, "fetch alone", "a cycle");
}

/// A flight that began before an invalidation of its target must not answer a request that came
/// after the invalidation.
#[tokio::test(start_paused = true)]
async fn flight_from_before_an_invalidation_is_replaced() {
    for (what, expected) in [(Invalidation::path("/p"), "lead"), (Invalidation::path("/q"), "fetch alone")] {
        let follower = Follower::new(app());
        let _leader = follower.lead(0).await;
        follower.invalidate(what).await;
        // If the flight is not replaced, the follower waits until its deadline, and then fetches
        // alone.
        assert_eq!(follower.round(missed()).await, expected);
    }
}
