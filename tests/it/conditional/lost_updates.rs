//! `PreconditionLayer::by_get` compares the `If-Match` of a write with the `ETag` of the current
//! representation. To find that tag, the layer sends a GET to the handler. No stored response may
//! answer the GET.

use crate::support::*;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, Invalidation, Policy, PreconditionLayer, RouteCacheLayer, SiteCacheLayer,
};

/// The version of a document. `change` changes it without an HTTP request.
#[derive(Clone, Default)]
struct Document(Arc<AtomicUsize>);

impl Document {
    fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns a handler that reads the version, pauses, changes the document on PUT, and answers
    /// with the version it read.
    fn service(&self, is_weak: bool, pause: Duration) -> Inner {
        let document = self.clone();
        let service = service_fn(move |request: Request| {
            let document = document.clone();
            async move {
                let version = document.0.load(Ordering::SeqCst);
                sleep(pause).await;
                let weak = if is_weak { "W/" } else { "" };
                let tag = format!("{weak}\"{version}\"");
                if request.method() == "PUT" {
                    document.change();
                }
                Ok::<_, Infallible>(with_lines(&[("etag", &tag)], version.to_string()))
            }
        });
        service.boxed_clone()
    }
}

type Request = http::Request<Body>;

fn windowed() -> PolicyBuilder {
    policy().stale_while_revalidate(10 * MINUTE).stale_if_error(10 * MINUTE)
}

fn save(tag: &str) -> Request {
    request("PUT", "/document", &[("if-match", tag)])
}

async fn status<S, B>(stack: &S, request: Request) -> u16
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    send(stack, request).await.status.as_u16()
}

/// Asserts that a write based on a stored page gets 412 after the document has changed.
///
/// `inner` adds the cache layers between `PreconditionLayer` and the document.
async fn assert_412_after_a_change(cache: &Cache, inner: impl Fn(Inner) -> Stack, soft: bool) {
    let document = Document::default();
    let stack = inner(document.service(false, Duration::ZERO));
    let stack = PreconditionLayer::by_get().layer(stack);
    assert_eq!(send(&stack, get("/document")).await.header("etag"), Some("\"0\""));
    assert!(send(&stack, get("/document")).await.is_hit());
    document.change();
    if soft {
        assert_eq!(cache.invalidate(Invalidation::path("/document").soft()).await, Delivery::Delivered);
    }
    assert_eq!(status(&stack, save("\"0\"")).await, 412);
    assert_eq!(status(&stack, save("\"1\"")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_gets_no_stored_page() {
    for soft in [true, false] {
        for policy in [windowed(), Policy::rfc9111().default_ttl(MINUTE).cache_status(true)] {
            let cache = memory();
            let site = |inner: Inner| {
                SiteCacheLayer::new(&cache)
                    .policy(policy.clone().build().expect("a policy"))
                    .layer(inner)
                    .boxed_clone()
            };
            assert_412_after_a_change(&cache, site, soft).await;
        }
        let cache = memory();
        let nested = |inner: Inner| {
            let route = RouteCacheLayer::new(&cache, MINUTE)
                .policy(windowed().build().expect("a policy"))
                .layer(inner);
            let site = SiteCacheLayer::new(&cache).policy(windowed().build().expect("a policy")).layer(route);
            let anonymous = AnonymousOnlyLayer::new().layer(site);
            let flat = service_fn(move |request: Request| {
                let anonymous = anonymous.clone();
                async move {
                    let (parts, body) = anonymous.oneshot(request).await?.into_parts();
                    let bytes = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
                    Ok::<_, Infallible>(http::Response::from_parts(parts, Body::from(bytes)))
                }
            });
            // With this further cache layer, both stacks have the same type.
            let outermost = Policy::app().name("outermost");
            SiteCacheLayer::new(&cache).policy(outermost.build().expect("a policy")).layer(flat).boxed_clone()
        };
        assert_412_after_a_change(&cache, nested, soft).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_gets_no_stale_page() {
    let (cache, manual) = timed();
    let document = Document::default();
    let fails = Arc::new(AtomicUsize::new(0));
    let (inner, failing) = (document.service(false, Duration::ZERO), Arc::clone(&fails));
    let service = service_fn(move |request: Request| {
        let (inner, failing) = (inner.clone(), Arc::clone(&failing));
        async move {
            let mut response = inner.oneshot(request).await?;
            if failing.load(Ordering::SeqCst) > 0 {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let cached = SiteCacheLayer::new(&cache).policy(windowed().build().expect("a policy")).layer(service);
    let stack = PreconditionLayer::by_get().layer(cached);
    send(&stack, get("/document")).await;
    manual.advance(2 * MINUTE);
    document.change();
    assert_eq!(status(&stack, save("\"0\"")).await, 412);
    fails.store(1, Ordering::SeqCst);
    assert_eq!(status(&stack, save("\"1\"")).await, 412, "a failed GET has no current tag, so none matches");
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_joins_no_flight() {
    let document = Document::default();
    let inner = document.service(false, Duration::from_secs(1));
    let cached = SiteCacheLayer::new(&memory()).policy(windowed().build().expect("a policy")).layer(inner);
    let stack = PreconditionLayer::by_get().layer(cached);
    let mut reader = std::pin::pin!(send(&stack, get("/document")));
    assert!(futures::poll!(&mut reader).is_pending());
    document.change();
    assert_eq!(status(&stack, save("\"0\"")).await, 412);
    assert_eq!(reader.await.header("etag"), Some("\"0\""));
}

#[tokio::test(start_paused = true)]
async fn a_weak_tag_matches_no_if_match() {
    let document = Document::default();
    let cached = SiteCacheLayer::new(&memory())
        .policy(policy().build().expect("a policy"))
        .layer(document.service(true, Duration::ZERO));
    let stack = PreconditionLayer::by_get().layer(cached);
    for tag in ["W/\"0\"", "\"0\""] {
        assert_eq!(status(&stack, save(tag)).await, 412, "{tag}");
    }
    assert_eq!(status(&stack, save("*")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn under_app_a_client_gets_stored_pages_despite_no_cache() {
    let (stack, calls) = site(policy(), |_, call| numbered(&[], call));
    for lines in [[("cache-control", "no-cache")], [("pragma", "no-cache")], [("needs-current", "1")]] {
        send(&stack, get_with("/", &lines)).await;
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_does_not_stop_collapsing() {
    let (cached, calls) = site(policy(), |_, call| numbered(&[("etag", "\"1\"")], call));
    let stack = PreconditionLayer::by_get().layer(cached);
    assert_eq!(status(&stack, save("\"0\"")).await, 412);
    let before = calls.count();
    tokio::join!(send(&stack, get("/document")), send(&stack, get("/document")));
    assert_eq!(calls.count(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_omits_fields_of_the_write() {
    let of_the_write = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-http-verb", "DELETE"),
        ("idempotency-key", "1"),
        ("x-idempotency-key", "1"),
        ("repeatability-request-id", "1"),
        ("content-type", "text/plain"),
        ("content-range", "bytes 0-1/2"),
        ("content-md5", "AA=="),
        ("content-digest", "sha-256=:AA==:"),
        ("content-language", "en"),
        ("content-location", "/other"),
        ("digest", "sha-256=AA=="),
        ("repr-digest", "sha-256=:AA==:"),
        ("want-repr-digest", "sha-256=1"),
        ("x-amz-checksum-sha256", "AA=="),
        ("trailer", "content-digest"),
        ("upgrade", "websocket"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("if", "(<urn:uuid:1>)"),
        ("if-none-match", "\"2\""),
        ("if-schedule-tag-match", "\"1\""),
        ("lock-token", "<urn:uuid:1>"),
        ("destination", "/other"),
        ("depth", "infinity"),
        ("overwrite", "F"),
        ("timeout", "Infinite"),
        ("expect", "100-continue"),
        ("prefer", "return=minimal"),
        ("range", "bytes=0-1"),
    ];
    let kept = [
        ("host", "shop.example"),
        ("x-forwarded-host", "shop.example"),
        ("authorization", "Bearer 1"),
        ("cookie", "a=1"),
        ("accept", "text/html"),
        ("user-agent", "kind"),
        ("x-tenant", "blue"),
    ];
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (inner, calls) = origin(move |request, call| {
        log.lock().expect("not poisoned").push((request.method().clone(), request.headers().clone()));
        numbered(&[("etag", "\"1\"")], call)
    });
    let stack = PreconditionLayer::by_get().layer(inner);
    let lines: Vec<_> = of_the_write.into_iter().chain(kept).chain([("if-match", "\"1\"")]).collect();
    assert_eq!(send(&stack, request("PUT", "/document", &lines)).await.status, 200);
    let seen = seen.lock().expect("not poisoned");
    let mut names: Vec<_> = seen[0].1.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let mut expected: Vec<_> = kept.iter().map(|(name, _)| *name).chain(["cache-control"]).collect();
    expected.sort_unstable();
    assert_eq!((calls.count(), seen[0].0.as_str(), names), (2, "GET", expected));
    assert!(lines.iter().all(|(name, _)| seen[1].1.contains_key(*name)), "the write keeps all of its fields");
}

#[tokio::test(start_paused = true)]
async fn the_get_for_the_current_tag_has_no_method_override() {
    for field in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let document = Document::default();
        let changed = document.clone();
        let (inner, _) = origin(move |request, _| {
            let version = changed.0.load(Ordering::SeqCst);
            if request.headers().contains_key(field) || request.method() != "GET" {
                changed.change();
            }
            with_lines(&[("etag", &format!("\"{version}\""))], "")
        });
        let stack = PreconditionLayer::by_get().layer(inner);
        let write = |tag: &str| request("POST", "/document", &[("if-match", tag), (field, "DELETE")]);
        assert_eq!(status(&stack, write("\"5\"")).await, 412, "{field}");
        assert_eq!(document.0.load(Ordering::SeqCst), 0, "{field}");
        assert_eq!(status(&stack, write("\"0\"")).await, 200, "{field}");
        assert_eq!(document.0.load(Ordering::SeqCst), 1, "{field}");
    }
}
