//! The response future: an answer that is there, a forwarded call, or a boxed wait.

use super::changes::invalidation_on_success;
use super::config::LayerConfig;
use super::respond::{Answered, Hit, OutgoingHead, receive};
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, DependencyGuard, PendingRead, Tracker, is_tracked};
use crate::flight::Chain;
use crate::marks::Edge;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, ready};
use tower::Service;
use tower::util::Oneshot;

type WaitingAnswer<B, E> = Pin<Box<dyn Future<Output = Answered<B, E>> + Send>>;

pin_project! {
    /// The future of a [`ResponseCache`](crate::response_cache::ResponseCache).
    ///
    /// # Cancel safety
    /// Dropped at any time, it leaves nothing half stored and nobody waiting: if others wait for
    /// its call of the service, one of them makes a call of its own.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, B>,
        // Whoever makes a page of the answer.
        caller: Option<Caller>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>>,
    {
        Hit { hit: Option<Hit> },
        Forward {
            #[pin]
            call: Oneshot<S, Request<ReqBody>>,
            outgoing: OutgoingHead,
            config: Arc<LayerConfig>,
        },
        Slow { waiting: WaitingAnswer<B, S::Error> },
    }
}

impl<S, ReqBody, B> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    #[inline]
    pub(in crate::serve) fn hit(hit: Hit) -> Self {
        Self { state: State::Hit { hit: Some(hit) }, caller: Caller::current() }
    }

    #[inline]
    pub(in crate::serve) fn forward(
        call: Oneshot<S, Request<ReqBody>>,
        outgoing: OutgoingHead,
        config: Arc<LayerConfig>,
    ) -> Self {
        // Known first, so that the state is made in its place.
        let caller = Caller::current();
        Self { state: State::Forward { call, outgoing, config }, caller }
    }

    pub(in crate::serve) fn slow(
        future: impl Future<Output = Answered<B, S::Error>> + Send + 'static,
    ) -> Self {
        Self { state: State::Slow { waiting: Box::pin(future) }, caller: Caller::current() }
    }
}

impl<S, ReqBody, B> Future for ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.caller {
            // It was called where a page is made, and is polled elsewhere: in a task of its own, say.
            Some(caller) if !is_tracked() => caller.0.enter(|| poll_answer(this.state, cx)),
            _ => poll_answer(this.state, cx),
        }
    }
}

/// The page that an answer is requested for, and the pending read of the answer.
struct Caller(Tracker, #[expect(unused, reason = "ends when it is dropped")] Option<PendingRead>);

impl Caller {
    fn current() -> Option<Self> {
        Tracker::of_caller().map(|tracker| Self(tracker, PendingRead::begin()))
    }
}

/// Returns the service's response as it leaves the layer.
#[inline(always)]
fn passed_on<B>(
    response: Response<B>,
    outgoing: &mut OutgoingHead,
    config: &LayerConfig,
) -> Response<ResponseBody<B>> {
    let mut response = response.map(ResponseBody::forwarded);
    receive(&mut response, &config.policy.credentials);
    if let Some(what) = invalidation_on_success(&response)
        && !config.cache.invalidate_later(what)
    {
        outgoing.mark_invalidation_failed();
    }
    outgoing.apply_to_answer(&mut response);
    response
}

fn inherited(is_noted: bool) -> AnswerDependencies {
    if is_noted { AnswerDependencies::noted() } else { AnswerDependencies::Unknown }
}

/// Passes on the answer to a request that inner layers may hold admissions for.
///
/// Separate from the state for other requests, which stays small.
pub(in crate::serve) async fn pass_on<S, ReqBody, B>(
    edge: Edge,
    call: Oneshot<S, Request<ReqBody>>,
    mut outgoing: OutgoingHead,
    config: Arc<LayerConfig>,
    chain: Arc<Chain>,
    is_noted: bool,
) -> Answered<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let mut call = pin!(call);
    // Declared after the call, so that it is dropped before.
    let mut edge = edge;
    let mut tracker = DependencyGuard(Tracker::of(&chain));
    let answer = tracker.0.track(call.as_mut()).await;
    let answer = answer.map(|response| passed_on(response, &mut outgoing, &config));
    edge.refuse_rest();
    (answer.map(|response| response.map(|body| body.in_chain(&chain))), inherited(is_noted))
}

#[inline]
fn poll_answer<S, ReqBody, B>(
    state: Pin<&mut State<S, ReqBody, B>>,
    cx: &mut task::Context<'_>,
) -> Poll<Result<Response<ResponseBody<B>>, S::Error>>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    // The one way out: each state says what a page inherits that is made from the answer.
    let (answer, inherited) = match state.project() {
        Projected::Hit { hit } => {
            // Polled again after it was ready, which a future may answer with never.
            let Some(hit) = hit.take() else { return Poll::Pending };
            hit.pass_on();
            return Poll::Ready(Ok(hit.response()));
        }
        Projected::Forward { call, outgoing, config } => {
            let answer = ready!(call.poll(cx)).map(|response| passed_on(response, outgoing, config));
            (answer, AnswerDependencies::noted())
        }
        Projected::Slow { waiting } => ready!(waiting.as_mut().poll(cx)),
    };
    inherited.pass_on();
    Poll::Ready(answer)
}

impl<S, ReqBody, B> fmt::Debug for ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Hit { .. } => "ResponseFuture::Hit",
            State::Forward { .. } => "ResponseFuture::Forward",
            State::Slow { .. } => "ResponseFuture::Slow",
        })
    }
}
