//! The outcome of the last recording of a key, which explains later misses.

use crate::clock::Moment;
use crate::status::Detail;
use std::time::Duration;

/// The remembered outcome of the last recording of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastRecording {
    NotStored(Detail),
    /// The response was stored with a freshness lifetime that dependencies of its body reduced.
    ShortenedLifetime {
        /// The end of the freshness lifetime.
        until: Moment,
        /// The longest lifetime of this recording and of the recordings directly before it whose
        /// lifetime was reduced, too.
        longest: Duration,
    },
}

impl LastRecording {
    /// The time for which the outcome is remembered.
    pub(super) const TTL: Duration = Duration::from_secs(3600);
}
