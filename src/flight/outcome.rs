//! The outcomes of a flight.

use super::stream::Stream;
use crate::entry::StoredResponse;
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;

/// The outcome of a flight.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The response has begun. If it fits a follower's request, the follower may read the body
    /// while it arrives.
    Begun(Weak<Stream>),
    /// The response is complete, and the write to the store has ended. The response answers each
    /// follower whose request it fits, even if the write failed.
    Stored(Arc<StoredResponse>),
    /// The response may not be shared: every follower calls the service itself, at once.
    Unshared,
    /// The service failed. The semaphore lets a few followers call the service at a time.
    Failed(Arc<Semaphore>),
    /// The leader was dropped without a result. The followers look up again, and one of them leads
    /// the next flight.
    Abandoned,
}

/// An outcome type that has a value for flights whose leader was dropped.
pub(crate) trait AbandonedOutcome: Clone {
    /// Returns the outcome of a flight whose leader was dropped before the final outcome was set.
    /// `panicking` is `true` if a panic dropped the leader.
    fn abandoned(panicking: bool) -> Self;
}

impl AbandonedOutcome for Outcome {
    fn abandoned(panicking: bool) -> Self {
        if panicking { Self::Failed(failed_flight_semaphore()) } else { Self::Abandoned }
    }
}

/// The most followers of a failed flight that call the service at a time.
const MAX_FETCHES_AFTER_FAILURE: usize = 8;

pub(super) fn failed_flight_semaphore() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_FETCHES_AFTER_FAILURE))
}
