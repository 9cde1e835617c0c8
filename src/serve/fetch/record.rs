//! The response of a fetch on its way to the client, and to the store if it is storable.

use super::forwarded_request::ForwardedRequest;
use super::plan::Fetch;
use crate::body::{Commit, GeneratedTag, Recorder, ResponseBody};
use crate::cache::{
    AnswerDependencies, OutdatedResponse, PendingStore, RefreshOutcome, StoreReport, Tracker, is_tracked,
};
use crate::clock::Moment;
use crate::entry::{Dependencies, StoredResponse};
use crate::error::BoxError;
use crate::flight::{HitForMissReason, Leader};
use crate::marks::{HandledByInner, LayerPosition};
use crate::rules::client::ClientCacheControl;
use crate::rules::entity_tag::{Comparison, EntityTag};
use crate::serve::admission::{Admission, admit, body_fits};
use crate::serve::config::LayerConfig;
use crate::serve::encode::eager_encoding;
use crate::serve::request::RequestState;
use crate::serve::respond::{AnswerReport, Forecast, OutgoingHead};
use crate::status::{CacheStatus, Detail, ForwardReason};
use bytes::Bytes;
use http::header::ETAG;
use http::{Response, StatusCode, response};
use http_body::Body;
use std::sync::Arc;

/// A response on its way to the client.
pub(in crate::serve) struct Received<B> {
    pub(in crate::serve) response: Response<ResponseBody<B>>,
    /// The entity tag that is computed from the body. Present once the body is complete.
    pub(in crate::serve) tag: GeneratedTag,
    /// Whether this client gets the tag as a weak one.
    pub(in crate::serve) is_tag_weak: bool,
    /// Whether encoded variants of the response may be made.
    pub(in crate::serve) is_encodable: bool,
    /// The dependencies that a page inherits if it includes the response.
    pub(in crate::serve) inherited: AnswerDependencies,
    /// Present if the response is recorded: the forecast of its `Cache-Status`, and the status that
    /// the head already has.
    pub(in crate::serve) forecast: Option<(Forecast, CacheStatus)>,
    /// The report of the answer, if it is sent only once the status is final.
    pub(in crate::serve) report: Option<AnswerReport>,
}

impl<B> Received<B> {
    /// Returns the response and the dependencies. Keeps the status that was written into the head,
    /// and sends the report with that status.
    pub(in crate::serve) fn into_answer(self) -> (Response<ResponseBody<B>>, AnswerDependencies) {
        if let (Some(report), Some((forecast, status))) = (self.report, self.forecast) {
            forecast.note_reported(status);
            report.send(status.with_response_code(self.response.status()), false);
        }
        (self.response, self.inherited)
    }
}

impl Fetch {
    /// Returns the response and the dependencies that a page inherits from it. Starts a recording
    /// if the response is storable.
    pub(in crate::serve) fn receive<B>(
        self,
        response: Response<B>,
        mut forwarded: ForwardedRequest,
        outdated: Option<OutdatedResponse>,
        tracker: Tracker,
    ) -> Received<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut position = std::mem::replace(&mut forwarded.position, LayerPosition::inner());
        let (mut head, body) = response.into_parts();
        let handled_by_inner = head.extensions.remove::<HandledByInner>().is_some();
        let config = &*self.state.config;
        EntityTag::remove_malformed(&mut head.headers, config.policy.etags);
        let admission = match self.plan.generation {
            _ if handled_by_inner => Err(Detail::HandledByInner),
            None if self.state.facts.head => Err(Detail::Head),
            None => Err(Detail::StoreFailed),
            Some(generation) => {
                let admission = admit(config, &forwarded.exchange(&self.state, generation), &head);
                admission.and_then(|admission| match tracker.is_trackable_in(generation) {
                    true => body_fits(&body, &admission).map(|()| admission),
                    false => Err(Detail::Dependencies),
                })
            }
        };
        let (mut outgoing, mut received) = match admission {
            Err(why) => self.forward_unrecorded(
                (head, body),
                forwarded.outgoing,
                outdated,
                &tracker,
                (handled_by_inner, why),
            ),
            Ok(admission) => self.start_recording((head, body), forwarded, admission, outdated, tracker),
        };
        outgoing.apply_to_answer(&mut received.response);
        position.refuse_rest();
        received
    }

    /// Returns a response that is not stored, and its outgoing head.
    fn forward_unrecorded<B>(
        self,
        (head, body): (response::Parts, B),
        outgoing: OutgoingHead,
        outdated: Option<OutdatedResponse>,
        tracker: &Tracker,
        (handled_by_inner, why): (bool, Detail),
    ) -> (OutgoingHead, Received<B>)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if outdated.is_some_and(|outdated| outdated.handle_not_stored(&self.state.config.cache)) {
            self.background.iter().for_each(RefreshOutcome::settle);
        }
        let inherited = self.unstored_dependencies(&head, handled_by_inner).with(tracker.peek());
        let outgoing = outgoing.handled_by_inner(handled_by_inner).with_status(self.unstored_status(why));
        let body = ResponseBody::forwarded(body).in_chain(&self.state.chain);
        // The inner layer has counted whether it stores the response.
        if !handled_by_inner {
            self.state.config.note_not_stored(why);
            #[cfg(feature = "tracing")]
            self.state.config.warn_without_ttl(why, head.status);
        }
        self.end_unshared(&head, handled_by_inner, why);
        let response = Response::from_parts(head, body);
        let received = Received {
            response,
            tag: GeneratedTag::default(),
            is_tag_weak: false,
            is_encodable: false,
            inherited,
            forecast: None,
            report: None,
        };
        (outgoing, received)
    }

    /// Returns the status of a response that is not stored. A bypass keeps its own reason, e.g. in a dry
    /// run.
    fn unstored_status(&self, why: Detail) -> CacheStatus {
        match self.plan.reason.forward {
            ForwardReason::Bypass => self.status,
            _ => self.status.detail(why),
        }
    }

    /// Returns an admitted response whose body is recorded while it streams, and its outgoing head.
    fn start_recording<B>(
        mut self,
        (head, body): (response::Parts, B),
        forwarded: ForwardedRequest,
        Admission { stored, declared, limit, retention, client_control }: Admission,
        outdated: Option<OutdatedResponse>,
        tracker: Tracker,
    ) -> (OutgoingHead, Received<B>)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let config = Arc::clone(&self.state.config);
        let response = Arc::new(stored);
        // Without a tracker on this thread, the dependencies are not collected. `Unknown` prevents
        // the storing of a page that includes the response.
        let inherited = match self.is_detached || is_tracked() {
            true => AnswerDependencies::from(&*response).with(tracker.peek()),
            false => AnswerDependencies::Unknown,
        };
        let is_encodable = response.head().is_encodable;
        let comparison = generated_tag(&config, &response, client_control);
        // A response that is stale on arrival gets no new followers. The policy decides whether the
        // current followers receive it.
        if !response.is_fresh(response.head().response_time)
            && let Some(leader) = self.plan.leader.take()
        {
            self.plan.leader = share_stale(leader, &self.state);
        }
        let reads = tracker.peek();
        let head_fresh_until = reads.as_ref().map_or(Moment::NEVER, Dependencies::fresh_until);
        let report = StoreReport::new(config.counters());
        let forecast = Forecast::new(
            self.status,
            &self.state,
            response.head(),
            &forwarded.headers,
            reads,
            report.clone(),
        )
        .with_queued_invalidation(forwarded.outgoing.is_invalidation_queued());
        let (written_status, held_status) = (forecast.status(), forecast.held_status());
        let mut held = Response::from_parts(head, ());
        let verdict = self.hold(&forwarded, &mut held, Some((held_status, forecast.clone())));
        // The status does not report the response as stored until an outer layer admits it.
        let status = if verdict.is_some() { held_status } else { written_status };
        let ForwardedRequest { headers: request, outgoing, .. } = forwarded;
        let (key, selection) = (self.state.key, Arc::clone(config.selection()));
        let max_variants = config.policy.max_variants;
        let mut pending_store =
            PendingStore::new(key, response, request, selection, max_variants, retention, report);
        (pending_store.outdated, pending_store.refresh_outcome) = (outdated, self.background);
        pending_store.head_fresh_until = head_fresh_until;
        pending_store.after_store = eager_encoding(&config, is_encodable);
        let commit = Commit { cache: config.cache.clone(), pending_store, leader: self.plan.leader, verdict };
        let recorder = Recorder::new(commit, declared, limit, comparison, tracker);
        let tag = recorder.tag();
        let response = held.map(|()| ResponseBody::recording(body, recorder));
        let mut outgoing =
            outgoing.stored(client_control).encodable(&config, is_encodable).with_status(status);
        let forecast = Some((forecast, written_status));
        let (report, is_tag_weak) = (outgoing.take_report(), outgoing.weakens_tags());
        (outgoing, Received { response, tag, is_tag_weak, is_encodable, inherited, forecast, report })
    }

    /// Releases the followers of a response that is not shared. After a server error, the flight
    /// fails instead. Marks the key as hit-for-miss if the next response probably can't be shared
    /// either.
    fn end_unshared(self, head: &response::Parts, handled_by_inner: bool, why: Detail) {
        let cache = &self.state.config.cache;
        let (key, hit_for_miss, now) = (self.state.key.as_ref(), cache.hit_for_miss(), cache.clock().now());
        if handled_by_inner {
            hit_for_miss.remember(key, HitForMissReason::HandledByInner, now);
        } else if head.status.is_server_error() {
            // The next response may be storable, so the key does not become hit-for-miss. In a
            // failed flight, only a few followers call the service at a time.
            if let Some(leader) = self.plan.leader {
                leader.end_failed();
            }
            return;
        } else if self.state.facts.is_collapsible()
            && !self.state.facts.identified
            && self.plan.generation.is_some()
            && self.plan.reason.forward != ForwardReason::Method
            && !matches!(why, Detail::ContentEncoding | Detail::KeyLength)
            && applies_to_resource(head.status)
        {
            let reason = match why {
                Detail::NoStore | Detail::Private => HitForMissReason::Forbidden,
                _ => HitForMissReason::Uncacheable,
            };
            hit_for_miss.remember(key, reason, now);
        }
        if let Some(leader) = self.plan.leader {
            leader.end_unshared();
        }
    }
}

/// Returns whether a response gets a weak or a strong generated tag, or `None` if it gets none.
fn generated_tag(
    config: &LayerConfig,
    response: &StoredResponse,
    client_control: ClientCacheControl,
) -> Option<Comparison> {
    let makes_tags = config.policy.etags || client_control.max_age.is_some();
    // The tag of an encoded variant differs from that of the plain response. So the tag names exact
    // bytes.
    let comparison = || match response.head().is_encodable {
        true => Comparison::Strong,
        false => config.policy.comparison(),
    };
    (makes_tags && !response.headers().contains_key(ETAG)).then(comparison)
}

/// Stops new requests from joining the flight of a response that is stale on arrival, for example
/// because of `no-cache`. Returns the leader if the current followers may share the response.
///
/// Under `Policy::rfc9111`, each follower has to validate the response first (RFC 9111 sections 4
/// and 5.2.2.4). So the followers are released.
fn share_stale(leader: Leader, state: &RequestState) -> Option<Leader> {
    if state.config.policy.followers_accept_stale() {
        leader.close();
        return Some(leader);
    }
    start_hit_for_miss(state, leader);
    None
}

/// Releases the followers of a response that each of them has to validate. Marks the key as
/// hit-for-miss unless the request is identified.
pub(super) fn start_hit_for_miss(state: &RequestState, leader: Leader) {
    let cache = &state.config.cache;
    if !state.facts.identified {
        cache.hit_for_miss().remember(state.key.as_ref(), HitForMissReason::Uncacheable, cache.clock().now());
    }
    leader.end_unshared();
}

/// Returns `true` if a response with this status predicts the responses to other requests.
///
/// Returns `false` for server errors, and for a status that the fields of one request may have
/// caused: a 206, a 304, and all client errors except 401, 403, 404 and 410.
pub(super) fn applies_to_resource(status: StatusCode) -> bool {
    let of_one_request = status.is_client_error()
        || status.is_server_error()
        || status == StatusCode::NOT_MODIFIED
        || status == StatusCode::PARTIAL_CONTENT;
    !of_one_request || matches!(status.as_u16(), 401 | 403 | 404 | 410)
}

#[cfg(test)]
mod tests {
    use super::{StatusCode, applies_to_resource};

    #[test]
    fn status_of_one_request_or_of_a_failure_predicts_nothing() {
        for status in (200..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            let expected = match status.as_u16() {
                206 | 304 | 500.. => false,
                401 | 403 | 404 | 410 => true,
                other => other < 400,
            };
            assert_eq!(applies_to_resource(status), expected, "{status}");
        }
    }
}
