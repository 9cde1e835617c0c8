//! The event of an answered request, with the words of its `Cache-Status`.

use crate::key::RequestHead;
use crate::serve::config::LayerConfig;
use crate::serve::request::{identified_by, public_uri};
use crate::status::{CacheStatus, EVENT_TARGET, ForwardReason};
use std::time::Duration;

/// The most characters of the path.
const MAX_PATH: usize = 512;

/// The parts of the event that come from the request.
#[derive(Debug)]
pub(super) struct AnswerEvent {
    path: String,
    /// The name of the first field or cookie that made the request bypass the cache.
    identified_by: Option<String>,
}

impl AnswerEvent {
    /// Returns the event of a request, or `None` if no subscriber is interested in the event.
    ///
    /// `status` is the status of a forwarded request, and `None` for a hit.
    #[inline]
    pub(super) fn new(
        config: &LayerConfig,
        request: RequestHead<'_>,
        status: Option<CacheStatus>,
    ) -> Option<Self> {
        tracing::enabled!(target: EVENT_TARGET, tracing::Level::DEBUG)
            .then(|| Self::of(config, request, status))
    }

    #[cold]
    fn of(config: &LayerConfig, request: RequestHead<'_>, status: Option<CacheStatus>) -> Self {
        let path: String = public_uri(request).path().escape_debug().take(MAX_PATH).collect();
        let bypass = status.filter(|status| status.forward_reason() == Some(ForwardReason::Bypass));
        let detail = bypass.and_then(|status| status.detail_value());
        let mut names = detail.map_or_else(Vec::new, |why| identified_by(&config.policy, request, why));
        Self { path, identified_by: (!names.is_empty()).then(|| names.swap_remove(0)) }
    }

    /// Emits the event. `age` is the current age of the stored response, for a hit.
    pub(super) fn emit(&self, layer: &str, status: CacheStatus, age: Option<Duration>) {
        tracing::debug!(
            target: EVENT_TARGET,
            layer,
            path = self.path,
            hit = status.is_hit(),
            fwd = status.forward_reason().map(ForwardReason::as_str),
            fwd_status = status.forward_status().map(|status| status.as_u16()),
            stored = status.is_stored(),
            collapsed = status.is_collapsed(),
            age = age.map(|age| age.as_secs()),
            ttl = status.ttl_seconds(),
            detail = status.detail_value().map(tracing::field::display),
            identified_by = self.identified_by,
            "answered"
        );
    }
}
