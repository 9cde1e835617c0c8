//! The report of an answered request: it and its path are counted, and an event is emitted.

#[cfg(feature = "tracing")]
use super::answer_event::AnswerEvent;
#[cfg(feature = "tracing")]
use super::mistakes::warn_of_mistakes;
use crate::cache::{LayerCounters, PathTable};
use crate::clock::{Clock, Moment};
use crate::key::RequestHead;
use crate::serve::config::LayerConfig;
use crate::serve::request::public_uri;
use crate::status::{CacheStatus, ForwardReason};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Reports a request that is not answered from the cache, once its status is final. The answer to a
/// background refresh is not reported: no request gets it.
#[derive(Debug, Clone)]
pub(in crate::serve) struct AnswerReport {
    counters: Arc<LayerCounters>,
    /// Present if paths are counted.
    path: Option<Arc<ForwardedPath>>,
    /// Present if a subscriber wants the event.
    #[cfg(feature = "tracing")]
    event: Option<Arc<AnswerEvent>>,
}

/// The path of a forwarded request, and the time that its handler takes.
#[derive(Debug)]
struct ForwardedPath {
    path: String,
    /// The time at which the request is forwarded.
    began: Moment,
    /// The time until the service has answered.
    took: OnceLock<Duration>,
    clock: Clock,
    table: Arc<PathTable>,
}

impl ForwardedPath {
    #[cold]
    fn new(config: &LayerConfig, request: RequestHead<'_>) -> Arc<Self> {
        let (path, clock) = (public_uri(request).path().to_owned(), config.cache.clock().clone());
        let (table, took) = (Arc::clone(config.cache.path_table()), OnceLock::new());
        Arc::new(Self { path, began: clock.now(), took, clock, table })
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.began)
    }

    /// Counts a request that the handler has answered, and not the cache itself.
    fn count(&self, status: CacheStatus) {
        use ForwardReason::{Bypass, Method};
        let Some(reason) = status.forward_reason() else { return };
        let took = self.took.get().copied().unwrap_or_else(|| self.elapsed());
        self.table.count_forwarded(&self.path, !matches!(reason, Bypass | Method), took);
    }
}

impl AnswerReport {
    /// Creates the report for a request that is forwarded for the reason in `status`.
    #[cfg_attr(not(feature = "tracing"), expect(unused, reason = "only events need the status"))]
    pub(in crate::serve) fn new(config: &LayerConfig, request: RequestHead<'_>, status: CacheStatus) -> Self {
        #[cfg(feature = "tracing")]
        warn_of_mistakes(config, request, status);
        Self {
            counters: Arc::clone(config.counters()),
            path: config.cache.path_table().is_on().then(|| ForwardedPath::new(config, request)),
            #[cfg(feature = "tracing")]
            event: AnswerEvent::new(config, request, Some(status)).map(Arc::new),
        }
    }

    /// Notes that the service has answered.
    #[inline]
    pub(in crate::serve) fn note_answer(&self) {
        if let Some(path) = &self.path {
            let _ = path.took.set(path.elapsed());
        }
    }

    /// Counts the answer, and emits its event. An inner cache layer that has handled the request has
    /// counted its path.
    pub(in crate::serve) fn send(&self, status: CacheStatus, handled_by_inner: bool) {
        self.counters.count_answer(status);
        if let Some(path) = &self.path
            && !handled_by_inner
        {
            path.count(status);
        }
        #[cfg(feature = "tracing")]
        if let Some(event) = &self.event {
            event.emit(self.counters.name(), status, None);
        }
    }
}
