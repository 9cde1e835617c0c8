//! `PreconditionLayer` evaluates preconditions before the handler runs, so that no update is lost.

use crate::support::rfc9111::SECOND;
use crate::support::selected::SAFE;
use crate::support::*;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::{PreconditionLayer, SiteCacheLayer};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn modified() -> SystemTime {
    // Has a fraction of a second, which an HTTP date cannot express.
    SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900)
}

/// A layer that has validators for every path except `/none`.
fn layer() -> PreconditionLayer {
    PreconditionLayer::new()
        .etag(|request| async move { (request.uri.path() != "/none").then(|| EntityTag::strong("1")) })
        .last_modified(|request| async move { (request.uri.path() != "/none").then(modified) })
}

#[tokio::test]
async fn preconditions_are_answered_without_running_the_handler() {
    let (inner, calls) = origin(|_, call| numbered(&[("content-type", "text/plain")], call));
    let stack = layer().layer(inner);
    type Lines<'a> = &'a [(&'a str, &'a str)];
    let table: [(&str, &str, Lines<'_>, u16); 20] = [
        ("GET", "/", &[], 200),
        ("GET", "/", &[("if-none-match", "\"1\"")], 304),
        ("HEAD", "/", &[("if-none-match", "\"1\"")], 304),
        ("GET", "/", &[("if-none-match", "\"0\"")], 200),
        ("GET", "/", &[("if-modified-since", MODIFIED)], 304),
        ("GET", "/", &[("if-match", "\"0\"")], 412),
        ("PUT", "/", &[], 200),
        ("PUT", "/", &[("if-match", "\"1\"")], 200),
        ("PUT", "/", &[("if-match", "\"0\"")], 412),
        ("PUT", "/", &[("if-match", "W/\"1\"")], 412),
        ("PATCH", "/", &[("if-match", "\"0\"")], 412),
        ("DELETE", "/", &[("if-match", "\"0\"")], 412),
        ("PUT", "/", &[("if-unmodified-since", MODIFIED)], 200),
        ("PUT", "/", &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], 412),
        ("PUT", "/", &[("if-none-match", "*")], 412),
        ("PUT", "/none", &[("if-none-match", "*")], 200),
        ("PUT", "/none", &[("if-match", "*")], 412),
        ("OPTIONS", "/", &[("if-match", "\"0\"")], 200),
        ("PUT", "/", &[("if-match", "nonsense")], 412),
        ("PUT", "/", &[("if-unmodified-since", "nonsense")], 200),
    ];
    for (method, path, conditions, status) in table {
        let before = calls.count();
        let answer = send(&stack, request(method, path, conditions)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {conditions:?}");
        assert_eq!(calls.count() - before, usize::from(status == 200), "{method} {path} {conditions:?}");
        if status == 304 {
            assert_eq!(
                (answer.header("etag"), answer.header("last-modified")),
                (Some("\"1\""), Some(MODIFIED))
            );
            assert_eq!(answer.header("content-type"), None);
        }
    }
}

#[tokio::test]
async fn validators_are_added_to_successful_reads_without_them() {
    let (inner, _) = origin(|request, call| {
        let mut response = match request.uri().path() {
            "/own" => numbered(&[("etag", "\"own\"")], call),
            _ => numbered(&[], call),
        };
        if request.uri().path() == "/error" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    });
    let stack = layer().layer(inner);
    for (method, path, etag, date) in [
        ("GET", "/", Some("\"1\""), Some(MODIFIED)),
        ("HEAD", "/", Some("\"1\""), Some(MODIFIED)),
        ("GET", "/own", Some("\"own\""), Some(MODIFIED)),
        ("GET", "/none", None, None),
        ("GET", "/error", None, None),
        ("PUT", "/", None, None),
    ] {
        let answer = send(&stack, request(method, path, &[])).await;
        assert_eq!((answer.header("etag"), answer.header("last-modified")), (etag, date), "{method} {path}");
    }
}

#[tokio::test]
async fn a_write_without_a_required_precondition_gets_428() {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let stack = layer().require_precondition().layer(inner);
    for method in ["PUT", "PATCH", "DELETE", "POST"] {
        assert_eq!(send(&stack, request(method, "/", &[])).await.status, 428, "{method}");
        assert_eq!(send(&stack, request(method, "/", &[("if-modified-since", MODIFIED)])).await.status, 428);
        assert_eq!(send(&stack, request(method, "/", &[("if-match", "\"1\"")])).await.status, 200);
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(send(&stack, request(method, "/", &[])).await.status, 200, "{method}");
    }
    assert_eq!(calls.count(), 7);
}

/// A document with a version. Its handler pauses before each write.
#[derive(Clone, Default)]
struct Document {
    version: Arc<AtomicUsize>,
    writers: Arc<Mutex<Vec<String>>>,
}

impl Document {
    fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let document = self.clone();
        service_fn(move |request: Request<Body>| {
            let document = document.clone();
            async move {
                if request.method() == "PUT" {
                    sleep(Duration::from_millis(20)).await;
                    let writer = request.headers()["x-editor"].to_str().expect("text").to_owned();
                    document.writers.lock().expect("no panic").push(writer);
                    document.version.fetch_add(1, Ordering::SeqCst);
                }
                let tag = EntityTag::strong(document.version.load(Ordering::SeqCst).to_string());
                Ok(with_lines(&[("etag", &tag.to_string())], "text"))
            }
        })
    }

    fn layer(&self) -> PreconditionLayer {
        let version = Arc::clone(&self.version);
        PreconditionLayer::new().etag(move |_| {
            let version = Arc::clone(&version);
            async move { Some(EntityTag::strong(version.load(Ordering::SeqCst).to_string())) }
        })
    }
}

/// Loads a version for all editors, sends their saves concurrently, and returns the sorted
/// statuses.
async fn save_at_once<S, B>(stack: &S, editors: usize) -> Vec<u16>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    let loaded = send(stack, get("/document")).await.header("etag").expect("a tag").to_owned();
    let saves = (0..editors).map(|editor| {
        let editor = editor.to_string();
        let save = request("PUT", "/document", &[("if-match", &loaded), ("x-editor", &editor)]);
        async move { send(stack, save).await.status.as_u16() }
    });
    let mut statuses = join_all(saves).await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(start_paused = true)]
async fn one_of_two_concurrent_conditional_writes_is_refused() {
    let document = Document::default();
    let stack = document.layer().layer(document.service());
    assert_eq!(save_at_once(&stack, 2).await, [200, 412]);
    assert_eq!(save_at_once(&stack, 10).await[..2], [200, 412]);
    assert_eq!(document.writers.lock().expect("no panic").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn writes_to_one_path_are_serialized_in_any_spelling_and_host() {
    let document = Document::default();
    let stack = document.layer().layer(document.service());
    let save =
        |uri: &str, host| request("PUT", uri, &[("host", host), ("if-match", "\"0\""), ("x-editor", "0")]);
    let saves = [save("/doc", "a"), save("/%64oc", "a"), save("http://a/doc", "a"), save("/doc", "A:80")];
    let mut statuses: Vec<_> = join_all(saves.map(|save| send(&stack, save)))
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412]);
}

#[tokio::test(start_paused = true)]
async fn nesting_the_same_layer_twice_does_not_deadlock() {
    let document = Document::default();
    let layer = document.layer();
    let stack = layer.layer(layer.layer(document.service()));
    let save = request("PUT", "/", &[("if-match", "\"0\""), ("x-editor", "0")]);
    assert_eq!(stack.oneshot(save).await.expect("infallible").status(), 200);
}

/// These preconditions cannot prevent a lost update: they are malformed, need a date that the layer
/// does not have, or only forbid a version that is not the current one.
#[tokio::test]
async fn a_precondition_without_effect_gets_428() {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let by_tag =
        PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) }).require_precondition();
    let stack = by_tag.layer(inner);
    for line in [
        ("if-unmodified-since", "garbage"),
        ("if-unmodified-since", MODIFIED),
        ("if-none-match", "garbage"),
        ("if-none-match", "\"x\""),
        ("if-none-match", ""),
    ] {
        assert_eq!(send(&stack, request("PUT", "/", &[line])).await.status, 428, "{line:?}");
    }
    assert_eq!(send(&stack, request("PUT", "/", &[("if-none-match", "*")])).await.status, 412);
    assert_eq!(calls.count(), 0);
}

#[tokio::test]
async fn a_write_is_refused_if_the_get_for_validators_fails() {
    for (status, written) in
        [(500, false), (503, false), (401, false), (302, false), (404, true), (410, true)]
    {
        let (inner, _) = origin(move |request, call| {
            let mut response = numbered(&[], call);
            if request.method() == "GET" {
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            }
            response
        });
        let stack = PreconditionLayer::by_get().layer(inner);
        let answer = send(&stack, request("PUT", "/", &[("if-none-match", "*")])).await;
        assert_eq!(answer.status.as_u16(), if written { 200 } else { 412 }, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_get_takes_the_current_tag_from_the_handler() {
    let document = Document::default();
    let stack = PreconditionLayer::by_get().require_precondition().layer(document.service());
    assert_eq!(save_at_once(&stack, 2).await, [200, 412]);
    assert_eq!(send(&stack, request("PUT", "/document", &[("x-editor", "0")])).await.status, 428);
    assert_eq!(document.writers.lock().expect("no panic").len(), 1);
    // `by_get` evaluates only the conditions of writes.
    assert_eq!(send(&stack, get_with("/document", &[("if-none-match", "*")])).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_get_for_validators_has_credentials_and_no_content_fields() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (inner, _) = origin(move |request, call| {
        let fields: Vec<_> = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
        log.lock().expect("no panic").push((request.method().clone(), fields));
        numbered(&[("etag", "\"1\"")], call)
    });
    let stack = PreconditionLayer::by_get().layer(inner);
    let lines = [
        ("authorization", "x"),
        ("if-match", "\"1\""),
        ("content-type", "text/plain"),
        ("content-length", "0"),
    ];
    assert_eq!(send(&stack, request("PUT", "/", &lines)).await.status, 200);
    let seen = seen.lock().expect("no panic");
    assert_eq!(
        (seen[0].0.as_str(), &seen[0].1[..]),
        ("GET", &["authorization".to_owned(), "cache-control".to_owned()][..])
    );
    assert_eq!((seen[1].0.as_str(), seen[1].1.len()), ("PUT", 4));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_write_lets_the_next_one_run() {
    let document = Document::default();
    let stack = document.layer().layer(document.service());
    let save = || request("PUT", "/document", &[("if-match", "\"0\""), ("x-editor", "0")]);
    let mut first = Box::pin(stack.clone().oneshot(save()));
    assert!(futures::poll!(&mut first).is_pending());
    let second = stack.clone().oneshot(save());
    let mut second = Box::pin(second);
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(second.await.expect("infallible").status(), 200);
}

#[tokio::test]
async fn inside_a_cache_layer_validators_are_stored() {
    let document = Document::default();
    let inner = document.layer().layer(document.service());
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let read_page = async |conditions: &[(&str, &str)]| {
        let request = get_with("/document", conditions);
        read(stack.clone().oneshot(request).await.expect("infallible")).await
    };
    read_page(&[]).await;
    let hit = read_page(&[("if-none-match", "\"0\"")]).await;
    assert_eq!((hit.status.as_u16(), hit.is_hit()), (304, true));
    let save = request("PUT", "/document", &[("if-match", "\"0\""), ("x-editor", "a")]);
    assert_eq!(stack.clone().oneshot(save).await.expect("infallible").status(), 200);
    let page = read_page(&[("if-none-match", "\"0\"")]).await;
    assert_eq!((page.status.as_u16(), page.header("etag")), (200, Some("\"1\"")));
}

/// RFC 9110 section 13.2.1: preconditions are ignored if the method neither selects nor modifies a
/// representation.
#[tokio::test(start_paused = true)]
async fn a_safe_method_needs_no_precondition_and_waits_for_no_write() {
    let inner = service_fn(|request: Request<Body>| async move {
        if request.method() == "PUT" {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Body::from("found")))
    });
    let layer =
        PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) }).require_precondition();
    let stack = layer.layer(inner);
    let write = tokio::spawn(stack.clone().oneshot(request("PUT", "/", &[("if-match", "\"1\"")])));
    tokio::time::sleep(SECOND).await;
    for method in SAFE {
        for lines in [&[][..], &[("if-match", "\"0\"")]] {
            let answer = tokio::time::timeout(SECOND, send(&stack, request(method, "/", lines))).await;
            assert_eq!(answer.expect("waits for no write").status, 200, "{method} {lines:?}");
        }
    }
    write.abort();
}

/// RFC 9110 section 15.4.5: a 304 has the `Cache-Control` and `Vary` of its 200.
#[tokio::test]
async fn outer_layers_add_the_fields_of_a_200_to_a_304() {
    let condition = PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) });
    let control = SetCacheControlLayer::new(CacheControl::new().max_age(MINUTE)).expect("valid");
    let vary = AddVaryLayer::new(["accept"]).expect("valid");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = vary.layer(control.layer(condition.layer(inner)));
    for (lines, status) in [(&[][..], 200), (&[("if-none-match", "\"1\"")], 304)] {
        let answer = send(&stack, get_with("/", lines)).await;
        let fields = ["etag", "cache-control", "vary"].map(|name| answer.header(name));
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(fields, [Some("\"1\""), Some("max-age=60"), Some("accept")], "{status}");
    }
}
