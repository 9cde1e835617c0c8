//! Automatic invalidations that fail: `Cache-Status` and an event report them.

use crate::support::faulty::{Fault, Faulty};
use crate::support::stacks::*;
use crate::support::*;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use tower::{ServiceExt, service_fn};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Invalidation, Policy};

/// Faults that make invalidations fail: in a remote store, and in a local one.
pub(crate) const FAULTS: [Fault; 2] = [Fault::CantInvalidate, Fault::CantInvalidateInside];

type CauseFuture = Pin<Box<dyn Future<Output = Option<Answer>>>>;

fn cache(fault: Fault) -> Cache {
    Cache::new(Faulty::new(memory_store(1 << 20), fault))
}

fn stack(fault: Fault, policy: PolicyBuilder, answer: fn(&Request<Body>) -> Response<Body>) -> Stack {
    layered(&cache(fault), policy, origin(move |request, _| answer(request)).0)
}

fn invalidating_page(_: &Request<Body>) -> Response<Body> {
    changed(numbered(&[], 1), Invalidation::tag("t"))
}

fn after_a_write(fault: Fault) -> CauseFuture {
    Box::pin(async move {
        Some(send(&stack(fault, policy(), |_| numbered(&[], 1)), request("POST", "/", &[])).await)
    })
}

fn by_a_gateway(fault: Fault) -> CauseFuture {
    let answer = |_: &Request<Body>| with_status(numbered(&[], 1), 502);
    Box::pin(async move { Some(send(&stack(fault, policy(), answer), request("PUT", "/", &[])).await) })
}

fn by_a_page_that_is_stored(fault: Fault) -> CauseFuture {
    Box::pin(async move { Some(send(&stack(fault, policy(), invalidating_page), get("/")).await) })
}

fn by_a_page_that_is_not_stored(fault: Fault) -> CauseFuture {
    let answer = |request: &Request<Body>| {
        let mut response = invalidating_page(request);
        response.headers_mut().insert("cache-control", "no-store".parse().expect("a value"));
        response
    };
    Box::pin(async move { Some(send(&stack(fault, policy(), answer), get("/")).await) })
}

fn by_a_post_that_would_be_kept(fault: Fault) -> CauseFuture {
    let answer =
        |_: &Request<Body>| numbered(&[("cache-control", "max-age=60"), ("content-location", "/")], 1);
    let policy = || Policy::rfc9111();
    Box::pin(async move {
        let stack = stack(fault, policy(), answer);
        let answer = send(&stack, request("POST", "/", &[])).await;
        assert!(
            !send(&stack, get("/")).await.is_hit(),
            "a POST response whose invalidation failed is not served"
        );
        Some(answer)
    })
}

/// Forwards a write to a service that never responds.
pub(crate) fn begun(fault: Fault) -> impl Future<Output = Result<Response<()>, Infallible>> {
    let inner = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let stack = layered(&cache(fault), policy(), inner.boxed_clone());
    async move { Ok(stack.oneshot(request("POST", "/", &[])).await?.map(drop)) }
}

fn by_a_write_whose_client_leaves(fault: Fault) -> CauseFuture {
    Box::pin(async move {
        let mut write = Box::pin(begun(fault));
        assert!(futures::poll!(&mut write).is_pending());
        None
    })
}

/// A name, and a function that causes an automatic invalidation.
pub(crate) type InvalidationCause = (&'static str, fn(Fault) -> CauseFuture);

/// Returns every cause of an automatic invalidation, with its name.
pub(crate) fn invalidation_causes() -> [InvalidationCause; 6] {
    [
        ("a write", after_a_write),
        ("a gateway", by_a_gateway),
        ("a stored page", by_a_page_that_is_stored),
        ("a page that is not stored", by_a_page_that_is_not_stored),
        ("a stored POST response", by_a_post_that_would_be_kept),
        ("a client that leaves", by_a_write_whose_client_leaves),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_failed_invalidation_is_the_detail_of_cache_status() {
    for fault in FAULTS {
        for (name, provoke) in invalidation_causes() {
            let Some(answer) = provoke(fault).await else { continue };
            assert_eq!(answer.detail(), Some("invalidation-queued"), "{fault:?} {name}");
        }
    }
}

/// The response to a safe method does not wait for an invalidation in a remote store, so it cannot
/// report that this invalidation failed.
#[tokio::test(start_paused = true)]
async fn a_bypass_reports_only_immediate_invalidation_failures() {
    for (fault, word) in
        [(Fault::CantInvalidateInside, "invalidation-queued"), (Fault::CantInvalidate, "cookie")]
    {
        let answer =
            send(&stack(fault, policy(), invalidating_page), get_with("/", &[("cookie", "sid=1")])).await;
        assert_eq!(answer.detail(), Some(word), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn successful_and_empty_invalidations_report_no_failure() {
    for fault in FAULTS {
        let stack = stack(fault, policy(), |_| with_status(numbered(&[], 1), 404));
        assert_eq!(
            send(&stack, request("POST", "/", &[])).await.detail(),
            None,
            "{fault:?}: a failed write invalidates nothing"
        );
        let nothing = |_: &Request<Body>| changed(numbered(&[], 1), Invalidation::from([""; 0]));
        let stack = layered(&cache(fault), policy(), origin(move |request, _| nothing(request)).0);
        assert_eq!(send(&stack, get("/")).await.detail(), None, "{fault:?}: the invalidation is empty");
    }
    let (stack, _) = site(policy(), |_, call| numbered(&[], call));
    let answer = send(&stack, request("POST", "/", &[])).await;
    assert_eq!((answer.status, answer.detail()), (StatusCode::OK, None));
}
