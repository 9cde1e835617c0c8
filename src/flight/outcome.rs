//! What may become of a flight.

use super::stream::Stream;
use crate::entry::StoredResponse;
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;

/// What became of a flight.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The response has begun, and whoever it fits may read it while it arrives.
    Begun(Weak<Stream>),
    /// The response is complete and may be shared with those whom it fits.
    Stored(Arc<StoredResponse>),
    /// It may not be shared: every follower calls the service itself, at once.
    Pass,
    /// The service failed. The gate lets a few call it at a time.
    Failed(Arc<Semaphore>),
    /// The leader went away before there was a response.
    Dangling,
}

/// What may become of a flight.
pub(crate) trait AbandonedOutcome: Clone {
    /// Returns what has become of one whose leader has gone without a word.
    fn abandoned(panicking: bool) -> Self;
}

impl AbandonedOutcome for Outcome {
    fn abandoned(panicking: bool) -> Self {
        if panicking { Self::Failed(gate()) } else { Self::Dangling }
    }
}

/// So many of the followers of a failed flight call the service at a time.
const FAILED_AT_ONCE: usize = 8;

pub(super) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FAILED_AT_ONCE))
}
