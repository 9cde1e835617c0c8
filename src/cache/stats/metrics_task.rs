//! The task that publishes metrics at an interval.

use crate::cache::handle::Cache;
use crate::error::{ConfigError, ConfigErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;

/// The shortest interval between two publications.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl Cache {
    /// Starts a task that calls [`publish_metrics`](Self::publish_metrics) at once, and then at an
    /// interval of at least one second. Use it for recorders that send metrics without a scraper.
    ///
    /// The task does not keep the cache alive. It ends within one interval after the last clone of
    /// this handle is dropped, including the clones that layers hold. For final numbers, call
    /// `publish_metrics` after [`shutdown`](Self::shutdown). Each call of this method starts another
    /// task, so call it once for a cache.
    ///
    /// # Errors
    /// [`ConfigErrorKind::NoRuntime`] outside a tokio runtime.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.publish_metrics_every(Duration::from_secs(10))?;
    /// # Ok(()) }
    /// ```
    pub fn publish_metrics_every(&self, interval: Duration) -> Result<(), ConfigError> {
        let no_runtime = |_| ConfigError::new(ConfigErrorKind::NoRuntime, "publish_metrics_every");
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let cache = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(interval.max(MIN_INTERVAL));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(cache) = cache.upgrade() else { return };
                Self(cache).publish_metrics();
            }
        });
        Ok(())
    }
}
