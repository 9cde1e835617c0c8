//! The service that marks requests as anonymous or identified for inner cache layers.

use super::anonymous_only_layer::{AnonymousOnlyLayer, AnonymousRequest, AsyncIdentityPredicate, Rules};
use crate::marks::{Identified, LayerPosition, OuterContext};
use crate::rules::client::{self, ClientCacheControl};
use crate::serve::{receive, send_and_refuse_rest};
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::util::Oneshot;
use tower::{Layer, Service, ServiceExt};

impl<S> Layer<S> for AnonymousOnlyLayer {
    type Service = AnonymousOnly<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AnonymousOnly { inner, rules: Arc::clone(&self.0) }
    }
}

/// Returns `true` if a predicate returns `true`. Runs the predicates in order, and stops at the
/// first `true`.
async fn any_identifies(predicates: Vec<Arc<AsyncIdentityPredicate>>, request: Parts) -> bool {
    for is_identified in predicates {
        if is_identified(request.clone()).await {
            return true;
        }
    }
    false
}

/// The service that [`AnonymousOnlyLayer`] creates.
///
/// The service is ready if the inner service is ready. With an asynchronous predicate, it is always
/// ready: the response future runs the predicate, and then drives a clone of the inner service to
/// readiness.
#[derive(Debug, Clone)]
pub struct AnonymousOnly<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> AnonymousOnly<S> {
    /// Wraps a service, as an [`AnonymousOnlyLayer`] with the default options does.
    #[must_use]
    pub fn new(inner: S) -> Self {
        AnonymousOnlyLayer::new().layer(inner)
    }

    inner_service_accessors!();
}

impl AnonymousOnly<()> {
    /// Creates a layer with the default options.
    pub fn layer() -> AnonymousOnlyLayer {
        AnonymousOnlyLayer::new()
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for AnonymousOnly<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AnonymousOnlyFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self.rules.async_predicates.is_empty() {
            true => self.inner.poll_ready(cx),
            // A ready inner service would reserve capacity while the predicate runs.
            false => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let position = LayerPosition::enter(&mut request);
        let identified = self.rules.identify((&request).into());
        let async_predicates = &self.rules.async_predicates;
        let state = if async_predicates.is_empty() {
            OuterContext::add_anonymity_rules(&mut request, identified, &self.rules.cookies);
            State::Calling { call: self.inner.call(request), identified }
        } else {
            let (parts, body) = request.into_parts();
            let identifies: AnonymousRequest = match identified {
                true => Box::pin(std::future::ready(true)),
                false => Box::pin(any_identifies(async_predicates.clone(), parts.clone())),
            };
            let request = Some((self.inner.clone(), Request::from_parts(parts, body)));
            State::Identifying { identifies, request }
        };
        AnonymousOnlyFuture { position, state, rules: Arc::clone(&self.rules) }
    }
}

pin_project! {
    /// The response future of [`AnonymousOnly`].
    ///
    /// ```text
    /// with an asynchronous predicate:  Identifying ── result ──> CallingClone ──> done
    /// without one:                                               Calling ──> done
    /// ```
    ///
    /// In `CallingClone`, the future first drives a clone of the inner service to readiness. If the
    /// future is dropped while `Identifying`, the inner service is not called.
    #[must_use = "futures do nothing unless polled"]
    pub struct AnonymousOnlyFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // Declared before `state`, so that it is dropped first and abandons the held admissions. A
        // drop of the call would refuse them: see the module `patch`.
        position: LayerPosition,
        #[pin]
        state: State<S, ReqBody>,
        rules: Arc<Rules>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        Identifying { identifies: AnonymousRequest, request: Option<(S, Request<ReqBody>)> },
        CallingClone { #[pin] call: Oneshot<S, Request<ReqBody>>, identified: bool },
        Calling { #[pin] call: S::Future, identified: bool },
    }
}

impl<S, ReqBody, B> Future for AnonymousOnlyFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        if let Projected::Identifying { identifies, request } = state.as_mut().project() {
            let identified = ready!(identifies.as_mut().poll(cx));
            let Some((inner, mut request)) = request.take() else { return Poll::Pending };
            OuterContext::add_anonymity_rules(&mut request, identified, &this.rules.cookies);
            state.set(State::CallingClone { call: inner.oneshot(request), identified });
        }
        let (response, identified) = match state.project() {
            Projected::CallingClone { call, identified } => (ready!(call.poll(cx)), identified),
            Projected::Calling { call, identified } => (ready!(call.poll(cx)), identified),
            Projected::Identifying { .. } => return Poll::Pending,
        };
        let mut response = response?;
        receive(&mut response, &this.rules.credentials);
        if *identified {
            response.extensions_mut().insert(Identified);
        }
        if response.extensions().get::<Identified>().is_some() {
            client::rewrite(response.headers_mut(), ClientCacheControl { max_age: None, private: true });
        }
        send_and_refuse_rest(&mut response, this.position);
        Poll::Ready(Ok(response))
    }
}

impl<S, ReqBody> fmt::Debug for AnonymousOnlyFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Identifying { .. } => "AnonymousOnlyFuture::Identifying",
            State::CallingClone { .. } | State::Calling { .. } => "AnonymousOnlyFuture::Calling",
        })
    }
}
