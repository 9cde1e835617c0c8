//! The answers: fields, tags, HEAD, nested layers, and outer compression.

use super::*;
use tower_response_cache::{ConditionalGetLayer, Policy, RouteCacheLayer};

const TAGGED: &[(&str, &str)] = &[("content-type", "text/html"), ("etag", "\"v1\"")];

fn tagged_page(_: &Request<Body>, _: usize) -> Response<Body> {
    with_lines(TAGGED, text(1))
}

/// RFC 9110 section 8.8.3: an outer layer may still encode the plain response.
#[tokio::test]
async fn plain_response_has_a_weak_tag_for_clients_that_accept_a_coding() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(tagged_page).0);
    for (codings, tag) in
        [("gzip", "W/\"v1\""), ("gzip", "W/\"v1\""), ("identity", "\"v1\""), ("xz", "\"v1\"")]
    {
        let answer = send(&stack, accepting("/", codings)).await;
        assert_eq!(answer.header("etag"), Some(tag), "{codings}");
        assert_eq!(vary(&answer.headers), ["accept-encoding"], "{codings}");
        assert_eq!(answer.text(), text(1));
    }
    assert_eq!(send(&stack, get("/")).await.header("etag"), Some("\"v1\""));
    let gzip = encoded(&cache, &stack, "gzip").await;
    let tag = gzip.header("etag").expect("a tag");
    assert!(tag.starts_with("\"v1.gzip.") && tag.len() == "\"v1.gzip.01234567\"".len(), "{tag}");
    assert_eq!(send(&stack, accepting("/", "xz")).await.header("etag"), Some("\"v1\""));
}

#[tokio::test]
async fn generated_tags_are_strong() {
    let cache = memory();
    let stack = encoding(&cache, policy().etags(true), origin(|_, call| html(call)).0);
    let first = send(&stack, accepting("/", "br")).await;
    assert!(first.header("etag").expect("a tag").starts_with("W/\""), "an outer layer may encode it");
    let plain = send(&stack, get("/")).await;
    let tag = plain.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    assert_eq!(first.header("etag"), Some(&*format!("W/{tag}")));
    let br = encoded(&cache, &stack, "br").await;
    assert!(br.header("etag").expect("a tag").starts_with(&format!("{}.br.", tag.trim_end_matches('"'))));
}

#[tokio::test]
async fn variant_of_a_weak_tag_has_a_weak_tag_and_no_ranges() {
    let cache = memory();
    let inner = origin(|_, _| with_lines(&[("etag", "W/\"v1\"")], text(1))).0;
    let stack = encoding(&cache, policy(), inner);
    let gzip = encoded(&cache, &stack, "gzip").await;
    assert!(gzip.header("etag").expect("a tag").starts_with("W/\"v1.gzip."));
    let lines = [("accept-encoding", "gzip"), ("range", "bytes=0-9")];
    let answer = send(&stack, get_with("/", &lines)).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, gzip.body));
}

/// RFC 9110 section 9.3.2.
#[tokio::test]
async fn head_states_the_length_of_the_coding() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(tagged_page).0);
    let gzip = encoded(&cache, &stack, "gzip").await;
    let head = send(&stack, request("HEAD", "/", &[("accept-encoding", "gzip")])).await;
    for name in ["content-length", "content-encoding", "etag", "vary", "content-type"] {
        assert_eq!(head.header(name), gzip.header(name), "{name}");
    }
    assert!(head.body.is_empty());
    let plain = send(&stack, request("HEAD", "/", &[])).await;
    assert_eq!(plain.header("content-length"), Some(&*text(1).len().to_string()));
    assert_eq!(plain.header("etag"), Some("\"v1\""));
}

/// RFC 9530 section 2.
#[tokio::test]
async fn digests_of_the_plain_response_are_not_sent_with_a_coding() {
    let cache = memory();
    let lines = [
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("accept-ranges", "bytes"),
        ("etag", "\"a\""),
    ];
    let stack = encoding(&cache, policy(), origin(move |_, _| with_lines(&lines, text(1))).0);
    let gzip = encoded(&cache, &stack, "gzip").await;
    assert_eq!((gzip.header("content-digest"), gzip.header("repr-digest")), (None, None));
    assert_eq!(gzip.header("accept-ranges"), Some("bytes"));
    assert!(send(&stack, get("/")).await.header("content-digest").is_some());
}

#[tokio::test]
async fn names_in_vary_are_merged() {
    let cache = memory();
    let by_language = policy().vary_on_headers(["accept-language"]);
    let stack = encoding(&cache, by_language, origin(|_, _| with_lines(&[("vary", "x-a")], text(1))).0);
    for _ in 0..5 {
        let answer = ask(&cache, &stack, "gzip").await;
        let mut names = vary(&answer.headers);
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "accept-language", "x-a"], "{:?}", answer.headers);
    }
    assert_eq!(ask(&cache, &stack, "gzip").await.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn inner_layer_encodes_under_an_outer_cache_layer() {
    let cache = memory();
    let (inner, calls) = origin(tagged_page);
    let route = RouteCacheLayer::new(&cache, MINUTE).encode(CompressionLayer::new()).layer(inner);
    let outer =
        Policy::app().cache_status(true).vary_on_headers(["accept-language"]).build().expect("a policy");
    let stack = SiteCacheLayer::new(&cache).policy(outer).layer(route);
    for at in 0..6 {
        let answer = send(&stack, accepting("/", "gzip")).await;
        cache.wait_idle().await;
        let mut names = vary(&answer.headers);
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "accept-language"], "{at}");
        assert_eq!(decoded(&answer).await, text(1));
        assert_eq!(answer.header("content-encoding").is_some(), at > 2, "{at}");
        assert_eq!(send(&stack, get("/")).await.text(), text(1));
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn outer_compression_and_conditional_get_agree_with_the_cache() {
    let cache = memory();
    let (inner, calls) = origin(tagged_page);
    let policy = policy().build().expect("a policy");
    let stack = SiteCacheLayer::new(&cache).encode(CompressionLayer::new()).policy(policy).layer(inner);
    let stack = CompressionLayer::new().layer(stack);
    let stack = ConditionalGetLayer::new().layer(stack);
    for at in 0..5 {
        let answer = send(&stack, accepting("/", "gzip")).await;
        cache.wait_idle().await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{at}");
        assert_eq!(decoded(&answer).await, text(1));
        let tag = answer.header("etag").expect("a tag").to_owned();
        let lines = [("accept-encoding", "gzip"), ("if-none-match", &tag)];
        assert_eq!(send(&stack, get_with("/", &lines)).await.status, 304, "{at}: {tag}");
        cache.wait_idle().await;
    }
    assert_eq!(calls.count(), 1);
}
