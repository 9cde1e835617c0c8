//! Limits in time.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for others, all its waits together.
pub(in crate::serve) struct Deadline {
    most: Duration,
    /// Set by the first wait.
    ends: Option<Instant>,
}

impl Deadline {
    pub(in crate::serve) fn new(most: Duration) -> Self {
        Self { most, ends: None }
    }

    /// Waits until the deadline; outside a tokio runtime there is no timer, and so no limit.
    pub(in crate::serve) async fn run<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Some(waiting.await);
        }
        self.ends = self.ends.or_else(|| Instant::now().checked_add(self.most));
        match self.ends {
            Some(ends) => tokio::time::timeout_at(ends, waiting).await.ok(),
            None => Some(waiting.await),
        }
    }
}

/// Waits for the service no longer than the limit, where there is one and a timer.
pub(in crate::serve) async fn with_timeout<T>(
    limit: Option<Duration>,
    call: impl Future<Output = T>,
) -> Option<T> {
    match limit.filter(|_| tokio::runtime::Handle::try_current().is_ok()) {
        Some(limit) => tokio::time::timeout(limit, call).await.ok(),
        None => Some(call.await),
    }
}
