//! Recordings that stand still, and have to give way to others.

use std::time::Duration;
use tokio::time::Instant;

/// A recording without progress for this long is ended if another one needs its room.
pub(crate) const STANDS_STILL: Duration = Duration::from_secs(10);

/// A recording that the budget may end.
pub(crate) trait GivesWay: Send + Sync {
    /// Gives its bytes back if it has stood still for [`STANDS_STILL`]. Otherwise returns when that will be the case;
    /// `None` if it holds no bytes.
    ///
    /// Runs in the task of another recording, without locks. May call stores and wakers.
    fn give_way(&self, now: Instant) -> Option<Instant>;
}
