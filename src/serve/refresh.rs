//! A response that is made anew in the background, while others are answered with the stale one.

use super::fields::{Meaning, meaning};
use super::forward::Fill;
use super::inspect::{Context, identifies};
use super::miss::Way;
use super::next::Call;
use super::shared::Shared;
use super::span::in_span;
use crate::cache::{Cache, Settled};
use crate::entry::StoredResponse;
use crate::error::BoxError;
use crate::key::CacheKey;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body::Body;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

/// Leave to make one response anew. Dropped before that has come to anything, it counts as a failure.
pub(super) struct Refresh {
    cache: Cache,
    key: CacheKey,
    settled: Settled,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.cache.refreshed(self.key.as_ref(), self.settled.is_settled());
    }
}

/// So long a refresh takes at most, its body included.
const LONGEST: Duration = Duration::from_secs(60);

impl Shared {
    /// Tells whether a request may be answered with a response that is made anew behind its back: the
    /// new one is made without the request's credentials, so they must not matter.
    pub(super) fn may_refresh(&self, context: Context, request: &HeaderMap, stored: &StoredResponse) -> bool {
        // Nor may what the page varies by, or is keyed by. What a cookie means to layers further out is still in the
        // request's extensions when it is taken off, so who has one waits.
        let nominated = stored.head().nominated.iter().map(|field| field.name());
        let varies = nominated.chain(&self.policy.key.headers).any(|name| self.is_taken_off(name));
        let counts = context.personal
            || context.authorization
            || context.identified
            || varies
            || identifies(request, &self.policy.credentials, &self.policy.key.ignored);
        // There is a runtime to make it on.
        !counts && tokio::runtime::Handle::try_current().is_ok()
    }

    /// Returns leave to make a response anew, if not too many are.
    pub(super) fn leave_to_refresh(&self, key: &CacheKey) -> Option<OwnedSemaphorePermit> {
        self.cache.refresh_permit(key.as_ref())
    }

    /// Tells whether a field is the visitor's own, or about this request alone.
    fn is_taken_off(&self, name: &HeaderName) -> bool {
        let meaning = meaning(name.as_str());
        let identifies = meaning.identifies() || self.policy.credentials.contains(name);
        identifies || meaning.selects() || matches!(meaning, Meaning::Directives)
    }

    /// Makes a request one that says nothing of its sender.
    fn depersonalise<B>(&self, request: Request<B>) -> Request<B> {
        let (mut parts, body) = request.into_parts();
        parts.method = Method::GET;
        let personal = parts.headers.keys().filter(|name| self.is_taken_off(name));
        for name in personal.cloned().collect::<Vec<_>>() {
            parts.headers.remove(name);
        }
        self.policy.predicates.prepare_refresh(&mut parts);
        Request::from_parts(parts, body)
    }
}

impl Refresh {
    pub(super) fn new(cache: &Cache, key: CacheKey, permit: OwnedSemaphorePermit) -> Self {
        cache.begin_refresh();
        Self { cache: cache.clone(), key, settled: Settled::default(), _permit: permit }
    }

    /// Calls the service in a task of its own, and reads the body of its response to the end.
    pub(super) fn start<S, ReqBody, B>(self, way: Way, call: Call, inner: S, request: Request<ReqBody>)
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        tokio::spawn(in_span(async move {
            // Dropped with the task, however that ends.
            let refresh = self;
            let call = async {
                // Here, so that a hook of the user's that panics costs no visitor an answer.
                let request = way.shared.depersonalise(request);
                let way = Way { context: Context::default(), ..way };
                let fill = Fill::new(way, call).in_background(refresh.settled.clone());
                if let Ok(response) = fill.run(inner, request).await {
                    response.into_body().drain().await;
                }
            };
            let _ = tokio::time::timeout(LONGEST, call).await;
        }));
    }
}
