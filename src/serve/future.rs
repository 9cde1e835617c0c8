//! The response future of the cache layers: a hit, a forwarded call or a boxed future.

use super::changes::invalidation_on_success;
use super::config::LayerConfig;
use super::hit_for_miss::UnstoredCall;
use super::respond::{Answered, Hit, OutgoingHead, receive};
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, DependencyGuard, PendingRead, Tracker, is_tracked};
use crate::flight::Chain;
use crate::marks::LayerPosition;
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
    /// The response future of [`ResponseCache`](crate::response_cache::ResponseCache).
    ///
    /// It is in one of four states; only `Slow` is boxed:
    ///
    /// ```text
    /// call ─┬─ Hit       a stored response, ready at the first poll
    ///       ├─ Forward   a call of the service for a request without a key
    ///       ├─ Unstored  a call of the service for a key whose last response forbade storing
    ///       └─ Slow      a miss, an unsafe method, a stripped or refused request
    /// ```
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: no partial response is stored, and no follower is
    /// left waiting. If followers wait for this future's call of the service, one of them calls the
    /// service itself. A policy with
    /// [`complete_after_disconnect`](crate::policy::PolicyBuilder::complete_after_disconnect)
    /// continues such a call in the background instead.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, B>,
        // Present if the answer becomes part of a page or value whose dependencies are tracked.
        caller: Option<CallerTracking>,
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
        Unstored {
            // Declared before the call, and so dropped before the call: dropping the call first would
            // refuse the admissions that inner layers hold.
            position: LayerPosition,
            #[pin]
            call: Oneshot<S, Request<ReqBody>>,
            unstored: Option<UnstoredCall>,
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
        Self { state: State::Hit { hit: Some(hit) }, caller: CallerTracking::current() }
    }

    #[inline]
    pub(in crate::serve) fn forward(
        call: Oneshot<S, Request<ReqBody>>,
        outgoing: OutgoingHead,
        config: Arc<LayerConfig>,
    ) -> Self {
        // Evaluated first, so that the state is constructed in place.
        let caller = CallerTracking::current();
        Self { state: State::Forward { call, outgoing, config }, caller }
    }

    #[inline]
    pub(in crate::serve) fn unstored(
        call: Oneshot<S, Request<ReqBody>>,
        position: LayerPosition,
        unstored: UnstoredCall,
    ) -> Self {
        let caller = CallerTracking::current();
        Self { state: State::Unstored { position, call, unstored: Some(unstored) }, caller }
    }

    pub(in crate::serve) fn slow(
        future: impl Future<Output = Answered<B, S::Error>> + Send + 'static,
    ) -> Self {
        Self { state: State::Slow { waiting: Box::pin(future) }, caller: CallerTracking::current() }
    }
}

impl<S, ReqBody, B> Future for ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.caller {
            // The future is polled outside the task that makes the page or value, e.g. in a spawned
            // task. Entering the tracker lets the page inherit the dependencies.
            Some(caller) if !is_tracked() => caller.0.enter(|| poll_answer(this.state, cx)),
            _ => poll_answer(this.state, cx),
        }
    }
}

/// The tracker of the page or value that includes the answer, and a [`PendingRead`]: the
/// dependencies of that page are incomplete until the answer arrives.
struct CallerTracking(Tracker, #[expect(unused, reason = "ends when it is dropped")] Option<PendingRead>);

impl CallerTracking {
    fn current() -> Option<Self> {
        Tracker::of_current().map(|tracker| Self(tracker, PendingRead::begin()))
    }
}

/// Rewrites the service's response for the client or outer layer, and starts the invalidation that
/// the response requests.
#[inline(always)]
fn process_response<B>(
    response: Response<B>,
    outgoing: &mut OutgoingHead,
    config: &LayerConfig,
) -> Response<ResponseBody<B>> {
    outgoing.note_answer();
    let mut response = response.map(ResponseBody::forwarded);
    receive(&mut response, &config.policy.credentials);
    if let Some(what) = invalidation_on_success(&response)
        && !config.cache.invalidate_later(&what)
    {
        outgoing.mark_invalidation_queued();
    }
    outgoing.apply_to_answer(&mut response);
    response
}

/// Returns [`AnswerDependencies::Unknown`], unless the tracker has already recorded the
/// dependencies of the answer (`is_recorded`).
fn dependencies_of_answer(is_recorded: bool) -> AnswerDependencies {
    if is_recorded { AnswerDependencies::none_added() } else { AnswerDependencies::Unknown }
}

/// Forwards a request. Inner layers may hold the admission of the response until the outermost
/// layer decides on it.
///
/// A separate function, so that [`State::Forward`] stays small.
pub(in crate::serve) async fn pass_on<S, ReqBody, B>(
    position: LayerPosition,
    call: Oneshot<S, Request<ReqBody>>,
    mut outgoing: OutgoingHead,
    config: Arc<LayerConfig>,
    chain: Arc<Chain>,
    is_recorded: bool,
) -> Answered<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let mut call = pin!(call);
    // Declared after the call, and so dropped before the call: dropping the call first would refuse
    // the admissions that inner layers hold.
    let mut position = position;
    let mut tracker = DependencyGuard(Tracker::for_chain(&chain));
    let answer = tracker.0.track(call.as_mut()).await;
    let answer = answer.map(|response| process_response(response, &mut outgoing, &config));
    position.refuse_rest();
    (answer.map(|response| response.map(|body| body.in_chain(&chain))), dependencies_of_answer(is_recorded))
}

/// Polls a call for a key whose last response forbade storing. Not inlined, so that a hit needs no
/// stack space for it.
#[inline(never)]
fn poll_unstored<S, ReqBody, B>(
    position: &mut LayerPosition,
    call: Pin<&mut Oneshot<S, Request<ReqBody>>>,
    unstored: &mut Option<UnstoredCall>,
    cx: &mut task::Context<'_>,
) -> Poll<Result<Response<ResponseBody<B>>, S::Error>>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    // Without `unstored`, the future was polled again after its completion.
    let Some(chain) = unstored.as_ref().map(UnstoredCall::chain) else { return Poll::Pending };
    let answer = ready!(chain.enter(|| call.poll(cx)));
    let Some(unstored) = unstored.take() else { return Poll::Pending };
    let answer = answer.map(|response| unstored.process_response(response));
    position.refuse_rest();
    Poll::Ready(answer)
}

#[inline]
fn poll_answer<S, ReqBody, B>(
    state: Pin<&mut State<S, ReqBody, B>>,
    cx: &mut task::Context<'_>,
) -> Poll<Result<Response<ResponseBody<B>>, S::Error>>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let (answer, inherited) = match state.project() {
        Projected::Hit { hit } => {
            // The future was polled again after its completion, which `Future::poll` does not
            // permit.
            let Some(hit) = hit.take() else { return Poll::Pending };
            hit.pass_on();
            return Poll::Ready(Ok(hit.response()));
        }
        Projected::Forward { call, outgoing, config } => {
            let answer = ready!(call.poll(cx)).map(|response| process_response(response, outgoing, config));
            (answer, AnswerDependencies::none_added())
        }
        Projected::Unstored { position, call, unstored } => {
            (ready!(poll_unstored(position, call, unstored, cx)), AnswerDependencies::Unknown)
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
            State::Unstored { .. } => "ResponseFuture::Unstored",
            State::Slow { .. } => "ResponseFuture::Slow",
        })
    }
}
