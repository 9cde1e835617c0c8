//! Answers with a stored or an arriving response.

#[cfg(feature = "tracing")]
use super::answer_event::AnswerEvent;
use crate::body::ResponseBody;
use crate::cache::{HITS_PER_SAMPLE, HitKind, inherit_response, is_tracked};
use crate::clock::{Clock, Moment};
use crate::entry::StoredResponse;
use crate::flight::BodyReader;
use crate::key::RequestHead;
use crate::marks::{HandledByInner, has_outer_cache_layer};
use crate::policy::Policy;
use crate::rules::selection::{Selection, select, select_stored};
use crate::serve::config::LayerConfig;
use crate::serve::keyed_fields::{KeyedFields, emit_to_outer};
use crate::serve::request::{RequestFacts, public_uri, shown_key};
use crate::status::{CacheStatus, Reason, WantsStatus};
use http::{Extensions, HeaderMap, Method, Response, StatusCode, Version};
use std::sync::Arc;

/// An answer from the cache, before [`response`](Self::response) builds its response.
#[derive(Debug)]
pub(in crate::serve) struct Hit {
    stored: Arc<StoredResponse>,
    now: Moment,
    clock: Clock,
    version: Version,
    head: bool,
    /// The part of the stored response that is sent.
    selection: Selection,
    /// The reason why the request would have been forwarded without collapsing. Present only if the
    /// request was a follower.
    collapsed: Option<Reason>,
    /// Whether the response gets the field `Cache-Status`.
    emits_status: bool,
    /// Whether the response gets a [`CacheStatus`] in its extensions.
    adds_status: bool,
    /// Whether the response is marked as handled by a cache layer, for outer cache layers.
    marks_handled: bool,
    /// The keyed fields that this layer leaves to an outer cache layer, which emits them in `Vary`.
    keyed_fields: Option<KeyedFields>,
    /// The `key` parameter of `Cache-Status`.
    key: Option<Arc<str>>,
}

impl Hit {
    /// Answers a request with a stored response.
    ///
    /// `collapsed` is the reason why a follower would have been forwarded without collapsing (RFC
    /// 9211 section 2.6). It is `None` for a request that did not follow a flight.
    #[inline]
    pub(in crate::serve) fn new(
        config: &LayerConfig,
        stored: Arc<StoredResponse>,
        request: RequestHead<'_>,
        facts: RequestFacts,
        now: Moment,
        collapsed: Option<Reason>,
        key: &[u8],
    ) -> Self {
        let selection = Self::select(&config.policy, facts, request.method, request.headers, &stored);
        let bytes = match &selection {
            Selection::Whole if !facts.head => stored.body().len(),
            selection => selected_length(selection),
        };
        let kind = match collapsed {
            Some(_) => HitKind::Collapsed,
            None if stored.is_fresh(now) => HitKind::Fresh,
            None => HitKind::Stale,
        };
        let before = config.counters().count_hit(kind, bytes, stored.head().cost);
        if (before + 1).is_multiple_of(HITS_PER_SAMPLE) && config.cache.path_table().is_on() {
            config.cache.path_table().count_sampled_hit(public_uri(request).path());
        }
        let marks_handled = has_outer_cache_layer(request.extensions);
        let hit = Self {
            stored,
            now,
            clock: config.cache.clock().clone(),
            version: request.version,
            head: facts.head,
            selection,
            collapsed,
            emits_status: config.policy.cache_status,
            adds_status: adds_status(&config.policy, request.extensions),
            marks_handled,
            keyed_fields: config.keyed_fields.clone().filter(|_| marks_handled),
            key: shown_key(config, request, key),
        };
        #[cfg(feature = "tracing")]
        if let Some(event) = AnswerEvent::new(config, request, None) {
            event.emit(config.counters().name(), hit.status(), Some(hit.stored.current_age(now)));
        }
        hit
    }

    /// Answers a request with a stored response after the request's own fetch, e.g. after a 304 or
    /// a failure. The caller adds the status and the marks.
    pub(in crate::serve) fn after_fetch(
        config: &LayerConfig,
        stored: Arc<StoredResponse>,
        version: Version,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> Self {
        // RFC 9110 section 14.2: `Range` is defined for GET only.
        let method = if facts.head { Method::HEAD } else { Method::GET };
        let selection = Self::select(&config.policy, facts, &method, request, &stored);
        Self {
            stored,
            now,
            clock: config.cache.clock().clone(),
            version,
            head: facts.head,
            selection,
            collapsed: None,
            emits_status: false,
            adds_status: false,
            marks_handled: false,
            keyed_fields: None,
            key: None,
        }
    }

    /// Returns what answers a request for a stored response: the whole response, some of its bytes,
    /// a 304, a 412 or a 416 (RFC 9110 section 13.2.2, RFC 9111 section 4.3.2).
    #[inline]
    fn select(
        policy: &Policy,
        facts: RequestFacts,
        method: &Method,
        request: &HeaderMap,
        stored: &StoredResponse,
    ) -> Selection {
        if !facts.selects() || !stored.status().is_success() {
            return Selection::Whole;
        }
        // The common case, which needs no parsing of tags.
        if facts.matches_etag && !facts.conditional {
            return Selection::NotModified;
        }
        let length = (stored.status() == StatusCode::OK).then_some(stored.body().len() as u64);
        let select = if policy.compares_dates() { select_stored } else { select };
        select(method, request, stored.headers(), length, policy.resumes_by_date())
    }

    /// Sets the keyed fields that an outer cache layer emits.
    pub(in crate::serve) fn with_keyed_fields(self, keyed_fields: Option<KeyedFields>) -> Self {
        Self { keyed_fields, ..self }
    }

    /// Passes the dependencies of the stored response to the tracker of this thread, if there is
    /// one.
    #[inline]
    pub(in crate::serve) fn pass_on(&self) {
        if is_tracked() {
            inherit_response(&self.stored);
        }
    }

    /// Builds the response without a copy of the body. Always inlined, for the hit over a local store.
    #[inline(always)]
    pub(in crate::serve) fn response<B>(&self) -> Response<ResponseBody<B>> {
        let (stored, now, clock) = (&*self.stored, self.now, &self.clock);
        let mut response = match &self.selection {
            Selection::Whole if self.head => {
                Response::from_parts(stored.parts_for_head(now, clock), ResponseBody::default())
            }
            Selection::Whole => {
                Response::from_parts(stored.parts_at(now, clock), ResponseBody::stored(stored.body().clone()))
            }
            Selection::NotModified => {
                Response::from_parts(stored.not_modified_at(now, clock), ResponseBody::absent())
            }
            selection => {
                ResponseBody::selected(selection, stored.parts_at(now, clock), stored.body().clone())
            }
        };
        *response.version_mut() = self.version;
        self.finish(&mut response);
        response
    }

    /// Builds a response whose body is still arriving. If the client gets a 304, the reader is
    /// dropped, since a 304 has no body.
    pub(in crate::serve) fn response_with_reader<B>(&self, reader: BodyReader) -> Response<ResponseBody<B>> {
        let response = self.response();
        match self.selection {
            Selection::Whole => response.map(|_: ResponseBody<B>| ResponseBody::shared(reader)),
            _ => response,
        }
    }

    fn status(&self) -> CacheStatus {
        let (stored, now) = (&*self.stored, self.now);
        let fresh_until = stored.head().fresh_until;
        match self.collapsed {
            Some(reason) => with_ttl(CacheStatus::forward(reason).collapsed(true), fresh_until, now),
            None if stored.is_fresh(now) => CacheStatus::hit(fresh_until.since(now)),
            None => CacheStatus::stale_hit(now.since(fresh_until)),
        }
    }

    /// Adds the status, and the extensions for outer layers.
    fn finish<B>(&self, response: &mut Response<B>) {
        if self.emits_status || self.adds_status {
            let status = self.status();
            if self.emits_status {
                status.write(response.headers_mut(), self.key.as_deref());
            }
            if self.adds_status {
                response.extensions_mut().insert(status);
            }
        }
        if let Some(keyed_fields) = &self.keyed_fields {
            emit_to_outer(response, keyed_fields, self.stored.head().original_vary());
        }
        if self.marks_handled {
            response.extensions_mut().insert(HandledByInner);
        }
    }
}

/// Returns the bytes of the ranges that a response gets.
#[inline]
fn selected_length(selection: &Selection) -> usize {
    match selection {
        Selection::Parts(ranges) => ranges.iter().map(|range| (range.end - range.start) as usize).sum(),
        _ => 0,
    }
}

/// Returns `true` if a response gets a [`CacheStatus`] in its extensions: by its policy, or because
/// this crate made the request to warm the cache.
#[inline]
pub(super) fn adds_status(policy: &Policy, request: &Extensions) -> bool {
    policy.status_extension || request.get::<WantsStatus>().is_some()
}

/// Adds the `ttl` parameter: how long a response stays fresh, or has been stale
/// (RFC 9211 section 2.4).
pub(in crate::serve) fn with_ttl(status: CacheStatus, fresh_until: Moment, now: Moment) -> CacheStatus {
    match now < fresh_until {
        true => status.ttl(fresh_until.since(now)),
        false => status.stale_for(now.since(fresh_until)),
    }
}
