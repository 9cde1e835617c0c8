//! Responses that a layer gives in place of the service: 504 to `only-if-cached`, 508 to loops.

use super::config::LayerConfig;
use super::future::ResponseFuture;
use super::request::RequestFacts;
use super::respond::{OutgoingHead, empty, loop_head};
use crate::cache::AnswerDependencies;
use crate::key::RequestHead;
use crate::status::{CacheStatus, Detail};
use http::{Method, Request, StatusCode, Version};
use std::sync::Arc;
use tower::Service;

/// Returns `true` if a request that bypasses this layer for a reason is answered with 504: it has
/// `only-if-cached`, and no inner layer may answer either.
pub(super) fn refuses_bypass(config: &LayerConfig, request: RequestHead<'_>, bypass: Option<Detail>) -> bool {
    bypass.is_some_and(Detail::excludes_every_layer)
        && matches!(*request.method, Method::GET | Method::HEAD)
        && config.policy.wants_only_if_cached(request.headers)
}

/// Answers 504 to a request with `only-if-cached` (RFC 9111 section 5.2.1.7).
pub(super) fn refuse<S, ReqBody, B>(version: Version, outgoing: OutgoingHead) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    let outgoing = outgoing.with_status(CacheStatus::refused(Detail::OnlyIfCached));
    respond_with(StatusCode::GATEWAY_TIMEOUT, version, outgoing)
}

/// Answers 508 to a loop: a request that its own handler, body or computation sends again.
pub(super) fn refuse_loop<S, ReqBody, B>(
    config: &LayerConfig,
    key: Option<Arc<str>>,
    facts: RequestFacts,
    request: &Request<ReqBody>,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    let outgoing = loop_head(config, key, facts, request.into());
    respond_with(StatusCode::LOOP_DETECTED, request.version(), outgoing)
}

fn respond_with<S, ReqBody, B>(
    status: StatusCode,
    version: Version,
    outgoing: OutgoingHead,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    ResponseFuture::slow(
        async move { (Ok(empty(status, version, &outgoing)), AnswerDependencies::none_added()) },
    )
}
