//! The outcome of the last recording of a key. The `Cache-Status` of the next miss, which is sent
//! before the body is complete, reports this outcome as a prediction.

use crate::clock::Moment;
use crate::status::Detail;
use std::time::Duration;

/// The remembered outcome of the last recording of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastRecording {
    /// The response was not stored, for this reason.
    NotStored(Detail),
    /// The response was stored with a shorter freshness lifetime than its head allowed, because of
    /// the dependencies of its body.
    ShortenedLifetime {
        /// The end of the freshness lifetime.
        until: Moment,
        /// The longest lifetime in the latest uninterrupted series of recordings with this outcome.
        longest: Duration,
    },
}

impl LastRecording {
    /// The time for which the outcome is remembered.
    pub(super) const TTL: Duration = Duration::from_secs(3600);
}
