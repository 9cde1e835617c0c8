//! Changes to the head of a response that leaves a cache layer.

use super::forecast::Forecast;
use super::held::{HeldStatus, send};
use crate::clock::Clock;
use crate::marks::{FromIdentified, HandledByInner, is_outermost, was_announced};
use crate::policy::request_fields::PersonalRule;
use crate::policy::{CacheHints, Policy};
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::client::{self, ClientCacheControl};
use crate::rules::date;
use crate::rules::freshness::{ExplicitLifetime, stated_lifetime};
use crate::rules::groups::TagFields;
use crate::serve::config::LayerConfig;
use crate::serve::keyed_fields::{KeyedFields, emit};
use crate::serve::request::RequestFacts;
use crate::status::{CacheStatus, Detail, WantsStatus};
use http::header::DATE;
use http::{Extensions, HeaderMap, Response};
use std::sync::Arc;
use std::time::Duration;

/// The changes to the head of a response that leaves the layer.
#[derive(Debug, Clone)]
pub(in crate::serve) struct OutgoingHead {
    /// The status, if clients get it or the request was made by this crate to warm the cache.
    status: Option<CacheStatus>,
    /// Clients get `Cache-Status`.
    told_status: bool,
    /// The `key` parameter of `Cache-Status`, if clients get one.
    key: Option<Arc<str>>,
    /// The response is marked as handled by a cache layer, for outer ones.
    mark: bool,
    /// No outer layer of this crate has marked the request.
    is_outermost: bool,
    /// The keyed fields, if this layer emits them.
    keyed: Option<KeyedFields>,
    /// An outer cache layer has the same ID as this one. It emits the keyed fields itself.
    is_again: bool,
    /// `Cache-Control` and the tags are rewritten for clients, as in stored responses.
    tells: bool,
    /// The `Cache-Control` that clients get.
    told: ClientCacheControl,
    /// The response may be stored here, so `told` applies even if the response states no lifetime.
    stored: bool,
    /// The request is identified.
    identified: bool,
    /// The rule that recognizes responses for one visitor by their fields.
    personal: PersonalRule,
    /// The fields from which tags are read.
    tags_read: TagFields,
    /// The fields into which tags are written for clients.
    tags_told: Option<TagFields>,
    /// An inner cache layer has handled the request.
    handled_by_inner: bool,
    /// An invalidation that the response or its request led to is queued: the store has not
    /// confirmed it.
    is_invalidation_queued: bool,
    /// The clock, read when the response has arrived.
    clock: Clock,
}

impl OutgoingHead {
    /// Creates the changes for a response. `status` is called only if the status is needed.
    pub(in crate::serve) fn new(
        config: &LayerConfig,
        request: &Extensions,
        status: impl FnOnce() -> CacheStatus,
        who: RequestFacts,
    ) -> Self {
        Self {
            status: (config.policy.cache_status || request.get::<WantsStatus>().is_some()).then(status),
            told_status: config.policy.cache_status,
            key: None,
            mark: was_announced(request),
            is_outermost: is_outermost(request),
            keyed: config.keyed_fields.clone(),
            is_again: false,
            tells: true,
            told: ClientCacheControl { max_age: config.policy.client_max_age, private: who.personal },
            stored: false,
            identified: who.identified,
            personal: config.personal.clone(),
            tags_read: config.policy.tags_read,
            tags_told: config.policy.tags_told,
            handled_by_inner: false,
            is_invalidation_queued: false,
            clock: config.cache.clock().clone(),
        }
    }

    /// Sets the `key` parameter of `Cache-Status`.
    pub(in crate::serve) fn set_key(&mut self, key: Option<Arc<str>>) {
        self.key = key;
    }

    /// Leaves the response to an outer layer that has the same ID.
    pub(in crate::serve) fn unmark(&mut self) {
        (self.mark, self.is_again, self.tells) = (false, true, false);
    }

    /// Sets the `Cache-Control` that clients get with the stored response.
    pub(in crate::serve) fn stored(self, told: ClientCacheControl) -> Self {
        Self { told, stored: true, ..self }
    }

    /// Returns the `max-age` for clients. A response that is not stored gets one only if it states
    /// a lifetime itself, and no longer one than that lifetime.
    fn max_age(&self, headers: &HeaderMap) -> Option<Duration> {
        let most = self.told.max_age?;
        if self.stored {
            return Some(most);
        }
        match stated_lifetime(&ResponseDirectives::from_headers(headers), headers, self.clock.wall()) {
            ExplicitLifetime::For(lifetime) => Some(lifetime.min(most)),
            ExplicitLifetime::Silent | ExplicitLifetime::Stale => None,
        }
    }

    /// Makes the status report that old responses may still be served.
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

    /// Writes the tags of a response into the fields for clients, and removes all other tag fields.
    /// Tags that an inner layer has written for clients stay: it may know more of them.
    fn tell_tags<B>(&self, response: &mut Response<B>) {
        let Some(fields) = self.tags_told else { return };
        let handled_by_inner =
            self.handled_by_inner || response.extensions().get::<HandledByInner>().is_some();
        // Tags that can't be read are not written.
        let mut tags = self.tags_read.read(response.headers()).unwrap_or_default();
        if let Some(hints) = response.extensions().get::<CacheHints>() {
            tags.extend_from_slice(&hints.tags);
        }
        tags.sort_unstable();
        tags.dedup();
        fields.write_unless(&tags, response.headers_mut(), handled_by_inner);
    }

    /// Returns the keyed fields that a stored response leaves to an outer cache layer, if there is
    /// one.
    pub(in crate::serve) fn left_to_outer(&self) -> Option<KeyedFields> {
        self.keyed.clone().filter(|_| self.mark)
    }

    /// Makes this layer the outermost one of the response: in the background, the layer itself is
    /// the client.
    pub(in crate::serve) fn outermost(self) -> Self {
        Self { is_outermost: true, ..self }
    }

    /// Returns the statuses of a held admission, if a status is needed.
    pub(in crate::serve) fn told_of(&self, held: CacheStatus, stored: Forecast) -> Option<HeldStatus> {
        self.status.map(|_| HeldStatus { held, stored, key: self.key.clone() })
    }

    /// Leaves `Cache-Control` and the tags unchanged.
    pub(in crate::serve) fn silent(self) -> Self {
        Self { tells: false, ..self }
    }

    /// Replaces the status, if one is needed.
    pub(in crate::serve) fn with_status(mut self, status: CacheStatus) -> Self {
        if self.status.is_some() {
            self.status = Some(status);
        }
        self
    }

    /// Applies the changes to a response of the service, and adds its status code to
    /// `Cache-Status`.
    pub(in crate::serve) fn apply_to_answer<B>(&mut self, response: &mut Response<B>) {
        self.status = self.status.map(|status| status.answered(response.status()));
        self.apply(response);
    }

    /// Applies the changes to a response.
    pub(in crate::serve) fn apply<B>(&self, response: &mut Response<B>) {
        if self.tells {
            let hinted = response.extensions().get::<CacheHints>().and_then(|hints| hints.client_max_age);
            let max_age = hinted.or_else(|| self.max_age(response.headers()));
            // A lifetime from this layer must not let other caches share a response that this layer
            // does not.
            let private = self.told.private || (max_age.is_some() && self.is_personal(response.headers()));
            tell_client(response.headers_mut(), ClientCacheControl { max_age, private }, &self.clock);
            self.tell_tags(response);
        }
        if !self.is_again && (self.keyed.is_some() || !response.extensions().is_empty()) {
            emit(response, self.keyed.as_ref(), self.mark);
        }
        if let Some(status) = self.status {
            let status =
                if self.is_invalidation_queued { status.detail(Detail::InvalidationQueued) } else { status };
            if self.told_status {
                status.write(response.headers_mut(), self.key.as_deref());
            }
            // An inner layer's status is more specific than `detail=inner-layer`.
            if !(status.is_of_another() && response.extensions().get::<CacheStatus>().is_some()) {
                response.extensions_mut().insert(status);
            }
        }
        if self.mark {
            response.extensions_mut().insert(HandledByInner);
        }
        if self.identified && !self.is_outermost {
            response.extensions_mut().insert(FromIdentified);
        }
        send(response, self.is_outermost);
    }
}

/// Rewrites the head of a response for its client, as for a stored response.
pub(in crate::serve) fn tell_client(headers: &mut HeaderMap, told: ClientCacheControl, clock: &Clock) {
    if told == ClientCacheControl::default() {
        return;
    }
    client::tell(headers, told);
    // The lifetime begins now. Downstream caches count it from `Date`, so `Date` has to be the
    // present time, too.
    if told.max_age.is_some()
        && let (Some(place), Some(date)) = (headers.get_mut(DATE), date::format(clock.wall()))
    {
        *place = date;
    }
}

/// Returns the `Cache-Control` that clients get with a stored response.
pub(in crate::serve) fn told(
    policy: &Policy,
    hints: Option<&CacheHints>,
    facts: RequestFacts,
) -> ClientCacheControl {
    let hinted = hints.and_then(|hints| hints.client_max_age);
    ClientCacheControl { max_age: hinted.or(policy.client_max_age), private: facts.personal }
}
