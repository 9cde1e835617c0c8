//! The report of an answered request: it is counted.

use crate::cache::LayerCounters;
use crate::serve::config::LayerConfig;
use crate::status::CacheStatus;
use std::sync::Arc;

/// Reports a request that is not answered from the cache, once its status is final. The answer to a
/// background refresh is not reported: no request gets it.
#[derive(Debug, Clone)]
pub(in crate::serve) struct AnswerReport {
    counters: Arc<LayerCounters>,
}

impl AnswerReport {
    pub(in crate::serve) fn new(config: &LayerConfig) -> Self {
        Self { counters: Arc::clone(config.counters()) }
    }

    /// Counts the answer.
    pub(in crate::serve) fn send(&self, status: CacheStatus) {
        self.counters.count_answer(status);
    }
}
