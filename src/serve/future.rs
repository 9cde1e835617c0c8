//! The response future: an answer that is there, a forwarded call, or a boxed wait.

use super::mark::{HandledWithin, was_announced};
use super::respond::{Hit, tell};
use super::service::Shared;
use crate::body::ResponseBody;
use crate::policy::CacheHints;
use crate::rules::client::{self, Told};
use crate::status::CacheStatus;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;
use tower::util::Oneshot;

type Waiting<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    /// The future of a [`ResponseCache`](crate::ResponseCache).
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
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>>,
    {
        Hit { hit: Option<Hit> },
        Forward { #[pin] call: Oneshot<S, Request<ReqBody>>, finish: Finish },
        Slow { waiting: Waiting<B, S::Error> },
    }
}

/// What is still to be put on a forwarded response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish {
    status: Option<CacheStatus>,
    mark: bool,
}

impl Finish {
    pub(super) fn new(shared: &Shared, request: &Extensions, status: CacheStatus) -> Self {
        Self { status: shared.policy.cache_status.then_some(status), mark: was_announced(request) }
    }

    /// Leaves the response to a cache layer further out.
    pub(super) fn unmarked(self) -> Self {
        Self { mark: false, ..self }
    }

    /// Replaces the status by what was learnt since.
    pub(super) fn with_status(mut self, status: CacheStatus) -> Self {
        if self.status.is_some() {
            self.status = Some(status);
        }
        self
    }

    pub(super) fn apply<B>(self, response: &mut Response<B>) {
        // What a handler has its clients told, it says whatever becomes of the response here.
        if let Some(hints) = response.extensions().get::<CacheHints>()
            && let told @ Told { max_age: Some(_), .. } = hints.told()
        {
            client::tell(response.headers_mut(), told);
        }
        if let Some(status) = self.status {
            tell(response.headers_mut(), status);
            response.extensions_mut().insert(status);
        }
        if self.mark {
            response.extensions_mut().insert(HandledWithin);
        }
    }
}

impl<S, ReqBody, B> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    #[inline]
    pub(super) fn hit(hit: Hit) -> Self {
        Self { state: State::Hit { hit: Some(hit) } }
    }

    pub(super) fn forward(call: Oneshot<S, Request<ReqBody>>, finish: Finish) -> Self {
        Self { state: State::Forward { call, finish } }
    }

    pub(super) fn slow(
        future: impl Future<Output = Result<Response<ResponseBody<B>>, S::Error>> + Send + 'static,
    ) -> Self {
        Self { state: State::Slow { waiting: Box::pin(future) } }
    }
}

impl<S, ReqBody, B> Future for ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Hit { hit } => match hit.take() {
                Some(hit) => Poll::Ready(Ok(hit.response())),
                // Polled again after it was ready, which a future may answer with never.
                None => Poll::Pending,
            },
            Projected::Forward { call, finish } => {
                let mut response = ready!(call.poll(cx))?.map(ResponseBody::forwarded);
                finish.apply(&mut response);
                Poll::Ready(Ok(response))
            }
            Projected::Slow { waiting } => waiting.as_mut().poll(cx),
        }
    }
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
