//! Stalled recordings: recordings without progress, which end if another recording needs their
//! room.

use std::time::Duration;
use tokio::time::Instant;

/// The time without progress after which a recording is stalled. Such a recording is ended if
/// another one needs its room.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A recording that the memory budget may end.
pub(crate) trait BudgetedRecording: Send + Sync {
    /// Releases the bytes of a recording without progress for [`STALL_TIMEOUT`], and returns
    /// `None`. Otherwise returns the time at which it will be stalled, or `None` if it holds no
    /// bytes.
    ///
    /// Runs in the task of another recording, without a lock. May call stores and wakers.
    fn end_if_stalled(&self, now: Instant) -> Option<Instant>;
}
