//! The response future of all layers that only write header fields.
//!
//! Under an outer layer of this crate, a cache layer *holds* its admission of a response: it stores
//! the response only after the outermost layer has the response. Each layer on the way examines the
//! head, and *refuses* the admission if the head forbids sharing. If the request is dropped
//! instead, the admission is *abandoned*. No layer has examined the head then, so a follower
//! fetches the response again.

use crate::marks::LayerPosition;
use crate::serve::{is_identified, receive, send_and_refuse_rest};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;

/// A change to the head of a response.
pub(super) trait Patch {
    /// Whether [`apply`](Self::apply) uses its argument `is_identified`.
    const NEEDS_IDENTITY: bool = false;
    /// Whether the change may forbid inner cache layers to store the response. In the outermost
    /// layer, the change is for clients only, and inner cache layers ignore it.
    const IS_SEEN_BY_CACHES: bool = false;

    /// Changes the head. `is_identified` is `true` if the request has a credential, or if an outer
    /// layer has identified its visitor or found an undeclared cookie.
    fn apply<B>(&self, response: &mut Response<B>, is_identified: bool);
}

pin_project! {
    /// Waits for the response, and applies the change.
    #[derive(Debug)]
    pub(super) struct PatchFuture<F, P> {
        // Declared before `call`, so that it is dropped first and abandons the held admissions. A
        // drop of `call` would refuse them.
        position: LayerPosition,
        #[pin]
        call: F,
        patch: P,
        is_identified: bool,
    }
}

impl<F, P: Patch> PatchFuture<F, P> {
    /// Forwards a request.
    pub(super) fn call<S, ReqBody>(inner: &mut S, mut request: Request<ReqBody>, patch: P) -> Self
    where
        S: Service<Request<ReqBody>, Future = F>,
    {
        let position = LayerPosition::enter(&mut request);
        let is_identified = P::NEEDS_IDENTITY && is_identified((&request).into());
        Self { position, call: inner.call(request), patch, is_identified }
    }
}

impl<F, P, B, E> Future for PatchFuture<F, P>
where
    F: Future<Output = Result<Response<B>, E>>,
    P: Patch,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        // `receive` refuses the held admission if the head forbids sharing. A change before
        // `receive` can cause that (`Vary: Cookie`). A change after it is for clients only.
        if P::IS_SEEN_BY_CACHES && !this.position.is_outermost() {
            this.patch.apply(&mut response, *this.is_identified);
            receive(&mut response, &[]);
        } else {
            receive(&mut response, &[]);
            this.patch.apply(&mut response, *this.is_identified);
        }
        send_and_refuse_rest(&mut response, this.position);
        Poll::Ready(Ok(response))
    }
}
