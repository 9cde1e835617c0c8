//! Time limits for waits and for calls of the service.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// A deadline that all waits of one request share. The first wait sets the deadline.
pub(in crate::serve) struct Deadline {
    /// The time from the first wait to the deadline.
    limit: Duration,
    /// The deadline, once the first wait has set it.
    deadline: Option<Instant>,
}

impl Deadline {
    pub(in crate::serve) fn new(limit: Duration) -> Self {
        Self { limit, deadline: None }
    }

    /// Awaits a future until the deadline, and returns `None` if the deadline passes first.
    /// Outside a tokio runtime there is no timer, and so no deadline.
    pub(in crate::serve) async fn run<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Some(waiting.await);
        }
        self.deadline = self.deadline.or_else(|| Instant::now().checked_add(self.limit));
        match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, waiting).await.ok(),
            None => Some(waiting.await),
        }
    }
}

/// Awaits a call of the service, and returns `None` if the limit passes first. Without a limit, or
/// outside a tokio runtime, the wait is unlimited.
pub(crate) async fn with_timeout<T>(limit: Option<Duration>, call: impl Future<Output = T>) -> Option<T> {
    match limit.filter(|_| tokio::runtime::Handle::try_current().is_ok()) {
        Some(limit) => tokio::time::timeout(limit, call).await.ok(),
        None => Some(call.await),
    }
}
