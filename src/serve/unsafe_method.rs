//! Unsafe methods invalidate what they may have changed (RFC 9111 section 4.4), and handlers what they say.

use super::config::LayerConfig;
use super::future::Answered;
use super::held;
use super::inspect::RequestFacts;
use super::outgoing_head::OutgoingHead;
use super::post::CacheablePost;
use super::target::Written;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Cache, Invalidate, Invalidation};
use crate::error::{BoxError, StoreError};
use crate::policy::Sharing;
use crate::rules::groups::cache_group_invalidation;
use crate::status::{CacheStatus, ForwardReason};
use bytes::Bytes;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use std::future::poll_fn;
use std::sync::Arc;
use tower::Service;

/// Forwards the request; if it succeeds, its target and what the response points to on the same
/// origin are invalidated before the client learns of it. If its outcome is never seen, its target is; softly, where
/// it is a gateway that has seen none.
pub(super) async fn forward<S, ReqBody, B>(
    config: Arc<LayerConfig>,
    mut inner: S,
    mut parts: Parts,
    body: ReqBody,
) -> Answered<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let status = CacheStatus::forward(ForwardReason::Method);
    let mut finish =
        OutgoingHead::new(&config, &parts.extensions, || status, RequestFacts::default()).silent();
    let mut post = CacheablePost::new(&config, &parts, &finish).await;
    if let Some(refused) = post.as_ref().and_then(|post| post.refused_loop(&parts)) {
        return (Ok(refused), AnswerDependencies::noted());
    }
    let chain = post.as_ref().map(|post| Arc::clone(post.chain()));
    // It may be answered by requests of its own to a layer further in.
    let identified = config.policy.identifies((&parts).into());
    config.announce(&mut parts.extensions, identified, &[]);
    // What the client asked for, and what the handler sees: either may be what others are sent.
    let written = Written::new((&parts).into(), &config.policy);
    let of_site = |paths: Vec<String>| match config.policy.sharing {
        // RFC 9111 section 4.4: nobody else's. An application is one, whatever it is called.
        Sharing::Rfc9111 => written.on_own_hosts(Invalidation::request_paths(paths)),
        Sharing::App => Invalidation::request_paths(paths),
    };
    // Until it is called, the service has changed nothing.
    if let Err(error) = poll_fn(|cx| inner.poll_ready(cx)).await {
        return (Err(error), AnswerDependencies::noted());
    }
    let mut changed = Changed { cache: &config.cache, what: vec![of_site(written.paths())] };
    let call = inner.call(Request::from_parts(parts, body));
    let response = match &mut post {
        Some(post) => {
            let answer = post.tracker.track(call).await;
            post.tracker.pass_on();
            answer
        }
        None => call.await,
    };
    let mut response = match response {
        Ok(response) => response,
        Err(error) => return (Err(error), AnswerDependencies::noted()),
    };
    held::receive(&mut response, &config.policy.credentials);
    let status = response.status();
    // RFC 9111 section 4.4: a non-error response is one with a 2xx or 3xx status.
    if status.is_success() || status.is_redirection() {
        let location = names_changed(status, config.policy.redirects_invalidate).then_some(LOCATION);
        let referred = [Some(CONTENT_LOCATION), location]
            .into_iter()
            .flatten()
            .flat_map(|name| written.referred(response.headers(), &name));
        changed.what = vec![of_site(written.paths().into_iter().chain(referred).collect())];
        // RFC 9875 section 3: of the same origin, and nothing if it can't be read.
        if let (Ok(groups), Some(_)) =
            (cache_group_invalidation(response.headers()), &written.public.authority)
        {
            changed.what.push(written.on_own_hosts(Invalidation::tags(groups)));
        }
        changed.what.extend(what_changed(&response));
        let post = match post {
            Some(post) => {
                let scopes =
                    post.scopes_of(&response, &written.public.uri, written.public.authority.as_ref());
                post.still_valid(scopes).await
            }
            None => None,
        };
        match (changed.invalidate().await, post) {
            (Ok(steps), Some(post)) => {
                let (response, inherited) = post.admit(response, steps).await;
                return (Ok(response), inherited);
            }
            (Ok(_), None) => {}
            (Err(_), _) => finish.mark_invalidation_failed(),
        }
    } else if let Some(what) = unknown_outcome(status, of_site(written.paths())) {
        changed.what = vec![what];
        if changed.invalidate().await.is_err() {
            finish.mark_invalidation_failed();
        }
    }
    changed.what.clear();
    let mut response = response.map(|body| match &chain {
        Some(chain) => ResponseBody::forwarded(body).within(chain),
        None => ResponseBody::forwarded(body),
    });
    finish.apply_to_answer(&mut response);
    (Ok(response), AnswerDependencies::noted())
}

/// Returns `true` if the `Location` of a response names what a write may have changed: what it created, or the page that
/// the client is sent to after it. If the target has moved, nothing has changed at its new place yet.
fn names_changed(status: StatusCode, redirects: bool) -> bool {
    match status {
        _ if status.is_success() => true,
        StatusCode::FOUND | StatusCode::SEE_OTHER => redirects,
        _ => false,
    }
}

/// Returns what a write may have changed whose response does not say so.
fn unknown_outcome(status: StatusCode, target: Invalidation) -> Option<Invalidation> {
    match status {
        // A time limit has dropped the handler, which may have written before; what it detached may still write.
        StatusCode::REQUEST_TIMEOUT => Some(target),
        // An origin that is down has written nothing, and what is stale may be all there is.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Some(target.keep_stale()),
        _ => None,
    }
}

/// Returns what a handler says that it has changed, if it has succeeded.
pub(super) fn what_changed<B>(response: &Response<B>) -> Option<Invalidation> {
    let Invalidate(what) = response.extensions().get()?;
    let status = response.status();
    (status.is_success() || status.is_redirection()).then(|| what.clone())
}

/// What a request may have changed. Dropped before it is known (the client left, the service
/// panicked or failed to answer), or invalidated, that is done: the write may have been committed.
pub(super) struct Changed<'a> {
    cache: &'a Cache,
    what: Vec<Invalidation>,
}

impl<'a> Changed<'a> {
    pub(super) fn new(cache: &'a Cache, what: Invalidation) -> Self {
        Self { cache, what: vec![what] }
    }

    /// Invalidates it, and returns in how many steps. A failure is counted by the cache, and an event tells of it; the
    /// write itself has taken place.
    pub(super) async fn invalidate(&mut self) -> Result<u64, StoreError> {
        let mut steps = Ok(0);
        while let Some(what) = self.what.last().cloned() {
            let step = u64::from(!what.is_empty());
            let result = self.cache.invalidate_by_itself(what).await;
            steps = result.and(steps.map(|steps: u64| steps + step));
            self.what.pop();
        }
        steps
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        for what in self.what.drain(..) {
            self.cache.invalidate_later(what);
        }
    }
}
