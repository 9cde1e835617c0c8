//! Generated tags are weak by default, so that no client joins bytes of two representations.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, CacheHints, ConditionalGetLayer, Policy, SiteCacheLayer};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

fn is_weak(answer: &Answer) -> bool {
    answer.header("etag").expect("a tag").starts_with("W/")
}

/// The policy options `etags` and `client_max_age` generate tags, and so does the hint
/// `client_max_age`.
#[tokio::test]
async fn cache_generated_tags_are_weak_by_default() {
    let zero = Duration::ZERO;
    let table: [(PolicyBuilder, bool); 3] =
        [(policy().etags(true), false), (policy().client_max_age(zero), false), (policy(), true)];
    for (policy, hints) in table {
        for strong in [false, true] {
            let (stack, _) = site(policy.clone().strong_etags(strong), move |_, call| {
                let mut response = numbered(&[], call);
                if hints {
                    CacheHints::new().client_max_age(zero).add_to(response.extensions_mut());
                }
                response
            });
            for _ in 0..2 {
                let answer = send(&stack, get("/")).await;
                assert_eq!(is_weak(&answer), !strong, "{answer:?}");
            }
        }
    }
    let (stack, _) = site(policy().strong_etags(true), |_, call| numbered(&[], call));
    assert!(shares(&stack, get("/"), get("/")).await);
    assert_eq!(send(&stack, get("/")).await.header("etag"), None, "`strong_etags` alone generates no tag");
}

#[tokio::test]
async fn conditional_layer_tags_are_weak_by_default() {
    let page = || origin(|_, _| with_lines(&[], "page")).0;
    let table = [
        (ConditionalGetLayer::new(), true),
        (ConditionalGetLayer::new().strong(), false),
        (ConditionalGetLayer::new().strong().weak(), true),
    ];
    for (layer, weak) in table {
        assert_eq!(is_weak(&send(&layer.layer(page()), get("/")).await), weak, "{layer:?}");
    }
}

/// RFC 9110 section 13.1.5: `If-Range` compares strongly.
#[tokio::test]
async fn only_a_strong_tag_resumes_a_download() {
    for strong in [false, true] {
        let (stack, _) =
            site(policy().etags(true).strong_etags(strong), |_, _| with_lines(&[], "0123456789"));
        let tag = send(&stack, get("/")).await.header("etag").expect("a tag").to_owned();
        let request = |tag: &str| get_with("/", &[("range", "bytes=5-"), ("if-range", tag)]);
        let answer = send(&stack, request(&tag)).await;
        let expected = if strong { (206, "56789") } else { (200, "0123456789") };
        assert_eq!((answer.status.as_u16(), answer.text()), expected);
        let bare = send(&stack, request(tag.trim_start_matches("W/"))).await;
        assert_eq!((bare.status.as_u16(), bare.text()), expected, "the same tag without `W/`");
        let known = send(&stack, get_with("/", &[("if-none-match", &tag)])).await;
        assert_eq!(known.status, 304);
    }
}

/// Creates a cached service. Its body is ready with its head, unless `later` is `true`.
fn framed(
    later: bool,
) -> BoxCloneService<
    Request<Body>,
    Response<tower_response_cache::response_cache::ResponseBody<Frames>>,
    Infallible,
> {
    let inner = service_fn(move |_: Request<Body>| async move {
        let frames = [Bytes::from_static(b"01234"), Bytes::from_static(b"56789")];
        let frames: Vec<_> = frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data))).collect();
        let stream = futures::stream::unfold(frames.into_iter(), move |mut frames| async move {
            if later {
                tokio::task::yield_now().await;
            }
            Some((frames.next()?, frames))
        });
        let stream: futures::stream::BoxStream<'static, _> = Box::pin(stream);
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream)))
    });
    SiteCacheLayer::new(&memory())
        .policy(policy().etags(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone()
}

type Frames = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

#[tokio::test]
async fn a_miss_whose_body_was_ready_carries_the_tag_of_its_hits() {
    for later in [false, true] {
        let stack = framed(later);
        let request_page =
            || async { read(stack.clone().oneshot(get("/")).await.expect("infallible")).await };
        let (miss, hit) = (request_page().await, request_page().await);
        assert!(hit.is_hit() && !miss.is_hit());
        let tag = hit.header("etag").expect("a tag");
        assert_eq!(miss.header("etag"), Some(tag).filter(|_| !later), "the body comes later: {later}");
    }
}

/// A 304 keeps a strong tag only if `If-None-Match` lists the strong tag.
#[tokio::test]
async fn strong_tags_of_compressed_responses_become_weak() {
    let own = |lines: &'static [(&'static str, &'static str)], status: u16| {
        let inner = origin(move |_, _| {
            let mut response = with_lines(lines, if status == 304 { "" } else { "page" });
            *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            response
        });
        ConditionalGetLayer::new().strong().layer(inner.0)
    };
    static CODED: [(&str, &str); 2] = [("content-encoding", "gzip"), ("etag", "\"own\"")];
    let tag = |answer: Answer| answer.header("etag").map(str::to_owned);
    for status in [200, 206, 404] {
        assert_eq!(tag(send(&own(&CODED, status), get("/")).await).as_deref(), Some("W/\"own\""), "{status}");
    }
    for lines in [&[("etag", "\"own\"")][..], &[("etag", "\"own\""), ("content-encoding", "identity")]] {
        assert_eq!(tag(send(&own(lines, 200), get("/")).await).as_deref(), Some("\"own\""));
    }
    let weak = &[("etag", "W/\"own\""), ("content-encoding", "gzip")];
    assert_eq!(tag(send(&own(weak, 200), get("/")).await).as_deref(), Some("W/\"own\""));
    for (named, expected) in [
        ("\"own\"", "\"own\""),
        ("W/\"own\"", "W/\"own\""),
        ("*", "W/\"own\""),
        ("\"a\", \"own\"", "\"own\""),
    ] {
        let request = get_with("/", &[("if-none-match", named)]);
        let answer = send(&own(&[("etag", "\"own\"")], 304), request).await;
        assert_eq!(tag(answer).as_deref(), Some(expected), "{named}");
    }
}

/// A stack in the recommended order: conditions outermost, then compression, then the cache.
macro_rules! recommended {
    ($policy:expr, $lines:expr) => {{
        let lines: &'static [(&'static str, &'static str)] = $lines;
        let inner = origin(move |_, _| with_lines(lines, "0123456789".repeat(100))).0;
        ServiceBuilder::new()
            .layer(ConditionalGetLayer::new())
            .layer(CompressionLayer::new())
            .layer(AnonymousOnlyLayer::new())
            .layer(SiteCacheLayer::new(&memory()).policy($policy.build().expect("a policy")))
            .service(inner)
    }};
}

const CODINGS: [&str; 6] = ["identity", "gzip", "deflate", "br", "zstd", "gzip;q=0.5, deflate"];

/// Returns `true` if a client may join two responses (RFC 9110 section 15.3.7.3).
fn may_join(a: &Answer, b: &Answer) -> bool {
    let tag = |answer: &Answer| answer.header("etag").map(|tag| (tag.starts_with("W/"), tag.to_owned()));
    matches!((tag(a), tag(b)), (Some((false, a)), Some((false, b))) if a == b)
}

/// RFC 9110 section 13.1.5: a date identifies the bytes only if no outer layer changes them.
#[tokio::test]
async fn a_date_resumes_a_download_only_if_tags_are_strong() {
    static LINES: [(&str, &str); 2] = [("last-modified", MODIFIED), ("date", LATER)];
    let dated = |lines: &'static [(&str, &str)]| origin(move |_, _| with_lines(lines, "0123456789")).0;
    let resumed = || get_with("/", &[("range", "bytes=5-"), ("if-range", MODIFIED)]);
    for (policy, resumes) in [
        (policy(), false),
        (policy().etags(true), false),
        (policy().strong_etags(true), true),
        (Policy::rfc9111().default_ttl(MINUTE).cache_status(true), true),
    ] {
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy.build().expect("a policy"))
            .layer(dated(&LINES[..1]));
        let complete = send(&stack, get("/")).await;
        assert_eq!(complete.status, 200);
        let answer = send(&stack, resumed()).await;
        let expected = if resumes { (206, "56789") } else { (200, "0123456789") };
        assert_eq!((answer.status.as_u16(), answer.text()), expected);
        assert!(answer.is_hit());
        let bare = send(&stack, get_with("/", &[("range", "bytes=5-")])).await;
        assert_eq!(bare.status, 206, "a range without a condition");
    }
    for (layer, status) in [
        (ConditionalGetLayer::new(), 200),
        (ConditionalGetLayer::new().strong(), 206),
        (ConditionalGetLayer::new().strong().weak(), 200),
    ] {
        assert_eq!(send(&layer.layer(dated(&LINES)), resumed()).await.status, status, "{layer:?}");
    }
}

#[tokio::test]
async fn a_resumed_download_never_joins_bytes_of_two_codings() {
    let none: &'static [(&str, &str)] = &[("content-type", "text/plain")];
    let own: &'static [(&str, &str)] =
        &[("content-type", "text/plain"), ("etag", "\"own\""), ("last-modified", MODIFIED)];
    let dated: &'static [(&str, &str)] = &[("content-type", "text/plain"), ("last-modified", MODIFIED)];
    let mut resumed = 0;
    for (policy, lines) in [
        (policy(), own),
        (policy(), none),
        (policy(), dated),
        (policy().etags(true), none),
        (policy().etags(true), dated),
        (policy().client_max_age(Duration::ZERO), none),
        (policy().client_max_age(Duration::ZERO), own),
    ] {
        for first in CODINGS {
            for second in CODINGS {
                for warm in [false, true] {
                    let stack = recommended!(policy.clone(), lines);
                    let complete = send(&stack, get_with("/", &[("accept-encoding", first)])).await;
                    let half = complete.body.len() / 2;
                    let [tag, date] = ["etag", "last-modified"]
                        .map(|name| complete.header(name).map(|value| ("if-range", value)));
                    // Unless `warm` is `true`, the second request goes to another server, whose cache
                    // is empty.
                    let stack = if warm { stack } else { recommended!(policy.clone(), lines) };
                    let range = format!("bytes={half}-");
                    for condition in tag.into_iter().chain(date).map(Some).chain([None]) {
                        let mut request = get_with("/", &[("accept-encoding", second), ("range", &range)]);
                        if let Some((name, value)) = condition {
                            request.headers_mut().insert(name, value.parse().expect("a value"));
                        }
                        let part = send(&stack, request).await;
                        let joins = part.status == 206 && (condition.is_some() || may_join(&complete, &part));
                        if joins {
                            resumed += 1;
                            let all = [&complete.body[..half], &part.body].concat();
                            assert_eq!(all, complete.body, "{lines:?} {first} {second} {warm}");
                            assert_eq!(
                                part.header("content-encoding"),
                                complete.header("content-encoding"),
                                "{first} {second}"
                            );
                        } else if condition.is_some() {
                            assert_eq!(part.status, 200);
                        }
                    }
                }
            }
        }
    }
    assert!(resumed > 0, "an unencoded download with the strong tag of the origin resumes");
}
