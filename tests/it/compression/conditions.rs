//! Conditional requests and ranges on encoded variants.

use super::*;
use http::StatusCode;

fn dated(_: &Request<Body>, _: usize) -> Response<Body> {
    let lines = [
        ("etag", "\"v1\""),
        ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT"),
        ("cache-control", "max-age=600"),
    ];
    with_lines(&lines, text(1))
}

async fn ask_with(stack: &Stack, coding: &str, lines: &[(&str, &str)]) -> Answer {
    let lines: Vec<_> = lines.iter().copied().chain([("accept-encoding", coding)]).collect();
    send(stack, get_with("/", &lines)).await
}

/// RFC 9110 section 13.1.2, RFC 9111 section 4.3.4: the 304 names the copy that the client has.
#[tokio::test]
async fn any_tag_of_the_page_gets_a_304_with_that_tag() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(dated).0);
    let mut tags = vec!["\"v1\"".to_owned(), "W/\"v1\"".to_owned(), "\"v1.gzip.01234567\"".to_owned()];
    for coding in CODINGS {
        let answer = encoded(&cache, &stack, coding).await;
        tags.push(answer.header("etag").expect("a tag").to_owned());
    }
    tags.push(format!("W/{}", tags[3]));
    for coding in ["zstd", "br", "gzip", "deflate", "identity"] {
        for tag in &tags {
            let answer = ask_with(&stack, coding, &[("if-none-match", tag)]).await;
            assert_eq!((answer.status.as_u16(), answer.header("etag")), (304, Some(&**tag)), "{coding}");
            assert_eq!(vary(&answer.headers), ["accept-encoding"]);
            assert!(answer.body.is_empty() && answer.header("content-encoding").is_none());
            let listed = format!("\"other\", {tag}");
            assert_eq!(ask_with(&stack, coding, &[("if-none-match", &listed)]).await.status, 304);
        }
        for other in
            ["\"v2\"", "\"v2.gzip.01234567\"", "\"v1.gzip\"", "\"v1.lzma.01234567\"", "\"v1.gzip.0123456X\""]
        {
            assert_eq!(ask_with(&stack, coding, &[("if-none-match", other)]).await.status, 200, "{other}");
        }
    }
}

/// RFC 9110 sections 13.1.1 to 13.1.4.
#[tokio::test]
async fn other_preconditions_apply_to_the_selected_bytes() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(dated).0);
    let gzip = encoded(&cache, &stack, "gzip").await;
    let tag = gzip.header("etag").expect("a tag");
    let table: [(&str, &str, &str, u16); 9] = [
        ("gzip", "if-match", tag, 200),
        ("gzip", "if-match", "\"v1\"", 412),
        ("gzip", "if-match", "\"v1.gzip.01234567\"", 412),
        ("gzip", "if-match", "*", 200),
        ("identity", "if-match", "\"v1\"", 200),
        ("identity", "if-match", tag, 412),
        ("gzip", "if-none-match", "*", 304),
        ("gzip", "if-modified-since", "Sun, 06 Nov 1994 08:48:37 GMT", 304),
        ("gzip", "if-unmodified-since", "Sun, 06 Nov 1994 08:48:36 GMT", 412),
    ];
    for (coding, name, value, status) in table {
        let answer = ask_with(&stack, coding, &[(name, value)]).await;
        assert_eq!(answer.status.as_u16(), status, "{coding} {name}: {value}");
        if status == 304 {
            assert_eq!(answer.header("etag"), Some(tag));
        }
    }
}

/// RFC 9110 section 14: ranges are parts of the selected representation, and a coding is a property
/// of the representation.
#[tokio::test]
async fn ranges_are_cut_from_the_encoded_bytes() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(dated).0);
    let gzip = encoded(&cache, &stack, "gzip").await;
    let (tag, length) = (gzip.header("etag").expect("a tag"), gzip.body.len());
    let part = ask_with(&stack, "gzip", &[("range", "bytes=10-19"), ("if-range", tag)]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &gzip.body[10..20]));
    assert_eq!(part.header("content-range"), Some(&*format!("bytes 10-19/{length}")));
    assert_eq!((part.header("content-encoding"), part.header("etag")), (Some("gzip"), Some(tag)));
    assert_eq!(part.header("content-length"), Some("10"));
    let suffix = ask_with(&stack, "gzip", &[("range", "bytes=-5")]).await;
    assert_eq!(suffix.body, gzip.body[length - 5..]);
    let several = ask_with(&stack, "gzip", &[("range", "bytes=0-0,200-200")]).await;
    assert_eq!(several.status, 206);
    let beyond = ask_with(&stack, "gzip", &[("range", &format!("bytes={length}-"))]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), Some(&*format!("bytes */{length}")));
    let plain = ask_with(&stack, "identity", &[("range", "bytes=0-3"), ("if-range", "\"v1\"")]).await;
    assert_eq!((plain.status.as_u16(), plain.text()), (206, "page"));
}

/// RFC 9110 section 13.1.5.
#[tokio::test]
async fn download_is_resumed_only_with_the_same_bytes() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(dated).0);
    let gzip = encoded(&cache, &stack, "gzip").await;
    let br = encoded(&cache, &stack, "br").await;
    let date = "Sun, 06 Nov 1994 08:48:37 GMT".to_owned();
    let tag = |answer: &Answer| answer.header("etag").expect("a tag").to_owned();
    let other_encoder = "\"v1.gzip.01234567\"".to_owned();
    let weak = format!("W/{}", tag(&gzip));
    for (coding, body) in [("gzip", &gzip.body), ("br", &br.body)] {
        for condition in [
            tag(&gzip),
            tag(&br),
            "\"v1\"".to_owned(),
            "W/\"v1\"".to_owned(),
            other_encoder.clone(),
            weak.clone(),
            date.clone(),
        ] {
            let lines = [("range", "bytes=5-"), ("if-range", &condition)];
            let answer = ask_with(&stack, coding, &lines).await;
            let is_same = condition.starts_with(&format!("\"v1.{coding}.")) && condition != other_encoder;
            assert_eq!(answer.status.as_u16(), if is_same { 206 } else { 200 }, "{coding}: {condition}");
            assert_eq!(answer.body, if is_same { body.slice(5..) } else { body.clone() });
        }
    }
}

/// The variant is made again from the same page, by an encoder with another quality.
#[tokio::test]
async fn download_is_not_resumed_with_bytes_of_another_encoder() {
    use tower_http::CompressionLevel::{Best, Fastest};
    let mut answers = Vec::new();
    for quality in [Fastest, Best] {
        let cache = memory();
        let stack = encoding_by(&cache, policy(), CompressionLayer::new().quality(quality), origin(dated).0);
        if let Some(Answer { headers, .. }) = answers.first() {
            // The variant is absent, and then made by the other encoder.
            for _ in 0..4 {
                let tag = headers["etag"].to_str().expect("text");
                let resumed = ask_with(&stack, "gzip", &[("range", "bytes=5-"), ("if-range", tag)]).await;
                assert_eq!(resumed.status, 200);
                assert_eq!(decoded(&resumed).await, text(1));
                cache.wait_idle().await;
            }
        }
        answers.push(encoded(&cache, &stack, "gzip").await);
    }
    assert_ne!(answers[0].body, answers[1].body);
    assert_ne!(answers[0].header("etag"), answers[1].header("etag"));
}

/// RFC 9110 section 13.1.5: the tag of the plain response is weak for this client.
#[tokio::test]
async fn weak_tag_of_the_plain_response_resumes_nothing() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(dated).0);
    send(&stack, get("/")).await;
    for condition in ["\"v1\"", "W/\"v1\"", "Sun, 06 Nov 1994 08:48:37 GMT"] {
        let answer = ask_with(&stack, "gzip", &[("range", "bytes=5-"), ("if-range", condition)]).await;
        assert_eq!(decoded(&answer).await, text(1), "{condition}");
        assert_eq!(answer.status, 200);
    }
}
