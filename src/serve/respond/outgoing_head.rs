//! What is still to be put on a response that leaves a cache layer.

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

/// What is still to be put on a forwarded response.
#[derive(Debug, Clone)]
pub(in crate::serve) struct OutgoingHead {
    status: Option<CacheStatus>,
    /// Whether the client is told it as well.
    told_status: bool,
    /// What the client is told of its key.
    key: Option<Arc<str>>,
    mark: bool,
    /// No outer layer of this crate has marked the request.
    is_outermost: bool,
    /// What pages are keyed by, if it is emitted here.
    keyed: Option<KeyedFields>,
    /// Whether it is the same cache layer as one further out, which emits it.
    is_again: bool,
    /// Whether clients are told what they are told of stored responses.
    tells: bool,
    told: ClientCacheControl,
    stored: bool,
    /// Somebody is known to have asked.
    identified: bool,
    personal: PersonalRule,
    tags_read: TagFields,
    tags_told: Option<TagFields>,
    /// A layer further in has handled the request.
    handled_by_inner: bool,
    /// What the response changed could not be invalidated.
    not_invalidated: bool,
    /// Read when the response has come.
    clock: Clock,
}

impl OutgoingHead {
    /// The status is made only if somebody wants it.
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
            not_invalidated: false,
            clock: config.cache.clock().clone(),
        }
    }

    /// Has the client told its key, where it is.
    pub(in crate::serve) fn set_key(&mut self, key: Option<Arc<str>>) {
        self.key = key;
    }

    /// Leaves the response to a cache layer further out.
    pub(in crate::serve) fn unmark(&mut self) {
        (self.mark, self.is_again, self.tells) = (false, true, false);
    }

    /// Has the client told what those are told who get the stored response.
    pub(in crate::serve) fn stored(self, told: ClientCacheControl) -> Self {
        Self { told, stored: true, ..self }
    }

    /// Returns the lifetime to be told. What is not stored is given none that it has not itself, and no
    /// longer one.
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

    /// Has the status say that old responses may still be served.
    pub(in crate::serve) fn mark_invalidation_failed(&mut self) {
        self.not_invalidated = true;
    }

    /// Returns `true` if a response is one visitor's: by who has asked, or by what it hands out.
    fn is_personal(&self, headers: &HeaderMap) -> bool {
        self.identified || self.personal.applies_to(headers)
    }

    /// Has it known whether a layer further in has handled the request.
    pub(in crate::serve) fn handled_by_inner(self, handled_by_inner: bool) -> Self {
        Self { handled_by_inner, ..self }
    }

    /// Has a response say its tags where they are to be said. What a layer further in says there stays: it may
    /// know of more.
    fn tell_tags<B>(&self, response: &mut Response<B>) {
        let Some(fields) = self.tags_told else { return };
        let handled_by_inner =
            self.handled_by_inner || response.extensions().get::<HandledByInner>().is_some();
        // What can't be read is told nobody.
        let mut tags = self.tags_read.read(response.headers()).unwrap_or_default();
        if let Some(hints) = response.extensions().get::<CacheHints>() {
            tags.extend_from_slice(&hints.tags);
        }
        tags.sort_unstable();
        tags.dedup();
        fields.write_unless(&tags, response.headers_mut(), handled_by_inner);
    }

    /// Returns what a stored response leaves to a cache layer further out, if there is one.
    pub(in crate::serve) fn left_to_outer(&self) -> Option<KeyedFields> {
        self.keyed.clone().filter(|_| self.mark)
    }

    /// Has the layer judge the response as the outermost one does: its client is this layer itself.
    pub(in crate::serve) fn outermost(self) -> Self {
        Self { is_outermost: true, ..self }
    }

    /// Returns what clients are told of a held admission, if they are.
    pub(in crate::serve) fn told_of(&self, held: CacheStatus, stored: Forecast) -> Option<HeldStatus> {
        self.status.map(|_| HeldStatus { held, stored, key: self.key.clone() })
    }

    /// Leaves what clients are told as it is.
    pub(in crate::serve) fn silent(self) -> Self {
        Self { tells: false, ..self }
    }

    /// Replaces the status by what was learnt since.
    pub(in crate::serve) fn with_status(mut self, status: CacheStatus) -> Self {
        if self.status.is_some() {
            self.status = Some(status);
        }
        self
    }

    /// Puts it on what the service has answered.
    pub(in crate::serve) fn apply_to_answer<B>(&mut self, response: &mut Response<B>) {
        self.status = self.status.map(|status| status.answered(response.status()));
        self.apply(response);
    }

    pub(in crate::serve) fn apply<B>(&self, response: &mut Response<B>) {
        if self.tells {
            let hinted = response.extensions().get::<CacheHints>().and_then(|hints| hints.client_max_age);
            let max_age = hinted.or_else(|| self.max_age(response.headers()));
            // A lifetime of ours has nobody share what is not shared here.
            let private = self.told.private || (max_age.is_some() && self.is_personal(response.headers()));
            tell_client(response.headers_mut(), ClientCacheControl { max_age, private }, &self.clock);
            self.tell_tags(response);
        }
        if !self.is_again && (self.keyed.is_some() || !response.extensions().is_empty()) {
            emit(response, self.keyed.as_ref(), self.mark);
        }
        if let Some(status) = self.status {
            let status =
                if self.not_invalidated { status.detail(Detail::InvalidationFailed) } else { status };
            if self.told_status {
                status.write(response.headers_mut(), self.key.as_deref());
            }
            // What a layer further in did says more than that it was left to it.
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

/// Rewrites the head of a response that is on its way to its client, as that of a stored one is.
pub(in crate::serve) fn tell_client(headers: &mut HeaderMap, told: ClientCacheControl, clock: &Clock) {
    if told == ClientCacheControl::default() {
        return;
    }
    client::tell(headers, told);
    // A lifetime that begins now does so by `Date`, too.
    if told.max_age.is_some()
        && let (Some(place), Some(date)) = (headers.get_mut(DATE), date::format(clock.wall()))
    {
        *place = date;
    }
}

/// Returns what clients are to be told of a response that is stored.
pub(in crate::serve) fn told(
    policy: &Policy,
    hints: Option<&CacheHints>,
    facts: RequestFacts,
) -> ClientCacheControl {
    let hinted = hints.and_then(|hints| hints.client_max_age);
    ClientCacheControl { max_age: hinted.or(policy.client_max_age), private: facts.personal }
}
