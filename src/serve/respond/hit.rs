//! Answers with a stored or an arriving response.

#[cfg(feature = "tracing")]
use super::answer_event::AnswerEvent;
use crate::body::ResponseBody;
use crate::cache::{HitKind, inherit_response, is_sampled, is_tracked};
use crate::clock::{Clock, Moment};
use crate::entry::StoredResponse;
use crate::flight::BodyReader;
use crate::key::{KeyRef, RequestHead};
use crate::marks::{HandledByInner, has_outer_cache_layer};
use crate::policy::Policy;
use crate::rules::entity_tag::EntityTag;
use crate::rules::preconditions::{Validators, if_modified_since_matches_date, matched_tag};
use crate::rules::selection::{Selection, select, select_stored, select_variant};
use crate::serve::config::LayerConfig;
use crate::serve::encode::{Representation, choose, count_request};
use crate::serve::keyed_fields::{KeyedFields, emit_to_outer};
use crate::serve::request::{RequestFacts, public_uri, shown_key};
use crate::status::{CacheStatus, Reason, WantsStatus};
use http::header::ETAG;
use http::{Extensions, HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use std::sync::Arc;

/// An answer from the cache, before [`response`](Self::response) builds its response.
#[derive(Debug)]
pub(in crate::serve) struct Hit {
    stored: Arc<StoredResponse>,
    now: Moment,
    clock: Clock,
    version: Version,
    head: bool,
    /// The representation that is selected: the plain response or an encoded variant.
    representation: Representation,
    /// The part of the representation that is sent.
    selection: Selection,
    /// The entity tag of a 304, if it is not the one of the stored response.
    tag_of_304: Option<Box<HeaderValue>>,
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
        let (representation, wanted) = choose(config, &stored, request.headers, facts);
        let (selection, tag_of_304) =
            Self::select(&config.policy, facts, request.method, request.headers, &stored, representation);
        let bytes = match &selection {
            Selection::Whole if !facts.head => match representation.variant(&stored) {
                Some(variant) => variant.body().len(),
                None => stored.body().len(),
            },
            selection => selected_length(selection),
        };
        if let Some(coding) = wanted
            && stored.is_fresh(now)
        {
            count_request(config, &stored, coding, KeyRef::new(key), request.headers);
        }
        let kind = match collapsed {
            Some(_) => HitKind::Collapsed,
            None if stored.is_fresh(now) => HitKind::Fresh,
            None => HitKind::Stale,
        };
        let before = config.counters().count_hit(kind, bytes, stored.head().cost);
        if is_sampled(before) && config.cache.path_table().is_on() {
            config.cache.path_table().count_sampled_hit(public_uri(request).path());
        }
        let marks_handled = has_outer_cache_layer(request.extensions);
        let keyed_fields =
            if marks_handled { config.vary_fields(stored.head().is_encodable).cloned() } else { None };
        let hit = Self {
            stored,
            now,
            clock: config.cache.clock().clone(),
            version: request.version,
            head: facts.head,
            representation,
            selection,
            tag_of_304,
            collapsed,
            emits_status: config.policy.cache_status,
            adds_status: adds_status(&config.policy, request.extensions),
            marks_handled,
            keyed_fields,
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
        let (representation, _) = choose(config, &stored, request, facts);
        let (selection, tag_of_304) =
            Self::select(&config.policy, facts, &method, request, &stored, representation);
        Self {
            stored,
            now,
            clock: config.cache.clock().clone(),
            version,
            head: facts.head,
            representation,
            selection,
            tag_of_304,
            collapsed: None,
            emits_status: false,
            adds_status: false,
            marks_handled: false,
            keyed_fields: None,
            key: None,
        }
    }

    /// Returns what answers a request for a stored response: the whole response, some of its bytes,
    /// a 304, a 412 or a 416 (RFC 9110 section 13.2.2, RFC 9111 section 4.3.2). Also returns the
    /// entity tag of a 304, if it is not the one of the stored response.
    #[inline]
    fn select(
        policy: &Policy,
        facts: RequestFacts,
        method: &Method,
        request: &HeaderMap,
        stored: &StoredResponse,
        representation: Representation,
    ) -> (Selection, Option<Box<HeaderValue>>) {
        if !facts.selects() || !stored.status().is_success() {
            return (Selection::Whole, None);
        }
        // The common case, which needs no parsing of tags.
        if facts.matches_etag && !facts.conditional {
            return (Selection::NotModified, None);
        }
        if representation != Representation::Sole {
            return select_representation(policy, method, request, stored, representation);
        }
        let length = (stored.status() == StatusCode::OK).then_some(stored.body().len() as u64);
        let select = if policy.compares_dates() { select_stored } else { select };
        (select(method, request, stored.headers(), length, policy.resumes_by_date()), None)
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
            _ if self.representation != Representation::Sole => self.response_in_representation(),
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

    /// Builds the response from the selected representation. Not inlined, so that a plain hit stays
    /// small.
    #[inline(never)]
    fn response_in_representation<B>(&self) -> Response<ResponseBody<B>> {
        let (stored, now, clock) = (&*self.stored, self.now, &self.clock);
        if self.selection == Selection::NotModified {
            let mut parts = stored.not_modified_at(now, clock);
            if let Some(tag) = &self.tag_of_304 {
                // If the header map is full, the field is left out.
                let _ = parts.headers.try_insert(ETAG, HeaderValue::clone(tag));
            }
            return Response::from_parts(parts, ResponseBody::absent());
        }
        let (mut parts, body) = match self.representation.variant(stored) {
            Some(variant) => (stored.variant_parts_at(variant, now, clock), variant.body()),
            None if self.head && self.selection == Selection::Whole => {
                (stored.parts_for_head(now, clock), stored.body())
            }
            None => (stored.parts_at(now, clock), stored.body()),
        };
        if self.representation == Representation::WeakPlain {
            EntityTag::weaken(&mut parts.headers);
        }
        match &self.selection {
            Selection::Whole if self.head => Response::from_parts(parts, ResponseBody::default()),
            selection => ResponseBody::selected(selection, parts, body.clone()),
        }
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
        if let (Representation::Encoded(coding), None, true) =
            (self.representation, self.collapsed, stored.is_fresh(now))
        {
            return CacheStatus::hit(fresh_until.since(now)).detail(coding);
        }
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

/// Returns what answers a request for a stored response that may have encoded variants, and the
/// entity tag of a 304.
fn select_representation(
    policy: &Policy,
    method: &Method,
    request: &HeaderMap,
    stored: &StoredResponse,
    representation: Representation,
) -> (Selection, Option<Box<HeaderValue>>) {
    let (headers, body, is_ranged) = match representation.variant(stored) {
        Some(variant) => (variant.headers(), variant.body(), variant.is_ranged()),
        None => (stored.headers(), stored.body(), true),
    };
    let base = EntityTag::of_response(stored.headers());
    let mut current = Validators { base: base.clone(), ..Validators::of_response(headers) };
    if representation == Representation::WeakPlain {
        current.etag = current.etag.map(EntityTag::weakened);
    }
    let length = (stored.status() == StatusCode::OK && is_ranged).then_some(body.len() as u64);
    let mut selection = select_variant(method, request, &current, headers, length);
    let is_answered = matches!(selection, Selection::NotModified | Selection::Failed);
    if !is_answered && policy.compares_dates() && if_modified_since_matches_date(request, headers) {
        selection = Selection::NotModified;
    }
    if selection != Selection::NotModified {
        return (selection, None);
    }
    // The client keeps the copy that it named, so the 304 has the tag of that copy: by RFC 9111
    // section 4.3.4, another strong tag would not freshen it.
    let named = base.and_then(|base| matched_tag(request, &base));
    (selection, named.or(current.etag).map(|tag| Box::new(tag.to_value())))
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
