//! Which coding a client gets, and when.

use super::*;
use tower_http::CompressionLevel;
use tower_http::compression::predicate::SizeAbove;

type Lines = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn one_handler_call_serves_all_codings() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| html(call));
    let stack = encoding(&cache, policy(), inner);
    for coding in CODINGS {
        let answer = encoded(&cache, &stack, coding).await;
        assert_eq!(decoded(&answer).await, text(1), "{coding}");
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
        assert!(answer.body.len() < text(1).len() / 2);
        assert_eq!(answer.detail(), Some(&*format!("encoded-{coding}")));
        assert!(vary(&answer.headers).contains(&"accept-encoding".to_owned()));
    }
    let plain = send(&stack, get("/")).await;
    assert_eq!((plain.text(), plain.header("content-encoding")), (&*text(1), None));
    assert_eq!((calls.count(), cache.stats().store().entries()), (1, Some(1)));
}

#[tokio::test]
async fn second_request_for_a_coding_starts_to_make_it() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    let codings = ["gzip", "gzip", "gzip", "br", "gzip", "br", "br"];
    let expected = [None, None, None, None, Some("gzip"), None, Some("br")];
    for (at, (coding, expected)) in codings.into_iter().zip(expected).enumerate() {
        let answer = ask(&cache, &stack, coding).await;
        assert_eq!(answer.header("content-encoding"), expected, "{at}");
        assert_eq!(decoded(&answer).await, text(1));
    }
}

#[tokio::test]
async fn number_of_requests_before_encoding_is_an_option() {
    for (requests, plain_hits) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
        let cache = memory();
        let encoder = ResponseEncoder::new(CompressionLayer::new()).after_requests(requests);
        let stack = encoding_by(&cache, policy(), encoder, origin(|_, call| html(call)).0);
        send(&stack, get("/")).await;
        let mut plain = 0;
        while ask(&cache, &stack, "gzip").await.header("content-encoding").is_none() {
            plain += 1;
        }
        assert_eq!(plain, plain_hits, "{requests}");
    }
}

/// RFC 9110 section 12.5.3.
/// The warmed requests accept no coding.
#[tokio::test]
async fn eager_encoder_makes_all_codings_of_warmed_pages() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| html(call));
    let encoder = ResponseEncoder::new(CompressionLayer::new()).eager(true);
    let stack = encoding_by(&cache, policy(), encoder, inner);
    let paths: Vec<_> = (0..20).map(|page| format!("/{page}")).collect();
    let uris = paths.iter().map(|path| path.parse().expect("a URI"));
    cache.warm_as(stack.clone(), uris).await;
    cache.wait_idle().await;
    for path in &paths {
        for coding in CODINGS {
            let answer = send(&stack, accepting(path, coding)).await;
            assert_eq!(answer.header("content-encoding"), Some(coding), "{path}");
        }
    }
    assert_eq!(calls.count(), paths.len());
}

#[tokio::test]
async fn eager_encoder_makes_the_codings_of_each_variant() {
    let cache = memory();
    let answer = |_: &Request<Body>, call| {
        let mut response = html(call);
        response.headers_mut().insert("vary", "accept-language".parse().expect("a value"));
        response
    };
    let encoder = ResponseEncoder::new(CompressionLayer::new()).eager(true);
    let stack = encoding_by(&cache, policy(), encoder, origin(answer).0);
    for language in ["de", "fr"] {
        let request = || get_with("/", &[("accept-language", language), ("accept-encoding", "br")]);
        assert_eq!(send(&stack, request()).await.header("content-encoding"), None);
        cache.wait_idle().await;
        assert_eq!(send(&stack, request()).await.header("content-encoding"), Some("br"), "{language}");
    }
}

#[tokio::test]
async fn weights_select_the_coding() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    for coding in CODINGS {
        encoded(&cache, &stack, coding).await;
    }
    let table = [
        ("gzip", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("br;q=0.5, gzip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("*", Some("zstd")),
        ("zstd;q=0, *", Some("br")),
        ("identity;q=0, gzip;q=0.1", Some("gzip")),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("compress, unknown", None),
        ("", None),
    ];
    for (codings, expected) in table {
        let answer = ask(&cache, &stack, codings).await;
        assert_eq!(answer.header("content-encoding"), expected, "{codings:?}");
        assert_eq!(decoded(&answer).await, text(1), "{codings:?}");
    }
    assert_eq!(send(&stack, get("/")).await.header("content-encoding"), None);
}

#[tokio::test]
async fn ready_coding_is_sent_until_the_preferred_one_is_made() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    encoded(&cache, &stack, "gzip").await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        let answer = ask(&cache, &stack, "gzip, br").await;
        sent.push(answer.header("content-encoding").expect("a coding").to_owned());
    }
    assert_eq!(sent, ["gzip", "gzip", "br"]);
}

#[tokio::test]
async fn codings_and_predicate_of_the_layer_apply() {
    let cache = memory();
    let layer = CompressionLayer::new().no_br().no_zstd().quality(CompressionLevel::Best);
    let stack = encoding_by(
        &cache,
        policy(),
        layer.compress_when(SizeAbove::new(5000)),
        origin(|request, call| match request.uri().path() {
            "/short" => with_lines(&[("content-length", "4000")], "x".repeat(4000)),
            _ => html(call),
        })
        .0,
    );
    for _ in 0..4 {
        ask(&cache, &stack, "br, gzip").await;
        send(&stack, accepting("/short", "gzip")).await;
    }
    assert_eq!(ask(&cache, &stack, "br, gzip").await.header("content-encoding"), Some("gzip"));
    assert_eq!(ask(&cache, &stack, "br").await.header("content-encoding"), None);
    cache.wait_idle().await;
    let short = send(&stack, accepting("/short", "gzip")).await;
    assert_eq!((short.header("content-encoding"), short.header("vary")), (None, None));
}

#[tokio::test]
async fn responses_that_must_not_be_encoded_stay_plain() {
    let mut state = 1_u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(4000)
    .collect();
    let page = text(1);
    let table: [(Lines, &[u8]); 8] = [
        (&[("content-type", "image/png")], page.as_bytes()),
        (&[("content-type", "text/event-stream"), ("cache-control", "max-age=60")], page.as_bytes()),
        (&[("content-type", "application/grpc")], page.as_bytes()),
        (&[("cache-control", "max-age=60, no-transform")], page.as_bytes()),
        (&[("content-encoding", "identity")], page.as_bytes()),
        (&[("content-type", "text/html")], b"a short page"),
        (&[("content-type", "text/html")], &page.as_bytes()[..859]),
        (&[("content-type", "application/zip")], &random),
    ];
    for (lines, body) in table {
        let cache = memory();
        let lines: Vec<_> = lines.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = body.to_vec();
        let inner = origin(move |_, _| {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (&**name, &**value)).collect();
            with_lines(&lines, body.clone())
        });
        let stack = encoding(&cache, policy(), inner.0);
        for _ in 0..5 {
            let answer = ask(&cache, &stack, "gzip, br").await;
            let coding = answer.header("content-encoding").filter(|coding| *coding != "identity");
            assert_eq!(coding, None, "{:?}", answer.headers);
        }
    }
}

/// The attack BREACH guesses secrets by the length of compressed pages.
#[tokio::test]
async fn per_identity_entries_are_encoded_only_by_option() {
    for on in [false, true] {
        let cache = memory();
        let by_user = policy().vary_by_identity("user", |request| {
            request.headers.get("x-user").map(|user| user.to_str().expect("text").to_owned())
        });
        let encoder = ResponseEncoder::new(CompressionLayer::new()).per_identity(on);
        let stack = encoding_by(&cache, by_user, encoder, origin(|_, call| html(call)).0);
        let mut coding = None;
        for _ in 0..5 {
            let lines = [("x-user", "ann"), ("accept-encoding", "gzip")];
            let answer = send(&stack, get_with("/", &lines)).await;
            cache.wait_idle().await;
            coding = answer.header("content-encoding").map(str::to_owned);
        }
        assert_eq!(coding.is_some(), on);
    }
}

#[tokio::test]
async fn without_a_runtime_responses_stay_plain() {
    let cache = memory();
    let stack = encoding(&cache, policy(), origin(|_, call| html(call)).0);
    std::thread::spawn(move || {
        futures::executor::block_on(async {
            for _ in 0..4 {
                let answer = send(&stack, accepting("/", "gzip")).await;
                assert_eq!((answer.text(), answer.header("content-encoding")), (&*text(1), None));
            }
        });
    })
    .join()
    .expect("no panic");
}
