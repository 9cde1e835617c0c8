//! Stacks whose clocks advance only by hand, and the presets and dates that tests of RFC 9111 use.

use crate::support::*;
use http::{Request, Response, StatusCode};
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const START: Duration = Duration::from_secs(1_767_225_600);

pub(crate) fn proxy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

pub(crate) fn date(after: i64) -> String {
    let at = START.as_secs() as i64 + after;
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64))
}

pub(crate) fn with_status(code: u16, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

pub(crate) fn standing(
    policy: PolicyBuilder,
    answer: impl Fn(&Request<Body>, usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Stack, Calls, ManualClock) {
    let (cache, manual) = timed();
    let (inner, calls) = origin(answer);
    (
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(),
        calls,
        manual,
    )
}

pub(crate) fn field<'a>(request: &'a Request<Body>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

pub(crate) fn app() -> PolicyBuilder {
    Policy::app().cache_status(true)
}

/// Returns the date that is `by` before the start of the manual clock.
pub(crate) fn earlier(by: Duration) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + START - by)
}

pub(crate) fn over(cache: &Cache, policy: PolicyBuilder, inner: Inner) -> Stack {
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone()
}
