//! The call of the wrapped service for a request that may fill the cache.

use super::decision::{Exchanged, Keep};
use super::future::Finish;
use super::miss::Way;
use super::service::{HandledWithin, Shared};
use crate::body::{Commit, Recorder, ResponseBody};
use crate::cache::Storing;
use crate::entry::{Generation, StoredResponse};
use crate::error::BoxError;
use crate::flight::{Leader, Pass};
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, Request, Response, StatusCode, response};
use http_body::Body;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Service, ServiceExt};

/// A fill: everything that has to outlive the call.
pub(super) struct Fill {
    pub(super) way: Way,
    /// What was current before the call; without it nothing can be stored.
    pub(super) generation: Option<Generation>,
    pub(super) leader: Option<Leader>,
    pub(super) status: CacheStatus,
    /// To be held as long as the call takes.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// What is kept of the request while the service has it.
struct Sent {
    /// Its fields, before anything was removed.
    headers: HeaderMap,
    at: SystemTime,
    finish: Finish,
}

impl Fill {
    /// Calls the service, and stores and shares what it answers if that may be.
    pub(super) async fn run<S, ReqBody, B>(
        self,
        inner: S,
        mut request: Request<ReqBody>,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let sent = self.prepare(&mut request);
        match inner.oneshot(request).await {
            Ok(response) => {
                let mut response = self.received(response, sent);
                // What of the body is ready is stored at once, however slowly its client reads.
                poll_fn(|cx| {
                    response.body_mut().read_ahead(cx);
                    Poll::Ready(())
                })
                .await;
                Ok(response)
            }
            Err(error) => {
                if let Some(leader) = self.leader {
                    leader.failed();
                }
                Err(error)
            }
        }
    }

    /// Makes a request one whose answer may be shared.
    fn prepare<ReqBody>(&self, request: &mut Request<ReqBody>) -> Sent {
        let shared = &*self.way.shared;
        let sent = Sent {
            headers: request.headers().clone(),
            at: shared.cache.clock().wall(),
            finish: Finish::new(shared, request.extensions(), self.status),
        };
        shared.narrow(request);
        if self.leader.is_some() && self.way.context.has_copy {
            // The others have no such copy: they need the complete response.
            request.headers_mut().remove(IF_NONE_MATCH);
            request.headers_mut().remove(IF_MODIFIED_SINCE);
        }
        shared.announce(request.extensions_mut(), self.way.context.identified);
        sent
    }

    fn received<B>(self, response: Response<B>, sent: Sent) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Sent { headers: request, at: request_time, finish } = sent;
        let (mut head, body) = response.into_parts();
        let handled_within = head.extensions.remove::<HandledWithin>().is_some();
        let shared = &*self.way.shared;
        let kept = match self.generation {
            _ if handled_within => Err("handled-within"),
            None => Err("store-failed"),
            Some(generation) => {
                let (context, scope) = (self.way.context, self.way.scope);
                let exchanged = Exchanged { request: &request, context, request_time, generation, scope };
                let kept = shared.keep(&exchanged, &head);
                kept.and_then(|keep| if too_large(&body, &keep) { Err("too-large") } else { Ok(keep) })
            }
        };
        let status = self.status;
        let (body, status) = match kept {
            Err(why) => {
                self.not_shared(&head, handled_within);
                (ResponseBody::forwarded(body), status.detail(Some(why)))
            }
            Ok(Keep { head, declared, limit }) => {
                let (cache, max_variants) = (shared.cache.clone(), shared.policy.max_variants);
                let response = Arc::new(StoredResponse::new(head, Bytes::new()));
                let storing = Storing { key: self.way.key, response, request, max_variants };
                let commit = Commit { cache, storing, leader: self.leader };
                (ResponseBody::recording(body, Recorder::new(commit, declared, limit)), status.stored())
            }
        };
        let mut response = Response::from_parts(head, body);
        finish.with_status(status).apply(&mut response);
        response
    }

    /// Tells those who wait, and those who come, that this response is nobody else's.
    fn not_shared(self, head: &response::Parts, handled_within: bool) {
        let cache = &self.way.shared.cache;
        let (key, passes, now) = (self.way.key.as_ref(), cache.passes(), cache.clock().now());
        if handled_within {
            passes.remember(key, Pass::HandledWithin, now);
        } else if head.status.is_server_error() {
            // It says nothing of the next response, and a failing service is not to be stormed.
            if let Some(leader) = self.leader {
                leader.failed();
            }
            return;
        } else if !self.way.context.goes_alone() && self.generation.is_some() && is_of_the_page(head.status) {
            passes.remember(key, Pass::Uncacheable, now);
        }
        if let Some(leader) = self.leader {
            leader.pass();
        }
    }
}

/// Tells whether the next response under the same key will be of the same kind. Most client errors
/// are about one request: its fields may have provoked them, and others' should collapse all the same.
fn is_of_the_page(status: StatusCode) -> bool {
    let of_one_request = status.is_client_error() || status == StatusCode::NOT_MODIFIED;
    !of_one_request || matches!(status.as_u16(), 401 | 403 | 404 | 410)
}

fn too_large<B: Body>(body: &B, keep: &Keep) -> bool {
    body.size_hint().lower() > keep.limit
}

impl Shared {
    /// Removes from a fill what its key ignores, so that no page can depend on it.
    fn narrow<B>(&self, request: &mut Request<B>) {
        let policy = &self.policy.key;
        for name in &policy.ignored {
            request.headers_mut().remove(name);
        }
        narrow_uri(request.uri_mut(), &policy.query);
        #[cfg(feature = "axum")]
        if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>() {
            narrow_uri(&mut original.0, &policy.query);
        }
    }
}

fn narrow_uri(uri: &mut http::Uri, query: &crate::key::QueryKey) {
    let normalised = query.normalised(uri.query());
    if normalised.as_deref() == uri.query() {
        return;
    }
    let path_and_query = match normalised {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // Pieces of a valid query make a valid query; were it not so, the handler gets none.
    parts.path_and_query = path_and_query.try_into().ok();
    *uri = http::Uri::from_parts(parts).unwrap_or_default();
}
