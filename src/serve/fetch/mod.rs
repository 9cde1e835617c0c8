//! A fetch forwards a request whose response may be stored, and decides what happens to that
//! response.
//!
//! ```text
//! Fetch::run
//!   │ prepare the request, forward it, wait for at most `origin_timeout`
//!   ├─ failed, stale response usable ──► failure: the stale response
//!   ├─ failed in the background ───────► failure: nothing is stored
//!   ├─ error or timeout ───────────────► failure: the error, or a 504
//!   ├─ 304 to the cache's condition ───► revalidate: the freshened stored response, or mismatch
//!   └─ any other response ─────────────► record; for a HEAD, head_update before that
//! ```

mod background;
mod conditions;
mod detached;
mod failure;
mod fetch_timer;
mod forwarded_request;
mod head_update;
mod hold;
mod inherited;
mod mismatch;
mod plan;
mod prepare;
mod record;
mod revalidate;
mod variants;

use super::changes::{WriteInvalidations, invalidation_on_success};
use super::deadline::with_timeout;
use super::respond::{Answered, correct_status, receive};
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Delivery, Tracker};
use crate::error::BoxError;
use crate::marks::{LayerPosition, is_handled_by_inner};
pub(super) use background::{Refresh, unstored_action};
use bytes::Bytes;
use conditions::into_not_modified;
pub(super) use detached::run_detached;
pub(super) use fetch_timer::FetchTimer;
pub(super) use forwarded_request::ForwardedRequest;
use head_update::HeadTarget;
use http::header::ETAG;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
pub(super) use plan::{Fetch, FetchPlan, StoredEntry};
use record::Received;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tower::{Service, ServiceExt};

impl Fetch {
    /// Forwards the request to the service. Stores and shares the response if it is storable.
    pub(in crate::serve) async fn run<S, ReqBody, B>(
        mut self,
        inner: S,
        mut request: Request<ReqBody>,
    ) -> Answered<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut forwarded = self.prepare(&mut request);
        let head_target = self.head_target().await;
        let mut tracker = Tracker::for_chain(&self.state.chain);
        let timer = FetchTimer::start();
        let answer = {
            // Pinned in place. Moving a future into another one reserves its space twice.
            let call = pin!(inner.oneshot(request));
            let call = pin!(tracker.track(call));
            // The position is declared after the call, and so is dropped before the call: dropping
            // the call first would refuse the admissions that inner layers hold.
            let position = std::mem::replace(&mut forwarded.position, LayerPosition::inner());
            let answer = with_timeout(self.state.config.policy.origin_timeout, call).await;
            if answer.is_some() {
                forwarded.position = position;
            }
            answer.map(|answer| {
                answer.map(|mut response| {
                    receive(&mut response, &self.state.config.policy.credentials);
                    response
                })
            })
        };
        forwarded.outgoing.note_answer();
        // A fetch of an inner layer is measured there.
        if !answer.as_ref().is_some_and(|answer| answer.as_ref().is_ok_and(is_handled_by_inner)) {
            timer.record(&self.state.config);
        }
        let recorded = |tracker: &Tracker| AnswerDependencies::none_added().with(tracker.peek());
        let has_failed = self.has_failed(&answer);
        if has_failed && let Some(stale) = self.stale_on_failure(&forwarded).await {
            let failure = answer.and_then(Result::ok).map(|response| response.status());
            let inherited = AnswerDependencies::from(&*stale).with(tracker.peek());
            return (Ok(self.answer_with_stale(stale, &forwarded, failure, Extensions::new())), inherited);
        }
        let response = match answer {
            // No client waits for a background refresh, and its failure must not replace the stored
            // response.
            Some(Ok(response)) if has_failed && self.background.is_some() => {
                return (Ok(self.forward_failure(response, &forwarded)), recorded(&tracker));
            }
            Some(Ok(response)) => {
                if let Some(what) = invalidation_on_success(&response)
                    && WriteInvalidations::new(&self.state.config.cache, what).invalidate().await.1
                        == Delivery::Queued
                {
                    forwarded.outgoing.mark_invalidation_queued();
                }
                response
            }
            Some(Err(error)) => {
                self.end_failed();
                return (Err(error), recorded(&tracker));
            }
            None => return (Ok(self.respond_timed_out(&forwarded)), recorded(&tracker)),
        };
        self.process_response(response, head_target, forwarded, tracker).await
    }

    /// Turns an answer of the service into the response for the client. Stores and shares the
    /// response if it is storable.
    async fn process_response<B, E>(
        mut self,
        mut response: Response<B>,
        head_target: Option<HeadTarget>,
        mut forwarded: ForwardedRequest,
        mut tracker: Tracker,
    ) -> Answered<B, E>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(stale) = self.plan.stale.take()
        {
            let validated = response.into_parts().0;
            // Boxed, so that fetches without a 304 do not reserve space for it.
            let (response, inherited) =
                Box::pin(self.answer_with_freshened(&stale, validated, forwarded, tracker.take())).await;
            return (Ok(response), inherited);
        }
        // The update is written in a boxed future, so that other fetches do not reserve space for
        // it.
        if let Some(update) = head_target
            .and_then(|head_target| self.head_update(head_target, &response, &forwarded, tracker.peek()))
        {
            match self.hold(&forwarded, &mut response, None) {
                Some(verdict) => update.store_if_admitted(&verdict, &self.state.config.cache),
                None => Box::pin(update.store(&self.state.config.cache)).await,
            }
        }
        let conditions = forwarded.conditions.take();
        let outdated = self.take_outdated(response.status());
        let Received { mut response, tag, is_tag_weak, is_encodable, inherited, forecast, report } =
            self.receive(response, forwarded, outdated, tracker);
        // Records the part of the body that is ready, so that a slow client does not delay the
        // store.
        let ahead = poll_fn(|cx| Poll::Ready(response.body_mut().read_ahead(cx))).await;
        if let Some((forecast, written_status)) = forecast {
            let has_ended = !response.body().is_recording();
            let forecast = forecast.after_read_ahead(ahead.clone(), has_ended);
            let status = correct_status(&mut response, written_status, forecast);
            if let Some(report) = report {
                report.send(status, false);
            }
        }
        let inherited = inherited.with(ahead);
        if let Some(tag) = tag.get() {
            // If the header map is full, `ETag` is left out.
            let sent = if is_tag_weak { tag.clone().weakened() } else { tag.clone() };
            let _ = response.headers_mut().try_insert(ETAG, sent.to_value());
        }
        // Followers read the rest of the body while it arrives.
        let response = response.map(ResponseBody::share);
        let response = match conditions {
            Some(conditions) => into_not_modified(response, &conditions, is_encodable),
            None => response,
        };
        (Ok(response), inherited)
    }
}
