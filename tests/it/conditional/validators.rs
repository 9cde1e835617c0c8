//! `ConditionalGetLayer` adds validators to responses without them, and evaluates conditions and
//! ranges.

use crate::support::*;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::prelude::*;
use std::convert::Infallible;
use std::io;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{ConditionalGetLayer, SiteCacheLayer};

type Tagged = BoxCloneService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;

type Lines<'a> = &'a [(&'a str, &'a str)];

/// A service that always sends the same response, behind the layer.
fn tagged(lines: &'static [(&'static str, &'static str)], body: &'static str) -> Tagged {
    ConditionalGetLayer::new().strong().layer(origin(move |_, _| with_lines(lines, body)).0).boxed_clone()
}

/// The strong tag of "page".
const PAGE: &str = "\"3660315a9af3df255d8f19ab077e4797\"";

#[tokio::test]
async fn a_complete_response_without_a_tag_gets_a_strong_one() {
    let stack = tagged(&[], "page");
    for method in ["GET", "HEAD"] {
        let answer = send(&stack, request(method, "/", &[])).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, Some(PAGE)), "{method}");
    }
    let weak = ConditionalGetLayer::new().weak().layer(origin(|_, _| with_lines(&[], "page")).0);
    assert_eq!(send(&weak, get("/")).await.header("etag"), Some(&*format!("W/{PAGE}")));
}

#[tokio::test]
async fn tagged_no_store_empty_and_error_responses_are_unchanged() {
    for (lines, body, status) in [
        (&[("etag", "\"own\"")][..], "page", 200),
        (&[("cache-control", "no-store")], "page", 200),
        (&[], "", 200),
        (&[], "page", 404),
        (&[], "page", 201),
    ] {
        let inner = origin(move |_, _| {
            let mut response = with_lines(lines, body);
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response
        });
        let answer = send(&ConditionalGetLayer::new().strong().layer(inner.0), get("/")).await;
        let own = lines.iter().find(|(name, _)| *name == "etag").map(|(_, value)| *value);
        assert_eq!((answer.header("etag"), answer.text()), (own, body), "{lines:?} {status}");
    }
    let answer = send(&tagged(&[], "page"), request("POST", "/", &[("if-none-match", "*")])).await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, None));
}

#[tokio::test]
async fn conditions_and_ranges_are_evaluated() {
    let stack = tagged(&[("content-type", "text/plain"), ("content-length", "4")], "page");
    let table: [(Lines<'_>, u16, &str); 9] = [
        (&[("if-none-match", PAGE)], 304, ""),
        (&[("if-none-match", "*")], 304, ""),
        (&[("if-none-match", "\"x\"")], 200, "page"),
        (&[("if-match", PAGE)], 200, "page"),
        (&[("if-match", "\"x\"")], 412, ""),
        (&[("range", "bytes=1-2")], 206, "ag"),
        (&[("range", "bytes=1-2"), ("if-range", PAGE)], 206, "ag"),
        (&[("range", "bytes=1-2"), ("if-range", "\"x\"")], 200, "page"),
        (&[("range", "bytes=9-")], 416, ""),
    ];
    for (conditions, status, text) in table {
        let answer = send(&stack, get_with("/", conditions)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, text), "{conditions:?}");
        let described = answer.header("content-type").is_some();
        assert_eq!(described, matches!(status, 200 | 206), "{conditions:?}");
    }
}

#[tokio::test]
async fn a_last_modified_of_the_service_is_evaluated_while_streaming() {
    let inner = service_fn(|_: Request<Body>| async {
        let frames = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut response = Response::new(StreamBody::new(frames));
        let modified = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        response.headers_mut().insert("last-modified", modified);
        Ok::<_, Infallible>(response)
    });
    let stack = ConditionalGetLayer::new().strong().layer(inner);
    let since = get_with("/", &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")]);
    let answer = send(&stack, since).await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (304, None));
    assert_eq!(answer.header("last-modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
}

/// The client gets the frames that the layer has read ahead, first and in order.
#[tokio::test]
async fn an_incomplete_body_is_not_held_back_and_gets_no_tag() {
    let (mut sender, receiver) = mpsc::channel(4);
    let body = StreamBody::new(
        receiver.map(|text: &'static str| Ok::<_, io::Error>(Frame::data(Bytes::from(text)))),
    );
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let inner = service_fn(move |_: Request<Body>| {
        let body = body.lock().expect("no panic").take().expect("called once");
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    for text in ["first ", "second "] {
        sender.send(text).await.expect("open");
    }
    let mut response =
        ConditionalGetLayer::new().strong().layer(inner).oneshot(get("/")).await.expect("infallible");
    assert_eq!(response.headers().get("etag"), None);
    let first = response.body_mut().frame().await.expect("a frame").expect("data").into_data().expect("data");
    assert_eq!(first, "first ");
    sender.send("third").await.expect("open");
    drop(sender);
    assert_eq!(read(response).await.text(), "second third");
}

#[tokio::test]
async fn bodies_over_the_limit_or_with_trailers_get_no_tag() {
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let trailers = || {
        Frame::trailers(HeaderMap::from_iter([(
            "x-sum".parse().expect("a name"),
            HeaderValue::from_static("1"),
        )]))
    };
    for (length, list) in [
        (None, vec![data("0123456789"), data("0")]),
        (None, vec![data("page"), trailers()]),
        (Some("3"), vec![data("page")]),
        (Some("5"), vec![data("page")]),
        (Some("4, 4"), vec![data("page")]),
    ] {
        let (expected, trailed) = (
            list.iter().filter_map(|f| f.data_ref()).map(Bytes::len).sum::<usize>(),
            list.iter().any(Frame::is_trailers),
        );
        let body = std::sync::Arc::new(list);
        let inner = service_fn(move |_: Request<Body>| {
            let frames = body.iter().map(|frame| match frame.data_ref() {
                Some(data) => Frame::data(data.clone()),
                None => Frame::trailers(frame.trailers_ref().expect("trailers").clone()),
            });
            let mut response = Response::new(StreamBody::new(futures::stream::iter(
                frames.map(Ok::<_, Infallible>).collect::<Vec<_>>(),
            )));
            if let Some(length) = length {
                response.headers_mut().insert("content-length", HeaderValue::from_static(length));
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let stack = ConditionalGetLayer::new().strong().max_body_bytes(10).layer(inner);
        let response = stack.clone().oneshot(get("/")).await.expect("infallible");
        assert_eq!(response.headers().get("etag"), None, "{length:?}");
        let collected = response.into_body().collect().await.expect("a body");
        assert_eq!(collected.trailers().is_some(), trailed);
        assert_eq!(collected.to_bytes().len(), expected, "{length:?}");
        let ranged = stack.oneshot(get_with("/", &[("range", "bytes=0-0")])).await.expect("infallible");
        assert_eq!(ranged.status(), 200, "a body that may be incomplete has no ranges");
    }
}

#[tokio::test]
async fn a_body_of_more_than_256_frames_gets_no_tag() {
    let pulled = Calls::default();
    let counted = pulled.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let counted = counted.clone();
        let frames = futures::stream::repeat_with(move || {
            counted.next();
            Ok::<_, Infallible>(Frame::data(Bytes::new()))
        });
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames))) }
    });
    let response =
        ConditionalGetLayer::new().strong().layer(inner).oneshot(get("/")).await.expect("infallible");
    assert_eq!((response.headers().get("etag"), pulled.count()), (None, 256));
}

#[tokio::test]
async fn a_body_error_reaches_the_client_unchanged() {
    let inner = service_fn(|_: Request<Body>| async {
        let frames = [Ok(Frame::data(Bytes::from_static(b"pa"))), Err(io::Error::other("disk"))];
        Ok::<_, Infallible>(Response::new(StreamBody::new(futures::stream::iter(frames))))
    });
    let response =
        ConditionalGetLayer::new().strong().layer(inner).oneshot(get("/")).await.expect("infallible");
    assert_eq!(response.headers().get("etag"), None);
    let mut body = response.into_body();
    assert_eq!(body.frame().await.expect("a frame").expect("data").into_data().expect("data"), "pa");
    let error = body.frame().await.expect("the error").expect_err("it failed");
    assert_eq!(error.to_string(), "disk");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn tags_and_304s_of_an_inner_cache_layer_pass_unchanged() {
    let (inner, calls) = origin(|_, _| with_lines(&[], "page"));
    let cached = SiteCacheLayer::new(&memory())
        .policy(policy().etags(true).strong_etags(true).build().expect("a policy"))
        .layer(inner);
    let stack = ConditionalGetLayer::new().strong().layer(cached);
    for _ in 0..2 {
        // `ConditionalGetLayer` tags the miss, and the cache tags the hit.
        assert_eq!(send(&stack, get("/")).await.header("etag"), Some(PAGE));
    }
    let answer = send(&stack, get_with("/", &[("if-none-match", PAGE)])).await;
    assert_eq!((answer.status.as_u16(), answer.is_hit(), calls.count()), (304, true, 1));
}

#[tokio::test]
async fn inside_a_cache_generated_tags_are_stored_and_revalidate() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, _| with_lines(&[], "page"));
    let stack = site_over_boxed(&cache, ConditionalGetLayer::new().strong().layer(inner).boxed_clone());
    send(&stack, get("/")).await;
    assert_eq!(send(&stack, get("/")).await.header("etag"), Some(PAGE));
    manual.advance(MINUTE);
    let again = send(&stack, get("/")).await;
    assert_eq!((again.text(), again.detail(), calls.count()), ("page", Some("revalidated"), 2));
}

fn site_over_boxed(
    cache: &tower_response_cache::Cache,
    inner: Tagged,
) -> BoxCloneService<Request<Body>, Response<ResponseBody<ResponseBody<Body>>>, Infallible> {
    SiteCacheLayer::new(cache).policy(policy().build().expect("a policy")).layer(inner).boxed_clone()
}

/// Long enough for `CompressionLayer` to compress it.
const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";

#[tokio::test]
async fn outside_compression_each_coding_has_its_own_strong_tag() {
    let inner = origin(|_, _| with_lines(&[("content-type", "text/plain")], LONG)).0;
    let stack = ServiceBuilder::new()
        .layer(ConditionalGetLayer::new().strong())
        .layer(CompressionLayer::new())
        .service(inner);
    let plain = send(&stack, get("/")).await;
    let gzip = send(&stack, get_with("/", &[("accept-encoding", "gzip")])).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let (plain_tag, gzip_tag) = (plain.header("etag").expect("a tag"), gzip.header("etag").expect("a tag"));
    assert_ne!(plain_tag, gzip_tag);
    for (coding, tag, status) in [
        ("gzip", gzip_tag, 304),
        ("identity", plain_tag, 304),
        ("gzip", plain_tag, 200),
        ("identity", gzip_tag, 200),
    ] {
        let request = get_with("/", &[("accept-encoding", coding), ("if-none-match", tag)]);
        assert_eq!(send(&stack, request).await.status, status, "{coding} {tag}");
    }
}

#[tokio::test]
async fn inside_compression_one_weak_tag_matches_all_codings() {
    let inner = origin(|_, _| with_lines(&[("content-type", "text/plain")], LONG)).0;
    let stack = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(ConditionalGetLayer::new().weak())
        .service(inner);
    let gzip = get_with("/", &[("accept-encoding", "gzip")]);
    let answer = read(stack.clone().oneshot(gzip).await.expect("infallible")).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let tag = answer.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    for coding in ["gzip", "identity"] {
        let request = get_with("/", &[("accept-encoding", coding), ("if-none-match", &tag)]);
        assert_eq!(stack.clone().oneshot(request).await.expect("infallible").status(), 304, "{coding}");
    }
}

#[tokio::test]
async fn validators_of_serve_dir_are_kept_and_evaluated() {
    let folder = std::env::temp_dir().join(format!("tower-response-cache-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("page.txt"), "page").expect("a file");
    let stack = ConditionalGetLayer::new().strong().layer(ServeDir::new(&folder));
    let answer = read(stack.clone().oneshot(get("/page.txt")).await.expect("infallible")).await;
    let modified = answer.header("last-modified").expect("a date").to_owned();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "page"));
    let since = get_with("/page.txt", &[("if-modified-since", &modified)]);
    assert_eq!(stack.clone().oneshot(since).await.expect("infallible").status(), 304);
    // `ServeDir` answers ranges itself. The layer passes its 206 on.
    let part = get_with("/page.txt", &[("range", "bytes=1-2")]);
    let part = read(stack.oneshot(part).await.expect("infallible")).await;
    assert_eq!(
        (part.status.as_u16(), part.text(), part.header("content-range")),
        (206, "ag", Some("bytes 1-2/4"))
    );
    std::fs::remove_dir_all(folder).expect("removed");
}

proptest! {
    #![proptest_config(crate::support::default_cases())]
    #[test]
    fn any_conditions_and_ranges_get_a_well_formed_response(
        fields in proptest::collection::vec((0..6_usize, proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
    ) {
        let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];
        let mut conditional = get("/");
        for (which, value) in &fields {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                conditional.headers_mut().append(names[*which], value);
            }
        }
        let answer = futures::executor::block_on(send(&tagged(&[], "page"), conditional));
        match answer.status.as_u16() {
            200 => prop_assert_eq!(answer.text(), "page"),
            206 => prop_assert!(answer.header("content-range").is_some() || answer.header("content-type").is_some()),
            304 | 412 | 416 => prop_assert!(answer.body.is_empty()),
            other => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn the_default_response_body_is_empty() {
    let body: ResponseBody<Full<Bytes>> = ResponseBody::default();
    assert!(http_body::Body::is_end_stream(&body));
}
