//! Outcomes of flights whose response has begun.

use super::{COLLAPSE_TIMEOUT, Follower, HeadChange, MINUTE, app, key, missed, name, old, rfc, stale};
use crate::entry::{Dependencies, Scope, StoredResponse};
use crate::error::BoxError;
use crate::flight::{BodyReader, BodySink, Leader, STALL_TIMEOUT, Stream, WorkPermit};
use crate::invalidation::Invalidation;
use crate::policy::PolicyBuilder;
use crate::serve::collapse::follower::{Collapse, Progress};
use crate::serve::lookup::Lookup;
use crate::status::ForwardReason;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use std::sync::Arc;
use tokio::time::Instant;

/// A recording that accepts every frame, so it ends only with its body.
struct SampleSink(Option<Dependencies>);

impl BodySink for SampleSink {
    fn count(&mut self, _: &Bytes) -> bool {
        true
    }
    fn dependencies(&self) -> Option<Dependencies> {
        self.0.clone()
    }
    fn room_maker(&self, _: &Bytes) -> Option<Box<dyn FnOnce()>> {
        None
    }
    fn set_no_room(&mut self) {}
    fn is_whole(&self) -> bool {
        false
    }
    fn drain_permit(&self) -> Option<WorkPermit> {
        None
    }
    fn store(self: Box<Self>, _: Bytes) -> Option<Box<dyn Send>> {
        None
    }
    fn fail(self: Box<Self>) {}
    fn give_up(self: Box<Self>) -> Box<dyn Send> {
        Box::new(())
    }
}

/// Begins a response whose body never sends a frame.
fn begin(head: Arc<StoredResponse>) -> BodyReader {
    begin_from(head, None)
}

fn begin_from(head: Arc<StoredResponse>, reads: Option<Dependencies>) -> BodyReader {
    let source = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>());
    Stream::begin(head, None, Vec::new(), Box::pin(source), Box::new(SampleSink(reads)))
}

/// Announces the response to the followers. The caller must hold both return values.
fn announce(leader: Leader, reader: BodyReader) -> (Leader, BodyReader) {
    leader.announcer()(reader.stream());
    (leader, reader)
}

/// RFC 9111 section 4: a follower reads an arriving response only if that response may be reused.
#[tokio::test(start_paused = true)]
async fn arriving_response_is_read_by_a_follower_that_it_fits() {
    let on_errors: HeadChange = |head| {
        old(head);
        head.windows.if_error = 2 * MINUTE;
    };
    let table: [(PolicyBuilder, HeadChange, &str); 6] = [
        (app(), |_| {}, "read"),
        (rfc(), |_| {}, "read"),
        (app(), stale, "read"),
        (rfc(), stale, "look again"),
        (app(), old, "look again"),
        // The `stale-if-error` window applies only to stored responses.
        (app(), on_errors, "look again"),
    ];
    for (row, (policy, change, expected)) in table.into_iter().enumerate() {
        let follower = Follower::new(policy);
        let head = follower.stored(change).await;
        let mut flight = None;
        let outcome = follower.follow(async |leader| flight = Some(announce(leader, begin(head))));
        assert_eq!(outcome.await, expected, "row {row}");
    }
}

/// RFC 9111 section 4.1: the request joins the flight of the variant that it selects.
#[tokio::test(start_paused = true)]
async fn arriving_response_of_another_variant_is_a_miss() {
    let follower = Follower::new(app());
    let head = follower.stored(follower.other_variant()).await;
    let leader = follower.lead(0).await;
    let mut collapse = Collapse::new(&follower.state, &follower.request);
    let mut flight = None;
    let begins = async { flight = Some(announce(leader, begin(head))) };
    let (progress, ()) = tokio::join!(collapse.round(missed()), begins);
    let Progress::LookedUp(Lookup::Miss { reason, variant: Some(variant), stale: None }) = progress else {
        panic!("{}", name(&progress))
    };
    assert_eq!(reason.forward, ForwardReason::VaryMiss);
    assert!(variant.as_ref().as_bytes().starts_with(key().as_ref().as_bytes()) && variant != key());
}

/// A follower leaves a flight that has stalled, or that began before an invalidation. In its next
/// round, the follower leads a new flight.
#[tokio::test(start_paused = true)]
async fn stalled_or_outdated_flight_is_replaced() {
    for is_stalled in [true, false] {
        let follower = Follower::new(app());
        let leader = follower.lead(0).await;
        let tag = Scope::tag("t");
        let head = follower.stored(|head| head.scopes = [tag].into()).await;
        let mut collapse = Collapse::new(&follower.state, &follower.request);
        let mut reader = None;
        let begins = async {
            if !is_stalled {
                follower.invalidate(Invalidation::tag("t")).await;
            }
            let stream = begin(head);
            if is_stalled {
                tokio::time::advance(STALL_TIMEOUT).await;
            }
            leader.announcer()(stream.stream());
            reader = Some(stream);
        };
        let (progress, ()) = tokio::join!(collapse.round(missed()), begins);
        assert_eq!(name(&progress), "look again", "{is_stalled}");
        assert_eq!(name(&collapse.round(missed()).await), "lead", "{is_stalled}");
    }
}

/// If the body has ended, the follower waits until the response is stored or dropped.
#[tokio::test(start_paused = true)]
async fn follower_waits_until_an_ended_body_is_stored() {
    let follower = Follower::new(app());
    let began = Instant::now();
    let head = follower.stored(|_| {}).await;
    let outcome = follower.follow(async |leader| {
        let (leader, _) = announce(leader, begin(head));
        tokio::time::sleep(MINUTE / 2).await;
        leader.end_unshared();
    });
    assert_eq!((outcome.await, began.elapsed()), ("look again", MINUTE / 2));
    let (began, head) = (Instant::now(), follower.stored(|_| {}).await);
    let mut held = None;
    let outcome = follower.follow(async |leader| {
        held = Some(announce(leader, begin(head)).0);
    });
    assert_eq!((outcome.await, began.elapsed()), ("look again", COLLAPSE_TIMEOUT));
}

/// A response can't be shared while a value from which it is made is still being read.
#[tokio::test(start_paused = true)]
async fn arriving_response_with_unknown_dependencies_is_not_read() {
    let follower = Follower::new(app());
    let head = follower.stored(|_| {}).await;
    let mut reads = Dependencies::default();
    reads.begin_read();
    let mut flight = None;
    let outcome =
        follower.follow(async |leader| flight = Some(announce(leader, begin_from(head, Some(reads)))));
    assert_eq!(outcome.await, "fetch alone");
}
