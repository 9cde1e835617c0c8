//! Forwards unsafe methods, and invalidates the targets of writes (RFC 9111 section 4.4).

use super::post::CacheablePost;
use super::written::WriteTargets;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Delivery, Invalidation};
use crate::error::BoxError;
use crate::flight::Chain;
use crate::rules::groups::cache_group_invalidation;
use crate::serve::changes::{WriteInvalidations, invalidation_on_success};
use crate::serve::config::LayerConfig;
use crate::serve::nesting::mark_request;
use crate::serve::request::{RequestFacts, identifies, normalize};
use crate::serve::respond::{Answered, OutgoingHead, receive};
use crate::status::{CacheStatus, ForwardReason};
use bytes::Bytes;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use std::future::poll_fn;
use std::sync::Arc;
use tower::Service;

/// Forwards a write, and invalidates stored responses before the client gets the response.
///
/// | outcome | invalidated |
/// |---|---|
/// | 2xx, 3xx | the target, same-origin references, cache groups, the handler's own invalidation |
/// | 408, an error, a panic, or a client that disconnected | the target |
/// | 502, 504 | the target, softly |
/// | any other status, or a service that failed to become ready | nothing |
pub(in crate::serve) async fn forward<S, ReqBody, B>(
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
    let mut outgoing =
        OutgoingHead::new(&config, (&parts).into(), status, RequestFacts::default()).without_rewrites();
    let mut post = CacheablePost::new(&config, &parts, &outgoing).await;
    if let Some(refused) = post.as_ref().and_then(|post| post.loop_response(&parts)) {
        return (Ok(refused), AnswerDependencies::none_added());
    }
    let chain = post.as_ref().map(|post| Arc::clone(post.chain()));
    // The handler may send further requests through an inner layer, which reads this mark.
    let identified = identifies(&config.policy, (&parts).into());
    mark_request(&config, &mut parts.extensions, identified, None);
    // Covers the public target and the target that the handler sees: a stored response can have the
    // scope of either target.
    let written = WriteTargets::new((&parts).into(), &config.policy);
    let mut request = Request::from_parts(parts, body);
    if post.is_some() {
        // The response may answer a later GET, so the request gets the form of such a GET.
        normalize(&mut request);
    }
    // The service changes nothing before it is called, so nothing is invalidated here.
    if let Err(error) = poll_fn(|cx| inner.poll_ready(cx)).await {
        return (Err(error), AnswerDependencies::none_added());
    }
    let (mut changed, call) = (WriteInvalidations::new(&config.cache, written.target()), inner.call(request));
    let answer = match &mut post {
        Some(post) => post.track(call).await,
        None => call.await,
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => return (Err(error), AnswerDependencies::none_added()),
    };
    outgoing.note_answer();
    receive(&mut response, &config.policy.credentials);
    let status = response.status();
    // RFC 9111 section 4.4: a non-error response is one with a 2xx or 3xx status.
    if status.is_success() || status.is_redirection() {
        changed.replace(invalidations_of(&response, &written, config.policy.redirects_invalidate));
        let post = match post.map(|post| (post.scopes_of(&response, &written), post)) {
            Some((scopes, post)) => post.if_still_valid(scopes).await,
            None => None,
        };
        match (changed.invalidate().await, post) {
            ((steps, Delivery::Delivered), Some(post)) => {
                let (response, inherited) = post.admit(response, steps).await;
                return (Ok(response), inherited);
            }
            ((_, Delivery::Delivered), None) => {}
            ((_, Delivery::Queued), _) => outgoing.mark_invalidation_queued(),
        }
    } else if let Some(what) = invalidation_if_unknown(status, written.target()) {
        changed.replace(vec![what]);
        if changed.invalidate().await.1 == Delivery::Queued {
            outgoing.mark_invalidation_queued();
        }
    }
    changed.replace(Vec::new());
    (Ok(forward_unstored(response, chain.as_ref(), outgoing)), AnswerDependencies::none_added())
}

/// Returns the response to a write, without storing it.
fn forward_unstored<B>(
    response: Response<B>,
    chain: Option<&Arc<Chain>>,
    mut outgoing: OutgoingHead,
) -> Response<ResponseBody<B>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut response = response.map(|body| match chain {
        Some(chain) => ResponseBody::forwarded(body).in_chain(chain),
        None => ResponseBody::forwarded(body),
    });
    outgoing.apply_to_answer(&mut response);
    response
}

/// Returns the invalidations of a successful write: its target, the references of its response,
/// cache groups, and the handler's own invalidation.
fn invalidations_of<B>(
    response: &Response<B>,
    written: &WriteTargets,
    by_redirects: bool,
) -> Vec<Invalidation> {
    let location = location_changed(response.status(), by_redirects).then_some(LOCATION);
    let referred = [Some(CONTENT_LOCATION), location]
        .into_iter()
        .flatten()
        .flat_map(|name| written.referred(response.headers(), &name));
    let mut what = vec![written.of_site(written.paths().into_iter().chain(referred).collect())];
    // RFC 9875 section 3: only groups of the same origin are invalidated. A malformed field names
    // no group.
    if let (Ok(groups), Some(_)) = (cache_group_invalidation(response.headers()), &written.public.authority) {
        what.push(written.on_own_hosts(groups.into_iter().map(Invalidation::tag).collect()));
    }
    what.extend(invalidation_on_success(response));
    what
}

/// Returns `true` if the `Location` of a response names a page that the write may have changed.
///
/// A success names a created resource. If `redirects` is `true`, a 302 or 303 names a page that may
/// show the change.
fn location_changed(status: StatusCode, redirects: bool) -> bool {
    match status {
        _ if status.is_success() => true,
        StatusCode::FOUND | StatusCode::SEE_OTHER => redirects,
        _ => false,
    }
}

/// Returns the invalidation for a write, if the status of its response does not tell whether the
/// write took place.
fn invalidation_if_unknown(status: StatusCode, target: Invalidation) -> Option<Invalidation> {
    match status {
        // A timeout layer answers 408 and drops the handler, which may have written before.
        StatusCode::REQUEST_TIMEOUT => Some(target),
        // The origin may have written before it failed. While it is down, stale responses must
        // remain usable.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Some(target.soft()),
        _ => None,
    }
}
