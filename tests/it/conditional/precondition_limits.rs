//! Limits of `PreconditionLayer`: how long a write waits for the lock of its resource, and how long
//! a write holds the lock while others wait.
//!
//! Writes to one resource never overlap, because each write holds the lock until it ends.

use crate::support::*;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{join_all, poll_immediate};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{PreconditionLayer, SiteCacheLayer};

const SECOND: Duration = Duration::from_secs(1);

/// The content of a write, which may stall forever.
#[derive(Default)]
struct Upload {
    stalls: bool,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stalls { Poll::Pending } else { Poll::Ready(None) }
    }

    fn is_end_stream(&self) -> bool {
        !self.stalls
    }

    fn size_hint(&self) -> SizeHint {
        if self.stalls { SizeHint::default() } else { SizeHint::with_exact(0) }
    }
}

type Service = BoxCloneService<Request<Upload>, Response<ResponseBody<Body>>, Infallible>;

/// A log of the beginning and the end of each write, filled by the handler.
#[derive(Clone, Default)]
struct Document(Arc<Mutex<Vec<String>>>);

/// A write in progress. Its end is logged on drop, also after a panic or a cancellation.
struct Writing(Document, String);

impl Document {
    fn note(&self, what: String) {
        self.0.lock().expect("not poisoned").push(what);
    }

    /// Returns the log, and asserts that no two writes overlapped.
    fn log(&self) -> Vec<String> {
        let log = self.0.lock().expect("not poisoned").clone();
        for pair in log.chunks(2) {
            if let [begin, end] = pair {
                assert_eq!(begin.replace("begins", "ends"), *end, "two writes overlap: {log:?}");
            }
        }
        log
    }

    /// Returns a handler that reads the content of a write and then takes `x-seconds` seconds.
    fn handler(
        &self,
    ) -> impl tower::Service<Request<Upload>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let document = self.clone();
        service_fn(move |request: Request<Upload>| {
            let document = document.clone();
            async move {
                let (parts, body) = request.into_parts();
                if parts.method != "GET" {
                    let text = |name: &str| parts.headers.get(name).map_or("", |v| v.to_str().expect("text"));
                    document.note(format!("{} begins", text("x-editor")));
                    let _writing = Writing(document.clone(), text("x-editor").to_owned());
                    let seconds: u32 = text("x-seconds").parse().unwrap_or_default();
                    body.collect().await.expect("infallible");
                    sleep(seconds * SECOND).await;
                    assert!(text("x-editor") != "panics", "the handler panics");
                }
                Ok(with_lines(&[("etag", "\"1\"")], ""))
            }
        })
    }

    fn with(&self, layer: &PreconditionLayer) -> Service {
        layer.layer(self.handler()).boxed_clone()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.note(format!("{} ends", self.1));
    }
}

fn layer() -> PreconditionLayer {
    PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) })
}

fn write(editor: &str, seconds: u32) -> Request<Upload> {
    let lines = [("if-match", "\"1\""), ("x-editor", editor), ("x-seconds", &seconds.to_string())];
    request("PUT", "/document", &lines).map(|_| Upload::default())
}

/// A write whose content stalls forever.
fn stalled(editor: &str) -> Request<Upload> {
    write(editor, 0).map(|_| Upload { stalls: true })
}

async fn status(service: &Service, request: Request<Upload>) -> u16 {
    read(service.clone().oneshot(request).await.expect("infallible")).await.status.as_u16()
}

/// Waits `seconds` seconds, then sends a request.
///
/// Returns the status, and the seconds from the call of this function to the response.
async fn after(seconds: u32, service: &Service, request: Request<Upload>) -> (u16, u64) {
    let began = Instant::now();
    sleep(seconds * SECOND).await;
    let status = status(service, request).await;
    (status, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_write_with_stalled_content_is_cut_off_after_30_seconds() {
    let document = Document::default();
    for service in
        [document.with(&layer()), PreconditionLayer::by_get().layer(document.handler()).boxed_clone()]
    {
        let outcome = tokio::join!(
            after(0, &service, stalled("a")),
            after(5, &service, write("b", 1)),
            after(25, &service, write("c", 1)),
            after(26, &service, write("d", 1)),
        );
        assert_eq!(outcome, ((408, 30), (503, 15), (200, 31), (200, 32)));
    }
    let once = ["a begins", "a ends", "c begins", "c ends", "d begins", "d ends"];
    assert_eq!(document.log(), [once, once].concat());
}

#[tokio::test(start_paused = true)]
async fn a_write_without_waiters_has_no_time_limit() {
    let document = Document::default();
    let service = document.with(&layer());
    assert_eq!(after(0, &service, write("a", 3600)).await, (200, 3600));
    // These requests do not count as waiters: writes to other resources, reads, and writes that
    // were refused or dropped while they waited.
    let mut other = write("other", 40);
    *other.uri_mut() = "/other".parse().expect("a path");
    let left = async {
        sleep(25 * SECOND).await;
        tokio::time::timeout(SECOND, status(&service, write("left", 0)))
            .await
            .expect_err("the first write still holds the lock");
    };
    let outcome = tokio::join!(
        after(0, &service, write("a", 40)),
        after(0, &service, other),
        after(20, &service, get("/document").map(|_| Upload::default())),
        after(5, &service, write("b", 0)),
        left,
    );
    assert_eq!(outcome, ((200, 40), (200, 40), (200, 20), (503, 15), ()));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_arrives_past_the_hold_limit_runs_at_once() {
    let document = Document::default();
    let service = document.with(&layer());
    let outcome = tokio::join!(after(0, &service, stalled("a")), after(100, &service, write("b", 2)));
    assert_eq!(outcome, ((408, 100), (200, 102)));
    assert_eq!(document.log(), ["a begins", "a ends", "b begins", "b ends"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_503_after_10_seconds_and_no_handler_runs() {
    let document = Document::default();
    let service = document.with(&layer());
    let mut holder = pin!(after(0, &service, write("a", 20)));
    assert!(poll_immediate(&mut holder).await.is_none());
    let began = Instant::now();
    let refused = read(service.clone().oneshot(write("b", 0)).await.expect("infallible")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("10")));
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert_eq!(holder.await, (200, 20));
    assert_eq!(document.log(), ["a begins", "a ends"]);
}

#[tokio::test(start_paused = true)]
async fn hold_limit_starts_when_the_write_gets_the_lock() {
    let document = Document::default();
    let service = document.with(&layer().wait_timeout(None));
    let outcome = tokio::join!(
        after(0, &service, write("a", 20)),
        after(1, &service, write("b", 29)),
        after(2, &service, stalled("c")),
        after(3, &service, write("d", 1)),
    );
    assert_eq!(outcome, ((200, 20), (200, 49), (408, 79), (200, 80)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_leaves_or_panics_releases_the_lock() {
    let document = Document::default();
    let service = document.with(&layer());
    let mut holder = Box::pin(status(&service, stalled("leaves")));
    let mut gone = Box::pin(status(&service, write("gone", 0)));
    let panics = AssertUnwindSafe(status(&service, write("panics", 1))).catch_unwind();
    let (mut panics, mut last) = (Box::pin(panics), Box::pin(status(&service, write("last", 0))));
    assert!(poll_immediate(&mut holder).await.is_none());
    assert!(poll_immediate(&mut gone).await.is_none());
    assert!(poll_immediate(&mut panics).await.is_none());
    assert!(poll_immediate(&mut last).await.is_none());
    drop(gone);
    drop(holder);
    let (panicked, last) = tokio::join!(panics, last);
    assert_eq!((panicked.is_err(), last), (true, 200));
    let expected =
        ["leaves begins", "leaves ends", "panics begins", "panics ends", "last begins", "last ends"];
    assert_eq!(document.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_writes_wait_in_order_and_more_are_refused() {
    let document = Document::default();
    let service = document.with(&layer().wait_timeout(None));
    let editors: Vec<_> = (0..105).map(|editor| editor.to_string()).collect();
    let outcomes = join_all(editors.iter().map(|editor| after(0, &service, write(editor, 1)))).await;
    let expected: Vec<_> = (1..=101).map(|second| (200, second)).chain([(503, 0); 4]).collect();
    assert_eq!(outcomes, expected);
    let begun: Vec<_> = document.log().into_iter().step_by(2).collect();
    assert_eq!(begun, editors[..101].iter().map(|editor| format!("{editor} begins")).collect::<Vec<_>>());
    // The queue of waiting writes is empty again.
    let outcomes = join_all(editors[..101].iter().map(|editor| after(0, &service, write(editor, 0)))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == (200, 0)));
}

#[tokio::test(start_paused = true)]
async fn wait_and_hold_limits_can_be_set_or_turned_off() {
    let document = Document::default();
    let at_once = document.with(&layer().wait_timeout(Duration::ZERO));
    let outcome = tokio::join!(after(0, &at_once, write("a", 1)), after(0, &at_once, write("b", 1)));
    assert_eq!(outcome, ((200, 1), (503, 0)));
    let gives_way = document.with(&layer().hold_timeout(Duration::ZERO));
    let outcome = tokio::join!(after(0, &gives_way, stalled("a")), after(2, &gives_way, write("b", 1)));
    assert_eq!(outcome, ((408, 2), (200, 3)));
    let limits = layer().wait_timeout(Duration::from_millis(2_500)).hold_timeout(5 * SECOND);
    let limited = document.with(&limits);
    let mut holder = pin!(after(0, &limited, stalled("a")));
    assert!(poll_immediate(&mut holder).await.is_none());
    let refused = read(limited.clone().oneshot(write("b", 0)).await.expect("infallible")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("3")));
    assert_eq!(tokio::join!(holder, after(1, &limited, write("c", 0))), ((408, 5), (200, 2)));
    for limit in [None, Some(Duration::MAX)] {
        let unlimited = document.with(&layer().wait_timeout(limit).hold_timeout(limit));
        let outcome =
            tokio::join!(after(0, &unlimited, write("a", 9999)), after(0, &unlimited, write("b", 1)));
        assert_eq!(outcome, ((200, 9999), (200, 10_000)));
    }
    document.log();
}

#[tokio::test(start_paused = true)]
async fn the_hold_limit_covers_validator_functions_that_hang() {
    let layer = PreconditionLayer::new().etag(|request| async move {
        if request.headers["x-editor"] == "a" {
            std::future::pending::<()>().await;
        }
        Some(EntityTag::strong("1"))
    });
    let service = Document::default().with(&layer);
    let outcome = tokio::join!(after(0, &service, write("a", 0)), after(29, &service, write("b", 0)));
    assert_eq!(outcome, ((408, 30), (200, 30)));
}

#[tokio::test(start_paused = true)]
async fn a_nested_write_is_refused_while_a_third_holds_the_lock() {
    let document = Document::default();
    let service = document.with(&layer());
    let within = service.clone();
    let outer = layer();
    let inner = service_fn(move |_: Request<Upload>| {
        let within = within.clone();
        async move { within.oneshot(write("within", 0)).await }
    });
    // While the outer write runs, the third write holds the lock of the inner layer.
    let stack = outer.layer(inner).boxed_clone();
    let stacked = async {
        let response = stack.oneshot(write("outer", 0)).await.expect("infallible");
        read(response).await.status.as_u16()
    };
    assert_eq!(tokio::join!(after(0, &service, write("third", 20)), stacked), ((200, 20), 503));
}

/// A write that is cut off may still be committed, by its handler or by a task that the handler
/// spawned. A refused write never reached the handler.
#[tokio::test(start_paused = true)]
async fn a_cut_off_write_invalidates_and_a_refused_one_does_not() {
    let document = Document::default();
    let inner = layer().layer(document.handler());
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let read_page = async || {
        let page = get("/document").map(|_| Upload::default());
        read(stack.clone().oneshot(page).await.expect("infallible")).await.is_hit()
    };
    let save = async |seconds, upload| {
        sleep(seconds * SECOND).await;
        read(stack.clone().oneshot(upload).await.expect("infallible")).await.status.as_u16()
    };
    assert_eq!((read_page().await, read_page().await), (false, true));
    let mut holder = pin!(save(0, stalled("a")));
    assert!(poll_immediate(&mut holder).await.is_none());
    assert_eq!(save(0, write("b", 0)).await, 503);
    assert!(read_page().await);
    let mut third = pin!(save(15, write("c", 30)));
    tokio::select! {
        cut_off = holder => assert_eq!(cut_off, 408),
        _ = &mut third => panic!("the third writer waits for the first"),
    }
    assert!(!read_page().await);
}

/// A nested axum router removes the prefix of its routes, so the inner layers see equal paths.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn writes_to_different_public_paths_do_not_wait_for_each_other() {
    let document = Document::default();
    let service = document.with(&layer());
    let nested = |prefix: &str| {
        let mut request = write("a", 5);
        let public = format!("{prefix}{}", request.uri()).parse().expect("a path");
        request.extensions_mut().insert(axum::extract::OriginalUri(public));
        request
    };
    let outcome = tokio::join!(
        after(0, &service, nested("/one")),
        after(0, &service, nested("/two")),
        after(0, &service, nested("/two")),
    );
    assert_eq!(outcome, ((200, 5), (200, 5), (200, 10)));
}
