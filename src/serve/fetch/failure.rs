//! The responses that replace a failed fetch. Also determines the stored response that an answer
//! makes outdated.

use super::forwarded_request::ForwardedRequest;
use super::plan::{Fetch, StoredEntry};
use super::record::applies_to_resource;
use crate::body::ResponseBody;
use crate::cache::{OutdatedResponse, UnstoredAction};
use crate::entry::StoredResponse;
use crate::serve::lookup::Reuse;
use crate::serve::respond::{Hit, empty, with_ttl};
use crate::status::Detail;
use crate::store::Validity;
use http::{Extensions, Response, StatusCode};
use http_body::Body;
use std::sync::Arc;

impl Fetch {
    /// Returns `true` if the service timed out, failed with an error, or sent a response that
    /// counts as a failure.
    pub(in crate::serve) fn has_failed<B, E>(&self, answer: &Option<Result<Response<B>, E>>) -> bool {
        match answer {
            Some(Ok(response)) => self.is_failure(response),
            Some(Err(_)) | None => true,
        }
    }

    fn is_failure<B>(&self, response: &Response<B>) -> bool {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = response.status();
        let policy = &self.state.config.policy;
        if policy.has_own_failures() {
            parts.version = response.version();
            parts.headers = response.headers().clone();
            parts.extensions = response.extensions().clone();
        }
        policy.is_failure(&parts)
    }

    /// Returns the stored response if it may replace the answer of a failed fetch
    /// (RFC 5861 section 4).
    ///
    /// Returns `None` in a background refresh, because no client waits for its response.
    pub(in crate::serve) async fn stale_on_failure(
        &self,
        forwarded: &ForwardedRequest,
    ) -> Option<Arc<StoredResponse>> {
        let stored = self.plan.stored.as_ref().filter(|_| self.background.is_none())?;
        let (config, now) = (&self.state.config, self.state.config.cache.clock().now());
        let facts = self.state.facts;
        let reuse =
            Reuse { config, request: &forwarded.headers, facts, now, read: None, is_read_only: false };
        let stale = &stored.response;
        let usable = (stale.is_fresh(now) || stale.serves_on_errors(now)) && reuse.accepts_stale(stale);
        // An invalidation may have come while the service failed.
        let is_valid =
            usable && matches!(config.cache.validity_of(stale).await, Ok(Validity::Valid | Validity::Stale));
        is_valid.then(|| Arc::clone(stale))
    }

    /// Answers the client and the followers with a stale response.
    ///
    /// `failure` is the status code of the service's response, if the service sent one. `marks` are
    /// the marks of that response that forbid other cache layers to share it.
    pub(in crate::serve) fn answer_with_stale<B>(
        self,
        stale: Arc<StoredResponse>,
        forwarded: &ForwardedRequest,
        failure: Option<StatusCode>,
        marks: Extensions,
    ) -> Response<ResponseBody<B>> {
        self.state.config.note_not_stored(Detail::StaleIfError);
        let status = with_ttl(
            self.status.detail(Detail::StaleIfError),
            stale.head().fresh_until,
            self.state.config.cache.clock().now(),
        );
        let status = failure.map_or(status, |failure| status.with_response_code(failure));
        let now = self.state.config.cache.clock().now();
        let shared = Arc::clone(&stale);
        let outgoing = forwarded.outgoing.clone().encodable(&self.state.config, stale.head().is_encodable);
        let hit = Hit::after_fetch(
            &self.state.config,
            stale,
            forwarded.version,
            &forwarded.headers,
            self.state.facts,
            now,
        );
        let mut response = hit.with_keyed_fields(outgoing.keyed_fields_for_outer()).response();
        response.extensions_mut().extend(marks);
        if let Some(leader) = self.plan.leader {
            leader.end_stored(shared);
        }
        outgoing.with_status(status).without_rewrites().apply(&mut response);
        response
    }

    /// Ends the flight as failed.
    pub(in crate::serve) fn end_failed(self) {
        if let Some(leader) = self.plan.leader {
            leader.end_failed();
        }
    }

    /// Forwards a response without storing it, and ends the flight as failed.
    pub(in crate::serve) fn forward_failure<B: Body>(
        self,
        response: Response<B>,
        forwarded: &ForwardedRequest,
    ) -> Response<ResponseBody<B>> {
        let mut response = response.map(|body| ResponseBody::forwarded(body).in_chain(&self.state.chain));
        forwarded.outgoing.clone().with_status(self.status).apply_to_answer(&mut response);
        self.end_failed();
        response
    }

    /// Returns a 504 after the service has timed out (RFC 9110 section 15.6.5).
    pub(in crate::serve) fn respond_timed_out<B>(
        self,
        forwarded: &ForwardedRequest,
    ) -> Response<ResponseBody<B>> {
        self.state.config.note_not_stored(Detail::OriginTimeout);
        let outgoing = forwarded.outgoing.clone().with_status(self.status.detail(Detail::OriginTimeout));
        self.end_failed();
        empty(StatusCode::GATEWAY_TIMEOUT, forwarded.version, &outgoing)
    }

    /// Returns the stored response that an answer with this status makes outdated, and the
    /// [`UnstoredAction`] on that response. Returns `None` if the answer makes no stored response
    /// outdated.
    ///
    /// Only the first call returns the fetch's own action. Later calls return `Keep`.
    pub(in crate::serve) fn take_outdated(&mut self, status: StatusCode) -> Option<OutdatedResponse> {
        let facts = self.state.facts;
        // The answer predicts the answers to other requests only if the request is an anonymous GET
        // whose response also fits other requests.
        let is_of_others = facts.is_collapsible() && !facts.identified && !facts.head;
        let answers = applies_to_resource(status) && is_of_others;
        let StoredEntry { response, key } = self.plan.stored.clone().filter(|_| answers)?;
        Some(OutdatedResponse {
            response,
            key,
            action: std::mem::replace(&mut self.unstored_action, UnstoredAction::Keep),
        })
    }
}
