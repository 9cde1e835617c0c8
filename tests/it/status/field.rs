//! `Cache-Status` (RFC 9211) of complete stacks: the field is true and equals the extension.

use crate::support::rfc9111::{proxy, standing};
use crate::support::*;
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use sfv::{BareItem, List, ListEntry, Parser};
use std::fmt::Debug;
use std::time::Duration;
use tower::{Layer, Service, ServiceExt};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    CacheHints, CacheStatus, ConditionalGetLayer, Policy, RouteCacheLayer, SiteCacheLayer, Ttl,
};

const S: Duration = Duration::from_secs(1);
const OURS: &str = "tower-response-cache";

/// Parses the field as RFC 9211 requires. Returns its members, beginning with the cache that is
/// nearest to the origin. Members of this crate's caches are returned without their name.
pub(crate) fn members(answer: &Answer) -> Vec<String> {
    let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(|line| line.as_bytes()).collect();
    let list: List = Parser::new(&lines.join(&b", "[..])).parse().expect("a structured field");
    list.iter().map(member).collect()
}

fn member(entry: &ListEntry) -> String {
    let ListEntry::Item(item) = entry else { panic!("an inner list: {entry:?}") };
    let name = item.bare_item.as_token().expect("a token").as_str();
    let parameters: Vec<_> = item.params.iter().map(|(key, value)| parameter(key.as_str(), value)).collect();
    let has = |name: &str| parameters.iter().any(|each| each.split('=').next() == Some(name));
    // RFC 9211 section 2.1: "hit" and "fwd" are exclusive. Sections 2.3, 2.5, 2.6: the parameters
    // below go with "fwd".
    assert!(!(has("hit") && has("fwd")), "{parameters:?}");
    for with_forward in ["fwd-status", "stored", "collapsed"] {
        assert!(!has(with_forward) || has("fwd"), "{parameters:?}");
    }
    let text = parameters.join("; ");
    if name == OURS { text } else { format!("{name}; {text}") }
}

/// Formats a parameter. Panics if its name or type is not as in RFC 9211 sections 2.1 to 2.8.
fn parameter(key: &str, value: &BareItem) -> String {
    match (key, value) {
        ("hit" | "stored" | "collapsed", BareItem::Boolean(true)) => key.to_owned(),
        ("collapsed", BareItem::Boolean(false)) => format!("{key}=?0"),
        ("fwd" | "detail", BareItem::Token(token)) => format!("{key}={}", token.as_str()),
        ("fwd-status" | "ttl", BareItem::Integer(number)) => format!("{key}={}", i64::from(*number)),
        ("key", BareItem::String(text)) => format!("{key}={}", text.as_str()),
        _ => panic!("{key}: {value:?}"),
    }
}

/// Sends a request, and returns the outermost layer's member of `Cache-Status`.
pub(crate) async fn status_of<S, B>(stack: &S, request: Request<Body>) -> String
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: Debug>,
{
    let response = stack.clone().oneshot(request).await.expect("an answer");
    read_members(response).await.0
}

/// Reads a response. Returns the outermost layer's member, and asserts that it equals the
/// extension.
pub(crate) async fn read_members<B>(response: Response<B>) -> (String, Answer)
where
    B: http_body::Body<Data = bytes::Bytes, Error: Debug>,
{
    let extension = response.extensions().get::<CacheStatus>().copied();
    let answer = read(response).await;
    let mut members = members(&answer);
    let last = members.pop().expect("a member");
    // If an inner layer handled the request, the extension describes the inner layer.
    let same = Some(&last).filter(|last| !last.ends_with("detail=inner-layer")).or(members.last());
    let in_extensions = |text: &&str| *text != "collapsed=?0" && !text.starts_with("key=");
    let same: Vec<_> = same.unwrap_or(&last).split("; ").filter(in_extensions).collect();
    let mut written = written(&extension.expect("an extension"));
    // The header field names the field that identified the sender. The extension has only fixed
    // words.
    if let (Some(word), Some(named)) = (written.last_mut(), same.last())
        && word == "detail=credentials"
        && named.starts_with("detail=")
    {
        *word = (*named).to_owned();
    }
    assert_eq!(written, same);
    (last, answer)
}

/// Formats an extension like a member of the field.
fn written(status: &CacheStatus) -> Vec<String> {
    let [hit, stored, collapsed] =
        [(status.is_hit(), "hit"), (status.is_stored(), "stored"), (status.is_collapsed(), "collapsed")]
            .map(|(is, word)| is.then(|| word.to_owned()));
    let most = 999_999_999_999_999;
    let parts = [
        hit,
        status.forward_reason().map(|reason| format!("fwd={}", reason.as_str())),
        status.forward_status().map(|status| format!("fwd-status={}", status.as_u16())),
        stored,
        collapsed,
        status.ttl_seconds().map(|ttl| format!("ttl={}", ttl.clamp(-most, most))),
        status.detail_word().map(|word| format!("detail={word}")),
    ];
    parts.into_iter().flatten().collect()
}

/// Creates a cached page that is fresh for a minute and has an entity tag. The service answers 304
/// if the request has the tag.
fn tagged(policy: PolicyBuilder) -> (Stack, ManualClock) {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, _| {
        let mut response = with_lines(&[("etag", "\"a\""), ("cache-control", "max-age=60")], "0123456789");
        if request.headers().get("if-none-match").is_some_and(|tag| tag == "\"a\"") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::default();
        }
        response
    });
    (
        SiteCacheLayer::new(&cache)
            .policy(policy.cache_status(true).build().expect("a policy"))
            .layer(inner)
            .boxed_clone(),
        manual,
    )
}

#[tokio::test]
async fn ttl_is_the_remaining_lifetime_and_negative_once_stale() {
    let (stack, manual) = tagged(Policy::rfc9111());
    let old = || get_with("/", &[("cache-control", "max-stale")]);
    let table = [
        (0, get("/"), "fwd=uri-miss; fwd-status=200; stored; ttl=60"),
        (0, get("/"), "hit; ttl=60"),
        (59, get("/"), "hit; ttl=1"),
        (1, old(), "hit; ttl=0; detail=stale"),
        (40, old(), "hit; ttl=-40; detail=stale"),
        (0, get("/"), "fwd=stale; fwd-status=304; stored; ttl=60; detail=revalidated"),
        (15, get("/"), "hit; ttl=45"),
    ];
    for (later, request, expected) in table {
        manual.advance(later * S);
        assert_eq!(status_of(&stack, request).await, expected);
    }
    let forever = |_: &Request<Body>, call| {
        let mut response = numbered(&[], call);
        CacheHints::new().ttl(Ttl::Forever).add_to(response.extensions_mut());
        response
    };
    let (stack, _) = site(policy(), forever);
    assert_eq!(
        status_of(&stack, get("/")).await,
        "fwd=uri-miss; fwd-status=200; stored; ttl=999999999999999",
        "a structured field has at most 15 digits"
    );
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=999999999999999");
}

#[tokio::test]
async fn no_cache_responses_are_stored_with_a_ttl_of_zero() {
    let (stack, _) = site(policy(), |_, call| {
        numbered(&[("cache-control", "no-cache"), ("etag", &format!("\"{call}\""))], call)
    });
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=0");
    assert_eq!(status_of(&stack, get("/")).await, "fwd=stale; fwd-status=200; stored; ttl=0");
}

#[tokio::test]
async fn ranges_304s_and_heads_from_the_cache_are_hits() {
    let (stack, _) = tagged(Policy::app());
    status_of(&stack, get("/")).await;
    let table = [
        (get_with("/", &[("range", "bytes=0-3")]), 206),
        (get_with("/", &[("range", "bytes=90-")]), 416),
        (get_with("/", &[("if-none-match", "\"a\"")]), 304),
        (get_with("/", &[("if-match", "\"b\"")]), 412),
        (request("HEAD", "/", &[]), 200),
    ];
    for (request, code) in table {
        let response = stack.clone().oneshot(request).await.expect("infallible");
        let (statuses, answer) = read_members(response).await;
        assert_eq!((statuses.as_str(), answer.status.as_u16()), ("hit; ttl=60", code));
    }
}

#[tokio::test]
async fn a_304_to_the_client_has_fwd_status_and_stored() {
    let (stack, manual) = tagged(Policy::app());
    let copy = |tag| get_with("/", &[("if-none-match", tag)]);
    for (request, expected) in [
        (copy("\"a\""), "fwd=uri-miss; fwd-status=200; stored; ttl=60"),
        (copy("\"a\""), "fwd=stale; fwd-status=304; stored; ttl=60; detail=revalidated"),
        (copy("\"b\""), "fwd=stale; fwd-status=304; stored; ttl=60; detail=revalidated"),
    ] {
        let has_it = request.headers()["if-none-match"] == "\"a\"";
        let (statuses, answer) =
            read_members(stack.clone().oneshot(request).await.expect("infallible")).await;
        assert_eq!((statuses.as_str(), answer.status.as_u16()), (expected, if has_it { 304 } else { 200 }));
        manual.advance(70 * S);
    }
    // Without collapsing, the client's conditions are forwarded.
    let (stack, _) = tagged(Policy::app().collapse(false));
    assert_eq!(status_of(&stack, copy("\"a\"")).await, "fwd=uri-miss; fwd-status=304; detail=status");
}

#[tokio::test]
async fn response_reported_as_stored_answers_the_next_request() {
    let lines = [("etag", "\"a\""), ("cache-control", "public, max-age=60")];
    type Fields = &'static [(&'static str, &'static str)];
    let table: [(Fields, u16, bool); 8] = [
        (&[], 200, true),
        (&[("range", "bytes=0-1")], 200, true),
        (&[("range", "bytes=0-1")], 206, false),
        (&[("if-match", "\"a\"")], 200, true),
        (&[("if-match", "\"b\"")], 412, false),
        (&[("if-none-match", "\"b\"")], 200, true),
        (&[("authorization", "Bearer x")], 200, true),
        (&[("authorization", "Bearer x")], 403, false),
    ];
    for (fields, code, is_stored) in table {
        let policy = Policy::rfc9111().cache_status(true);
        let (cache, _) = timed();
        let (inner, _) = origin(move |_, _| {
            let mut response = with_lines(&lines, "page");
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            if code == 403 {
                response.headers_mut().remove("cache-control");
            }
            response
        });
        let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
        let statuses = status_of(&stack, get_with("/", fields)).await;
        assert_eq!(statuses.contains("; stored; ttl=60"), is_stored, "{fields:?} {code}: {statuses}");
        let next = status_of(&stack, get("/")).await;
        assert_eq!(next == "hit; ttl=60", is_stored, "{fields:?} {code}: {next}");
    }
}

#[tokio::test]
async fn head_responses_are_not_stored_and_do_not_revalidate() {
    for policy in [Policy::app(), Policy::rfc9111()] {
        let (stack, manual) = tagged(policy);
        let head = || request("HEAD", "/", &[]);
        assert_eq!(status_of(&stack, head()).await, "fwd=uri-miss; fwd-status=200; detail=head");
        status_of(&stack, get("/")).await;
        manual.advance(70 * S);
        assert_eq!(status_of(&stack, head()).await, "fwd=stale; fwd-status=200; detail=head");
    }
}

#[tokio::test]
async fn post_response_reports_stored_only_if_stored() {
    let lines = [("content-location", "/a"), ("cache-control", "max-age=60")];
    let (stack, _) = site(Policy::rfc9111().cache_status(true), move |request, _| {
        let lines = if request.uri().path() == "/a" { &lines[..] } else { &lines[1..] };
        with_lines(lines, "page")
    });
    let post = |path| request("POST", path, &[]);
    assert!(status_of(&stack, post("/a")).await.starts_with("fwd=method; fwd-status=200; stored; ttl="));
    assert!(status_of(&stack, get("/a")).await.starts_with("hit; ttl="));
    assert_eq!(status_of(&stack, post("/b")).await, "fwd=method; fwd-status=200");
    assert!(status_of(&stack, get("/b")).await.starts_with("fwd=uri-miss; "));
}

#[tokio::test]
async fn upstream_members_come_first_unless_malformed() {
    type Lines = &'static [(&'static str, &'static str)];
    let table: [(Lines, &[&str]); 4] = [
        (&[("cache-status", "Inner; fwd=miss; stored")], &["Inner; fwd=miss; stored"]),
        (
            &[("cache-status", "Inner; hit; ttl=5"), ("cache-status", "Next; hit")],
            &["Inner; hit; ttl=5", "Next; hit"],
        ),
        (&[("cache-status", "HIT from (cache")], &[]),
        (&[("cache-status", "Inner; hit"), ("cache-status", ";;")], &[]),
    ];
    for (lines, kept) in table {
        let lenient =
            |expected: &'static str| kept.iter().map(|each| (*each).to_owned()).chain([expected.to_owned()]);
        let (cache, _) = timed();
        let stack = site_over(&cache, origin(move |_, call| numbered(lines, call)).0);
        for expected in ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "hit; ttl=60"] {
            let (_, answer) = read_members(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
            let lines =
                answer.headers.get_all("cache-status").iter().map(|line| line.to_str().expect("text"));
            let lines: Vec<_> =
                lines.map(|line| line.strip_prefix("tower-response-cache; ").unwrap_or(line)).collect();
            assert_eq!(lines, lenient(expected).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn nested_layers_report_from_inner_to_outer() {
    let (cache, _) = timed();
    let page = || origin(|_, call| numbered(&[], call)).0;
    let inner = |ttl| {
        RouteCacheLayer::new(&cache, ttl)
            .policy(Policy::app().cache_status(true).build().expect("a policy"))
            .layer(page())
    };
    let outer = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"));
    let nested = outer.layer(inner(MINUTE));
    for expected in [
        ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "fwd=uri-miss; fwd-status=200; detail=inner-layer"],
        ["hit; ttl=60", "fwd=bypass; fwd-status=200; detail=inner-layer"],
    ] {
        let (_, answer) = read_members(nested.clone().oneshot(get("/")).await.expect("infallible")).await;
        assert_eq!(members(&answer), expected);
    }
    // A layer with `cache_status(false)` leaves the field and the extension of the other layer
    // unchanged.
    let silent = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).build().expect("a policy"))
        .layer(inner(MINUTE));
    assert_eq!(status_of(&silent, get("/")).await, "hit; ttl=60");
    let silent = Policy::app().status_extension(false).build().expect("a policy");
    let quiet = RouteCacheLayer::new(&cache, MINUTE).policy(silent).layer(page());
    let statuses = status_of(&outer.layer(quiet), get("/quiet")).await;
    assert_eq!(statuses, "fwd=uri-miss; fwd-status=200; detail=inner-layer");
}

#[tokio::test]
async fn no_field_or_extension_if_both_options_are_off() {
    let (cache, manual) = timed();
    let policy = Policy::rfc9111().default_ttl(MINUTE).cache_status_key(true).status_extension(false);
    let (inner, _) = origin(|_, call| numbered(&[("etag", "\"a\"")], call));
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy.build().expect("a policy"))
        .layer(ConditionalGetLayer::new().layer(inner));
    let requests = [
        get_with("/", &[("cache-control", "only-if-cached")]),
        request("HEAD", "/", &[]),
        get("/"),
        get("/"),
        get_with("/", &[("if-none-match", "\"a\"")]),
        get_with("/", &[("cache-control", "no-cache")]),
        get_with("/", &[("expect", "100-continue")]),
        get_with("/", &[("cache-control", "max-stale")]),
        get("/"),
        request("POST", "/", &[]),
    ];
    for request in requests {
        manual.advance(20 * S);
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let response = stack.clone().oneshot(request).await.expect("infallible");
        assert!(response.extensions().get::<CacheStatus>().is_none(), "{method} {headers:?}");
        assert!(!response.headers().contains_key("cache-status"), "{method} {headers:?}");
    }
}

#[tokio::test]
async fn warming_reports_only_to_the_caller_of_warm() {
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "no-store")], call));
    let cache = memory();
    let quiet = SiteCacheLayer::new(&cache).layer(inner);
    let seen = tower::util::MapResponse::new(quiet, |response: Response<_>| {
        assert!(!response.headers().contains_key("cache-status"));
        response
    });
    let mut words = Vec::new();
    cache.warm_with(seen, [get("/")], 1, |page| words.push((page.is_cached(), page.detail()))).await;
    assert_eq!(words, [(false, Some("no-store"))]);
}

proptest! {
    #![proptest_config(crate::support::default_cases())]
    /// RFC 9211 section 2, RFC 9651: for any upstream field and target, the field is a list that
    /// ends with the member of this cache.
    #[test]
    fn cache_status_is_a_valid_list_for_any_input(
        upstream in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..3),
        path in "[ -~]{0,30}",
        fields in proptest::collection::vec((0..8_usize, "[ -~]{0,20}"), 0..4),
    ) {
        let names = ["host", "x-forwarded-host", "cookie", "authorization", "cache-control", "if-none-match", "range", "x-a"];
        let Ok(uri) = format!("/{}", path.replace([' ', '#', '"', '<', '>'], "")).parse::<http::Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (stack, ..) = standing(proxy().cache_status_key(true), move |_, _| {
                let mut response = with_lines(&[("cache-control", "max-age=60"), ("vary", "x-a")], "x");
                for line in upstream.iter().filter(|line| !line.trim_ascii().is_empty()) {
                    if let Ok(value) = http::HeaderValue::from_bytes(line) {
                        response.headers_mut().append("cache-status", value);
                    }
                }
                response
            });
            for method in ["GET", "GET", "HEAD", "POST"] {
                let mut request = request(method, "/", &[]);
                *request.uri_mut() = uri.clone();
                for (at, value) in &fields {
                    request.headers_mut().append(names[*at], value.parse().expect("printable"));
                }
                let answer = send(&stack, request).await;
                let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(|v| v.as_bytes()).collect();
                let list: sfv::List = sfv::Parser::new(&lines.join(&b", "[..])).parse().expect("a list");
                let Some(sfv::ListEntry::Item(item)) = list.last() else { panic!("no item") };
                let sfv::BareItem::Token(token) = &item.bare_item else { panic!("no token") };
                assert_eq!(token.as_str(), "tower-response-cache");
                assert!(item.params.contains_key("hit") != (item.params.contains_key("fwd") || answer.status == 504));
            }
        });
    }
}

/// RFC 9651 section 4.2.1: a list begins with a member.
#[tokio::test]
async fn an_empty_upstream_cache_status_line_keeps_the_list_valid() {
    for line in ["", " "] {
        let (stack, ..) = standing(proxy(), move |_, call| numbered(&[("cache-status", line)], call));
        let answer = send(&stack, get("/")).await;
        let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(|v| v.as_bytes()).collect();
        let text = lines.join(&b", "[..]);
        let list: Result<sfv::List, _> = sfv::Parser::new(&text).parse();
        assert!(list.is_ok(), "{:?}", std::str::from_utf8(&text));
    }
}
