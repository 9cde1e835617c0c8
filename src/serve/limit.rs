//! A limit on waits.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for others, all its waits together.
pub(super) struct Limit {
    most: Duration,
    /// Set by the first wait.
    ends: Option<Instant>,
}

impl Limit {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, ends: None }
    }

    /// Waits until the limit; outside a tokio runtime there is no timer, and so no limit.
    pub(super) async fn within<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
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
