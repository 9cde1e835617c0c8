//! Stalled recordings: recordings of response bodies that make no progress. They are ended if
//! another recording needs their room in the memory budget.

use std::time::Duration;
use tokio::time::Instant;

/// The time without progress after which a recording is stalled.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A recording that the memory budget may end.
pub(crate) trait BudgetedRecording: Send + Sync {
    /// Ends the recording if it is stalled. Otherwise returns the time at which the recording will
    /// be stalled if it makes no progress.
    ///
    /// Returns `None` if the recording has ended, or if it holds no bytes of the budget.
    ///
    /// The call runs in the task of another recording, without a lock. It may call stores and
    /// wakers.
    fn end_if_stalled(&self, now: Instant) -> Option<Instant>;
}
