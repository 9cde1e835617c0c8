//! A fetch in its own task, which continues after its client disconnects.

use super::plan::Fetch;
use crate::error::BoxError;
use crate::flight::WorkPermit;
use crate::serve::respond::Answered;
use crate::serve::span::in_span;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tower::Service;

/// Runs a fetch that survives its client's disconnect, and returns its answer.
///
/// The fetch stops once `limit` has passed since the disconnect. The task reads the body for the
/// store until `limit` has passed since the last reader left.
pub(in crate::serve) async fn run_detached<S, ReqBody, B>(
    fetch: Fetch,
    inner: S,
    request: Request<ReqBody>,
    limit: Duration,
    permit: WorkPermit,
) -> Answered<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let fetch = fetch.detached();
    let (mut sender, receiver) = oneshot::channel();
    let task = tokio::spawn(in_span(async move {
        let _permit = permit;
        let Some(answer) = unless_abandoned(fetch.run(inner, request), &mut sender, limit).await else {
            return;
        };
        // A second reader completes the recording if the client stops reading.
        let second = answer.0.as_ref().ok().and_then(|response| response.body().second_reader());
        match (sender.send(answer), second) {
            (Ok(()), Some(second)) => second.complete_after_the_others(limit).await,
            (Err((Ok(response), _)), _) => {
                let _ = tokio::time::timeout(limit, response.into_body().drain()).await;
            }
            (Ok(()), None) | (Err((Err(_), _)), _) => {}
        }
    }));
    match receiver.await {
        Ok(answer) => answer,
        // The task ended without an answer. If it panicked, the request panics, as it would have
        // without a task.
        Err(_) => match task.await {
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // The runtime is shutting down, so no answer can come.
            _ => std::future::pending().await,
        },
    }
}

/// Waits for a fetch. Returns `None` once `limit` has passed since the receiver of its answer was
/// dropped.
async fn unless_abandoned<T>(
    call: impl Future<Output = T>,
    sender: &mut oneshot::Sender<T>,
    limit: Duration,
) -> Option<T> {
    let mut call = pin!(call);
    let mut abandoned = pin!(async {
        sender.closed().await;
        tokio::time::sleep(limit).await;
    });
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => abandoned.as_mut().poll(cx).map(|()| None),
    })
    .await
}
