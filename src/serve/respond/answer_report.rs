//! The report of an answered request: it is counted, and an event is emitted.

#[cfg(feature = "tracing")]
use super::answer_event::AnswerEvent;
#[cfg(feature = "tracing")]
use super::mistakes::warn_of_mistakes;
use crate::cache::LayerCounters;
use crate::key::RequestHead;
use crate::serve::config::LayerConfig;
use crate::status::CacheStatus;
use std::sync::Arc;

/// Reports a request that is not answered from the cache, once its status is final. The answer to a
/// background refresh is not reported: no request gets it.
#[derive(Debug, Clone)]
pub(in crate::serve) struct AnswerReport {
    counters: Arc<LayerCounters>,
    /// Present if a subscriber wants the event.
    #[cfg(feature = "tracing")]
    event: Option<Arc<AnswerEvent>>,
}

impl AnswerReport {
    /// Creates the report for a request that is forwarded for the reason in `status`.
    #[cfg_attr(not(feature = "tracing"), expect(unused, reason = "only events need the request"))]
    pub(in crate::serve) fn new(config: &LayerConfig, request: RequestHead<'_>, status: CacheStatus) -> Self {
        #[cfg(feature = "tracing")]
        warn_of_mistakes(config, request, status);
        Self {
            counters: Arc::clone(config.counters()),
            #[cfg(feature = "tracing")]
            event: AnswerEvent::new(config, request, Some(status)).map(Arc::new),
        }
    }

    /// Counts the answer, and emits its event.
    pub(in crate::serve) fn send(&self, status: CacheStatus) {
        self.counters.count_answer(status);
        #[cfg(feature = "tracing")]
        if let Some(event) = &self.event {
            event.emit(self.counters.name(), status, None);
        }
    }
}
