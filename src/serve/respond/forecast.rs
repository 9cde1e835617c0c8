//! The `Cache-Status` of a response that is being stored.

use super::hit::with_ttl;
use crate::cache::{Cache, LastRecording, StoreReport};
use crate::clock::Moment;
use crate::entry::{Dependencies, Head};
use crate::key::CacheKey;
use crate::serve::request::RequestState;
use crate::status::{CacheStatus, Detail};
use http::{HeaderMap, Response, StatusCode};
use std::sync::Arc;

/// The expected `Cache-Status` of a response that is being stored. An incomplete or too large body
/// may still prevent the storing.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Forecast {
    cache: Cache,
    /// The status without the outcome: neither `stored` nor a reason why the response is not
    /// stored.
    status: CacheStatus,
    /// The key under which the outcome of the last recording is remembered.
    key: CacheKey,
    fresh_until: Moment,
    response_time: Moment,
    /// The text of the `key` parameter, if clients get one.
    shown_key: Option<Arc<str>>,
    /// Whether clients get `Cache-Status`.
    emits_status: bool,
    /// Counts whether the response is stored.
    report: StoreReport,
    /// The dependencies of the response so far.
    reads: Option<Dependencies>,
    /// Whether an invalidation by the response is queued.
    is_invalidation_queued: bool,
    /// Whether the recording has ended. Always `false` over a remote store, because the write to
    /// the store has not ended then.
    has_ended: bool,
}

impl Forecast {
    /// Creates the forecast for a response with this head, to a request with these fields.
    pub(in crate::serve) fn new(
        status: CacheStatus,
        state: &RequestState,
        head: &Head,
        request: &HeaderMap,
        reads: Option<Dependencies>,
        report: StoreReport,
    ) -> Self {
        let own = state.config.selection().response_variant_key(state.key.as_ref(), &head.nominated, request);
        Self {
            cache: state.config.cache.clone(),
            status,
            key: own.unwrap_or_else(|| state.key.clone()),
            fresh_until: head.fresh_until,
            response_time: head.response_time,
            shown_key: state.shown_key.clone(),
            emits_status: state.config.policy.cache_status,
            report,
            reads,
            is_invalidation_queued: false,
            has_ended: false,
        }
    }

    /// Returns the forecast with the detail `invalidation-queued`, if an invalidation is queued.
    pub(in crate::serve) fn with_queued_invalidation(self, is_queued: bool) -> Self {
        Self { is_invalidation_queued: is_queued, ..self }
    }

    /// Returns the forecast for a recording that has ended. Over a remote store, the forecast does
    /// not change: the write to the store has not ended yet.
    pub(in crate::serve) fn with_ended_recording(self) -> Self {
        Self { has_ended: self.cache.is_local(), ..self }
    }

    /// Returns the forecast with the status code of the service's response.
    pub(in crate::serve) fn with_response_code(self, code: StatusCode) -> Self {
        // The status of a revalidation has the code of the 304 already.
        match self.status.forward_status() {
            None => Self { status: self.status.with_response_code(code), ..self },
            Some(_) => self,
        }
    }

    /// Returns the expected status: `stored` with the TTL, or the reason why the last recording of
    /// the key was not stored.
    pub(in crate::serve) fn status(&self) -> CacheStatus {
        self.outcome().with_queued_invalidation(self.is_invalidation_queued)
    }

    /// Returns the status until an outer layer admits the response. It states if the last response was not
    /// admitted.
    pub(in crate::serve) fn held_status(&self) -> CacheStatus {
        let last = self.cache.last_recordings().get(self.key.as_ref(), self.cache.clock().now());
        let status = match last {
            Some(LastRecording::NotStored(why @ Detail::NotAdmitted)) => self.status.detail(why),
            _ => self.status,
        };
        status.with_queued_invalidation(self.is_invalidation_queued)
    }

    fn outcome(&self) -> CacheStatus {
        let now = self.cache.clock().now();
        let mut until =
            self.fresh_until.min(self.reads.as_ref().map_or(Moment::NEVER, Dependencies::fresh_until));
        match self.cache.last_recordings().get(self.key.as_ref(), now) {
            // Until this recording has ended, the reason is from an earlier recording. A transient
            // reason of an earlier recording does not predict the outcome of this one.
            Some(LastRecording::NotStored(why)) if why.is_transient() && !self.has_ended => {}
            Some(LastRecording::NotStored(why)) => return self.status.detail(why),
            // Cached values have shortened the lifetime of the last recorded response. This
            // response may be made from the same values.
            Some(LastRecording::ShortenedLifetime { until: end, .. }) if now < end => until = until.min(end),
            Some(LastRecording::ShortenedLifetime { longest, .. }) => {
                until = until.min(self.response_time.after(longest));
            }
            None => {}
        }
        with_ttl(self.status.stored(), until, self.response_time)
    }

    /// Returns the forecast after the body was read ahead. `reads` are the dependencies so far.
    /// `has_ended` states whether the recording has ended. Over a remote store, the flag has no
    /// effect: the write to the store has not ended yet.
    pub(in crate::serve) fn after_read_ahead(self, reads: Option<Dependencies>, has_ended: bool) -> Self {
        let has_ended = has_ended && self.cache.is_local();
        Self { reads, has_ended, ..self }
    }

    /// Replaces a status of the response by the final one.
    pub(in crate::serve) fn replace<B>(
        &self,
        response: &mut Response<B>,
        before: CacheStatus,
        by: CacheStatus,
    ) {
        if before != by {
            before.replace(response, by, self.shown_key.as_deref(), self.emits_status);
        }
        self.note_reported(by);
    }

    /// Counts the response as not stored, unless another reason has been counted. Returns `true` if this
    /// reason is the first.
    pub(in crate::serve) fn note_not_stored(&self, why: Detail) -> bool {
        let is_first = self.report.count_not_stored(why);
        if is_first {
            event!(detail = %why, "not stored");
        }
        is_first
    }

    /// Notes that the admission was refused. If no layer has given a reason, the response did not reach
    /// the outermost layer with its extensions. The next miss of the key then reports `not-admitted`.
    pub(in crate::serve) fn note_refused(&self) {
        if self.note_not_stored(Detail::NotAdmitted) {
            let recording = LastRecording::NotStored(Detail::NotAdmitted);
            self.cache.last_recordings().remember(self.key.as_ref(), recording, self.cache.clock().now());
        }
    }

    /// Notes whether the final status reports the response as stored.
    pub(in crate::serve) fn note_reported(&self, status: CacheStatus) {
        if status.is_stored() {
            self.report.note_reported();
        }
    }
}
