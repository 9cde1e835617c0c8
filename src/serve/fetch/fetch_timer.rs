//! The measurement of how long a fetch takes, for the feature `metrics`.

use crate::serve::config::LayerConfig;
#[cfg(feature = "metrics")]
use std::time::Instant;

/// Measures how long a fetch takes. Without the feature `metrics`, it measures nothing.
#[derive(Debug)]
pub(in crate::serve) struct FetchTimer {
    #[cfg(feature = "metrics")]
    began: Instant,
}

impl FetchTimer {
    pub(in crate::serve) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            began: Instant::now(),
        }
    }

    /// Records the duration of a fetch of a layer. A timer that is dropped instead records nothing.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused, clippy::unused_self, reason = "only metrics need the duration")
    )]
    pub(in crate::serve) fn record(self, config: &LayerConfig) {
        #[cfg(feature = "metrics")]
        config.cache.record_fetch(config.counters(), self.began.elapsed());
    }
}
