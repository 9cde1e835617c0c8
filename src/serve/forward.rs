//! The call of the wrapped service for a request that may fill the cache.

use super::decision::{Exchanged, Keep};
use super::future::Finish;
use super::miss::{Call, Way};
use super::revalidate::{self, withheld};
use super::service::{HandledWithin, Shared};
use crate::body::{Commit, Recorder, ResponseBody};
use crate::cache::Storing;
use crate::entry::StoredResponse;
use crate::error::BoxError;
use crate::flight::Pass;
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderMap, Request, Response, StatusCode, Version, response};
use http_body::Body;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;
use tower::{Service, ServiceExt};

/// A fill: everything that has to outlive the call.
pub(super) struct Fill {
    pub(super) way: Way,
    pub(super) call: Call,
    pub(super) status: CacheStatus,
}

/// What is kept of the request while the service has it.
pub(super) struct Sent {
    /// Its fields, before anything was removed.
    pub(super) headers: HeaderMap,
    pub(super) version: Version,
    pub(super) at: SystemTime,
    pub(super) finish: Finish,
    /// Conditions of the client that the service was not told of: they are evaluated here.
    conditions: Option<HeaderMap>,
}

impl Fill {
    pub(super) fn new(way: Way, call: Call) -> Self {
        let status = CacheStatus::forward(call.reason);
        Self { way, call, status }
    }

    /// Calls the service, and stores and shares what it answers if that may be.
    pub(super) async fn run<S, ReqBody, B>(
        mut self,
        inner: S,
        mut request: Request<ReqBody>,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut sent = self.prepare(&mut request);
        let response = match inner.oneshot(request).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(leader) = self.call.leader {
                    leader.failed();
                }
                return Err(error);
            }
        };
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(stale) = self.call.stale.take()
        {
            let validated = response.into_parts().0;
            return Ok(self.freshened(&stale, validated, sent).await);
        }
        let conditions = sent.conditions.take();
        let mut response = self.received(response, sent);
        // What of the body is ready is stored at once, however slowly its client reads.
        poll_fn(|cx| {
            response.body_mut().read_ahead(cx);
            Poll::Ready(())
        })
        .await;
        Ok(match conditions {
            Some(conditions) => withheld(response, &conditions),
            None => response,
        })
    }

    /// Makes a request one whose answer may be shared.
    fn prepare<ReqBody>(&mut self, request: &mut Request<ReqBody>) -> Sent {
        let (shared, context) = (&*self.way.shared, self.way.context);
        let headers = request.headers().clone();
        let (version, at) = (request.version(), shared.cache.clock().wall());
        let finish = Finish::new(shared, request.extensions(), self.status);
        shared.narrow(request);
        // Preconditions of the client's that the service has to evaluate, and a range, leave no room
        // for conditions of the cache's.
        if context.conditional || context.range {
            self.call.stale = None;
        }
        let mut conditions = None;
        if self.call.leader.is_some() || self.call.stale.is_some() {
            // Others have no such copy: they need the complete response.
            conditions = context.has_copy.then(|| revalidate::take_conditions(request.headers_mut()));
        }
        if let Some(stale) = &self.call.stale {
            revalidate::ask_about(stale, request.headers_mut());
        }
        shared.announce(request.extensions_mut(), context.identified);
        Sent { headers, version, at, finish, conditions }
    }

    fn received<B>(self, response: Response<B>, sent: Sent) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Sent { headers: request, at: request_time, finish, .. } = sent;
        let (mut head, body) = response.into_parts();
        let handled_within = head.extensions.remove::<HandledWithin>().is_some();
        let shared = &*self.way.shared;
        let kept = match self.call.generation {
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
            Ok(Keep { head, declared, limit, retained }) => {
                let (cache, max_variants) = (shared.cache.clone(), shared.policy.max_variants);
                let response = Arc::new(StoredResponse::new(head, Bytes::new()));
                let tagged = shared.policy.etags && !response.headers().contains_key(ETAG);
                let storing = Storing { key: self.way.key, response, request, max_variants, retained };
                // To be validated before each use: this one is for those who wait already.
                if !storing.response.is_fresh(storing.response.head().response_time)
                    && let Some(leader) = &self.call.leader
                {
                    leader.close();
                }
                let commit = Commit { cache, storing, leader: self.call.leader };
                (
                    ResponseBody::recording(body, Recorder::new(commit, declared, limit, tagged)),
                    status.stored(),
                )
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
            if let Some(leader) = self.call.leader {
                leader.failed();
            }
            return;
        } else if !self.way.context.goes_alone()
            && self.call.generation.is_some()
            && is_of_the_page(head.status)
        {
            passes.remember(key, Pass::Uncacheable, now);
        }
        if let Some(leader) = self.call.leader {
            leader.pass();
        }
    }
}

/// Tells whether the next response under the same key will be of the same kind. Most client errors
/// are about one request: its fields may have provoked them, and others' should collapse all the same.
fn is_of_the_page(status: StatusCode) -> bool {
    let of_one_request = status.is_client_error()
        || status == StatusCode::NOT_MODIFIED
        || status == StatusCode::PARTIAL_CONTENT;
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
        if !self.policy.cookies.is_default() {
            self.policy.cookies.narrow(request.headers_mut());
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
