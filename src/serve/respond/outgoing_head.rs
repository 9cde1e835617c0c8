//! Changes to the head of a response that leaves a cache layer.

use super::answer_report::AnswerReport;
use super::held::send;
use super::hit::adds_status;
use crate::clock::Clock;
use crate::key::RequestHead;
use crate::marks::{
    FromIdentified, HandledByInner, has_outer_cache_layer, is_handled_by_inner, is_outermost,
};
use crate::policy::request_fields::PersonalRule;
use crate::policy::{CacheHints, Policy};
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::client::{self, ClientCacheControl};
use crate::rules::date;
use crate::rules::entity_tag::EntityTag;
use crate::rules::freshness::{ExplicitLifetime, explicit_lifetime};
use crate::rules::groups::TagFields;
use crate::serve::config::LayerConfig;
use crate::serve::encode::accepts_offered;
use crate::serve::keyed_fields::{KeyedFields, emit};
use crate::serve::request::RequestFacts;
use crate::status::CacheStatus;
use http::header::DATE;
use http::{HeaderMap, Response};
use std::sync::Arc;
use std::time::Duration;

/// The changes to the head of a response that leaves the layer.
#[derive(Debug, Clone)]
pub(in crate::serve) struct OutgoingHead {
    /// The outcome of the request in this layer.
    status: CacheStatus,
    /// Sends the outcome to the statistics and events when [`apply`](Self::apply) runs.
    report: Option<AnswerReport>,
    /// Whether clients get `Cache-Status`.
    emits_status: bool,
    /// Whether the response gets the status in its extensions.
    adds_status: bool,
    /// The `key` parameter of `Cache-Status`, if clients get one.
    key: Option<Arc<str>>,
    /// Whether the response is marked as handled by a cache layer, for outer cache layers.
    marks_handled: bool,
    /// Whether this layer is the outermost one: no outer layer of this crate has marked the
    /// request.
    is_outermost: bool,
    /// The keyed fields, if this layer emits them in `Vary`.
    keyed_fields: Option<KeyedFields>,
    /// Whether the request accepts a coding that the layer offers.
    accepts_offered: bool,
    /// Whether encoded variants of the response may be made.
    is_encodable: bool,
    /// Whether an outer cache layer has the same ID as this one. That layer emits the keyed fields.
    is_left_to_outer: bool,
    /// Whether `Cache-Control` and the tags are rewritten for clients, as in stored responses.
    rewrites_fields: bool,
    /// The `Cache-Control` that clients get.
    client_control: ClientCacheControl,
    /// Whether the response may be stored here. If so, the `max-age` of `client_control` applies
    /// even if the response states no lifetime.
    is_stored: bool,
    /// Whether the request is identified.
    identified: bool,
    /// The rule that recognizes responses for one visitor by their fields.
    personal: PersonalRule,
    /// The fields from which tags are read.
    tag_fields_read: TagFields,
    /// The fields into which tags are written for clients.
    tag_fields_emitted: Option<TagFields>,
    /// Whether an inner cache layer has handled the request.
    handled_by_inner: bool,
    /// Whether an invalidation by the request or the response is queued: the store has not
    /// confirmed it.
    is_invalidation_queued: bool,
    clock: Clock,
}

impl OutgoingHead {
    pub(in crate::serve) fn new(
        config: &LayerConfig,
        request: RequestHead<'_>,
        status: CacheStatus,
        facts: RequestFacts,
    ) -> Self {
        let extensions = request.extensions;
        Self {
            status,
            report: Some(AnswerReport::new(config, request, status)),
            emits_status: config.policy.cache_status,
            adds_status: adds_status(&config.policy, extensions),
            key: None,
            marks_handled: has_outer_cache_layer(extensions),
            is_outermost: is_outermost(extensions),
            keyed_fields: config.vary_fields(false).cloned(),
            accepts_offered: accepts_offered(config, request.headers),
            is_encodable: false,
            is_left_to_outer: false,
            rewrites_fields: true,
            client_control: ClientCacheControl {
                max_age: config.policy.client_max_age,
                private: facts.personal,
            },
            is_stored: false,
            identified: facts.identified,
            personal: config.personal.clone(),
            tag_fields_read: config.policy.tag_fields_read,
            tag_fields_emitted: config.policy.tag_fields_emitted,
            handled_by_inner: false,
            is_invalidation_queued: false,
            clock: config.cache.clock().clone(),
        }
    }

    /// Sets the `key` parameter of `Cache-Status`.
    pub(in crate::serve) fn set_key(&mut self, key: Option<Arc<str>>) {
        self.key = key;
    }

    /// Leaves the rewriting and marking of the response to an outer layer that has the same ID.
    pub(in crate::serve) fn leave_to_outer(&mut self) {
        (self.marks_handled, self.is_left_to_outer, self.rewrites_fields) = (false, true, false);
    }

    /// Sets the `Cache-Control` that clients get with the stored response.
    pub(in crate::serve) fn stored(self, client_control: ClientCacheControl) -> Self {
        Self { client_control, is_stored: true, ..self }
    }

    /// Sets whether encoded variants of the response may be made. If so, clients get
    /// `Accept-Encoding` in `Vary`.
    pub(in crate::serve) fn encodable(self, config: &LayerConfig, is_encodable: bool) -> Self {
        let keyed_fields = config.vary_fields(is_encodable).cloned();
        Self { is_encodable, keyed_fields, ..self }
    }

    /// Returns `true` if the client gets weak tags: it accepts a coding in which the response may be
    /// encoded later, also by an outer layer.
    pub(in crate::serve) fn weakens_tags(&self) -> bool {
        self.is_encodable && self.accepts_offered
    }

    /// Returns the `max-age` for clients, or `None` if the layer sets none.
    ///
    /// A response that is not stored gets at most the lifetime that it states. A response without a
    /// stated lifetime gets no `max-age`.
    fn max_age(&self, headers: &HeaderMap) -> Option<Duration> {
        let most = self.client_control.max_age?;
        if self.is_stored {
            return Some(most);
        }
        match explicit_lifetime(&ResponseDirectives::from_headers(headers), headers, self.clock.wall()) {
            ExplicitLifetime::For(lifetime) => Some(lifetime.min(most)),
            ExplicitLifetime::Silent | ExplicitLifetime::Stale => None,
        }
    }

    /// Makes the status report that an invalidation is queued: old responses may still be served.
    pub(in crate::serve) fn mark_invalidation_queued(&mut self) {
        self.is_invalidation_queued = true;
    }

    /// Returns `true` if a response is for one visitor: its request is identified, or its fields
    /// are personal.
    fn is_personal(&self, headers: &HeaderMap) -> bool {
        self.identified || self.personal.applies_to(headers)
    }

    /// Sets whether an inner cache layer has handled the request.
    pub(in crate::serve) fn handled_by_inner(self, handled_by_inner: bool) -> Self {
        Self { handled_by_inner, ..self }
    }

    /// Writes the tags of a response into the fields of
    /// [`emit_tags_in`](crate::policy::PolicyBuilder::emit_tags_in), and removes the other tag
    /// fields. Does nothing without that option.
    ///
    /// A field that an inner layer has written stays: the inner layer may know more tags.
    fn write_tags<B>(&self, response: &mut Response<B>) {
        let Some(fields) = self.tag_fields_emitted else { return };
        let handled_by_inner = self.handled_by_inner || is_handled_by_inner(response);
        // Tags that can't be read are not written.
        let mut tags = self.tag_fields_read.read(response.headers()).unwrap_or_default();
        if let Some(hints) = response.extensions().get::<CacheHints>() {
            tags.extend_from_slice(&hints.tags);
        }
        tags.sort_unstable();
        tags.dedup();
        fields.write_missing(&tags, response.headers_mut(), handled_by_inner);
    }

    /// Returns the keyed fields that a stored response leaves to an outer cache layer, if there is
    /// one.
    pub(in crate::serve) fn keyed_fields_for_outer(&self) -> Option<KeyedFields> {
        self.keyed_fields.clone().filter(|_| self.marks_handled)
    }

    /// Notes that the service has answered. Call this before any other work on the response.
    #[inline]
    pub(in crate::serve) fn note_answer(&self) {
        if let Some(report) = &self.report {
            report.note_answer();
        }
    }

    /// Takes the report. The caller sends it once the status is final, or drops it if the response
    /// answers no request.
    pub(in crate::serve) fn take_report(&mut self) -> Option<AnswerReport> {
        self.report.take()
    }

    /// Makes this layer the outermost one of the response, e.g. in a background refresh.
    pub(in crate::serve) fn for_outermost(self) -> Self {
        Self { is_outermost: true, ..self }
    }

    /// Leaves `Cache-Control` and the tags unchanged.
    pub(in crate::serve) fn without_rewrites(self) -> Self {
        Self { rewrites_fields: false, ..self }
    }

    /// Replaces the status.
    pub(in crate::serve) fn with_status(self, status: CacheStatus) -> Self {
        Self { status, ..self }
    }

    /// Applies the changes to a response of the service, and adds its status code to
    /// `Cache-Status`.
    pub(in crate::serve) fn apply_to_answer<B>(&mut self, response: &mut Response<B>) {
        self.status = self.status.with_response_code(response.status());
        self.apply(response);
    }

    /// Returns whether an invalidation by the request or the response is queued.
    pub(in crate::serve) fn is_invalidation_queued(&self) -> bool {
        self.is_invalidation_queued
    }

    /// Adds the status to `Cache-Status` and to the extensions, if the policy enables them.
    fn add_status<B>(&self, status: CacheStatus, response: &mut Response<B>) {
        if self.emits_status {
            status.write(response.headers_mut(), self.key.as_deref());
        }
        // The status of an inner layer is more specific if this layer has left the request to it.
        let keeps_inner =
            || status.leaves_to_inner_layers() && response.extensions().get::<CacheStatus>().is_some();
        if self.adds_status && !keeps_inner() {
            response.extensions_mut().insert(status);
        }
    }

    /// Applies the changes to a response.
    pub(in crate::serve) fn apply<B>(&self, response: &mut Response<B>) {
        let status = self.status.with_queued_invalidation(self.is_invalidation_queued);
        let handled_by_inner = self.handled_by_inner || is_handled_by_inner(response);
        if self.rewrites_fields {
            let hinted = response.extensions().get::<CacheHints>().and_then(|hints| hints.client_max_age);
            let max_age = hinted.or_else(|| self.max_age(response.headers()));
            // A lifetime from this layer must not let other caches share a response that this layer
            // does not share.
            let private =
                self.client_control.private || (max_age.is_some() && self.is_personal(response.headers()));
            rewrite_cache_control(
                response.headers_mut(),
                ClientCacheControl { max_age, private },
                &self.clock,
            );
            self.write_tags(response);
            if self.weakens_tags() {
                EntityTag::weaken(response.headers_mut());
            }
        }
        if !self.is_left_to_outer && (self.keyed_fields.is_some() || !response.extensions().is_empty()) {
            emit(response, self.keyed_fields.as_ref(), self.marks_handled);
        }
        self.add_status(status, response);
        if let Some(report) = &self.report {
            report.send(status, handled_by_inner);
        }
        if self.marks_handled {
            response.extensions_mut().insert(HandledByInner);
        }
        if self.identified && !self.is_outermost {
            response.extensions_mut().insert(FromIdentified);
        }
        send(response, self.is_outermost);
    }
}

/// Rewrites `Cache-Control` for clients, as in a stored response. If clients get a `max-age`, the
/// current time replaces the `Date` of the response.
pub(in crate::serve) fn rewrite_cache_control(
    headers: &mut HeaderMap,
    client_control: ClientCacheControl,
    clock: &Clock,
) {
    if client_control == ClientCacheControl::default() {
        return;
    }
    client::rewrite(headers, client_control);
    // Downstream caches count the lifetime from `Date`.
    if client_control.max_age.is_some()
        && let (Some(place), Some(date)) = (headers.get_mut(DATE), date::format(clock.wall()))
    {
        *place = date;
    }
}

/// Returns the `Cache-Control` that clients get with a stored response.
pub(in crate::serve) fn client_cache_control(
    policy: &Policy,
    hints: Option<&CacheHints>,
    facts: RequestFacts,
) -> ClientCacheControl {
    let hinted = hints.and_then(|hints| hints.client_max_age);
    ClientCacheControl { max_age: hinted.or(policy.client_max_age), private: facts.personal }
}
