//! Answers without the service: to requests that want no call, and to loops.

use super::failure::empty;
use super::finish::Finish;
use super::future::ResponseFuture;
use crate::cache::AnswerDependencies;
use crate::status::{CacheStatus, Detail};
use http::{Request, StatusCode, Version};
use tower::Service;

/// Returns `true` if a request is not answered from any cache: others than this one may have it, where it is left to them.
pub(super) fn is_for_no_cache(bypass: Option<Detail>) -> bool {
    use Detail::{Body, Expect, Forwarded, Host, KeyLength, MethodOverride, RequestNoStore, Upgrade};
    bypass.is_some_and(|why| {
        matches!(
            why,
            Body | Expect | Forwarded | Host | KeyLength | MethodOverride | RequestNoStore | Upgrade
        )
    })
}

/// Answers a request that would rather have no answer than wait for one (RFC 9111 section 5.2.1.7).
pub(super) fn refuse<S, ReqBody, B>(version: Version, finish: Finish) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    let finish = finish.with_status(CacheStatus::refused(Detail::OnlyIfCached));
    answer_with(StatusCode::GATEWAY_TIMEOUT, version, finish)
}

pub(super) fn answer_with<S, ReqBody, B>(
    status: StatusCode,
    version: Version,
    finish: Finish,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>>,
{
    ResponseFuture::slow(async move { (Ok(empty(status, version, &finish)), AnswerDependencies::noted()) })
}
