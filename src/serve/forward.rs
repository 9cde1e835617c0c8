//! The call of the wrapped service for a request that may fill the cache.

use super::decision::{Exchanged, Keep};
use super::future::Finish;
use super::inspect::Context;
use super::service::{HandledWithin, Shared};
use crate::body::{Commit, Recorder, ResponseBody};
use crate::cache::Storing;
use crate::entry::{Generation, Scope};
use crate::error::BoxError;
use crate::flight::{Leader, Pass};
use crate::key::CacheKey;
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, response};
use http_body::Body;
use std::future::poll_fn;
use std::time::SystemTime;
use tower::Service;

/// Drives a service to readiness, then calls it.
pub(super) async fn call<S, R>(mut inner: S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R>,
{
    poll_fn(|cx| inner.poll_ready(cx)).await?;
    inner.call(request).await
}

/// A fill: everything that has to outlive the call.
pub(super) struct Fill<'a> {
    pub(super) shared: &'a Shared,
    pub(super) key: &'a CacheKey,
    pub(super) context: Context,
    pub(super) scope: Scope,
    /// What was current before the call; without it nothing can be stored.
    pub(super) generation: Option<Generation>,
    pub(super) leader: Option<Leader>,
    pub(super) status: CacheStatus,
}

impl Fill<'_> {
    /// Calls the service, and stores and shares what it answers if that may be.
    pub(super) async fn run<S, ReqBody, B>(
        self,
        inner: S,
        mut parts: Parts,
        body: ReqBody,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let request = parts.headers.clone();
        let finish = Finish::new(self.shared, &parts.extensions, self.status);
        self.shared.narrow(&mut parts);
        if self.leader.is_some() && self.context.has_copy {
            // The others have no such copy: they need the complete response.
            parts.headers.remove(IF_NONE_MATCH);
            parts.headers.remove(IF_MODIFIED_SINCE);
        }
        self.shared.announce(&mut parts.extensions, self.context.identified);
        let request_time = self.shared.cache.clock().wall();
        match call(inner, Request::from_parts(parts, body)).await {
            Ok(response) => Ok(self.received(response, request, request_time, finish).await),
            Err(error) => {
                if let Some(leader) = self.leader {
                    leader.failed();
                }
                Err(error)
            }
        }
    }

    async fn received<B>(
        self,
        response: Response<B>,
        request: HeaderMap,
        request_time: SystemTime,
        finish: Finish,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = response.into_parts();
        let handled_within = head.extensions.remove::<HandledWithin>().is_some();
        let kept = match self.generation {
            _ if handled_within => Err("handled-within"),
            None => Err("store-failed"),
            Some(generation) => {
                let (context, scope) = (self.context, self.scope);
                let exchanged = Exchanged { request: &request, context, request_time, generation, scope };
                let kept = self.shared.keep(&exchanged, &head);
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
                let max_variants = self.shared.policy.max_variants;
                let storing = Storing { key: self.key.clone(), head, request, max_variants };
                let commit = Commit { cache: self.shared.cache.clone(), storing, leader: self.leader };
                let recorder = Recorder::new(commit, declared, limit);
                (ResponseBody::recording(body, recorder).await, status.stored())
            }
        };
        let mut response = Response::from_parts(head, body);
        finish.with_status(status).apply(&mut response);
        response
    }

    /// Tells those who wait, and those who come, that this response is nobody else's.
    fn not_shared(self, head: &response::Parts, handled_within: bool) {
        let (passes, now) = (self.shared.cache.passes(), self.shared.cache.clock().now());
        if handled_within {
            passes.remember(self.key.as_ref(), Pass::HandledWithin, now);
        } else if head.status.is_server_error() {
            // It says nothing of the next response, and a failing service is not to be stormed.
            if let Some(leader) = self.leader {
                leader.failed();
            }
            return;
        } else if !self.context.goes_alone() && self.generation.is_some() && is_of_the_page(head.status) {
            passes.remember(self.key.as_ref(), Pass::Uncacheable, now);
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
    fn narrow(&self, parts: &mut Parts) {
        let policy = &self.policy.key;
        for name in &policy.ignored {
            parts.headers.remove(name);
        }
        narrow_uri(&mut parts.uri, &policy.query);
        #[cfg(feature = "axum")]
        if let Some(original) = parts.extensions.get_mut::<axum::extract::OriginalUri>() {
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
