//! POST requests: the token, the origin, the form, and their effects.

use super::*;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use tower::ServiceExt;

async fn with_a_page() -> (InspectorService, Stack, Cache) {
    let cache = memory();
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    assert!(shares(&stack, get("/page"), get("/page")).await);
    (inspector(&cache), stack, cache)
}

/// Sends a purge of the stored page with these fields, to which the token may belong.
async fn purge_with(service: &InspectorService, lines: &[(&str, &str)], form: &str) -> u16 {
    send(service, operator_request("POST", "/purge", lines, form)).await.status.as_u16()
}

#[tokio::test]
async fn purge_takes_the_parameters_of_a_purge_service() {
    for form in ["path=/page", "uri=/page", "subtree=/", "tag=none&path=/page", "all=true"] {
        let (service, stack, _) = with_a_page().await;
        let answer = post(&service, "/purge", form).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "{\"delivery\":\"delivered\"}"), "{form}");
        assert!(!send(&stack, get("/page")).await.is_hit(), "{form}");
    }
    for form in ["path=/other", "tag=none", "host=blog.example&path=/page"] {
        let (service, stack, _) = with_a_page().await;
        assert_eq!(post(&service, "/purge", form).await.status, 200);
        assert!(send(&stack, get("/page")).await.is_hit(), "{form}");
    }
}

#[tokio::test]
async fn switch_turns_the_cache_off_and_on() {
    let (service, stack, cache) = with_a_page().await;
    for (value, is_hit) in [("false", false), ("true", true)] {
        let answer = json(&post(&service, "/enabled", &format!("enabled={value}")).await);
        assert_eq!(answer["enabled"].to_string(), value);
        assert_eq!(stats(&service).await["enabled"].to_string(), value);
        assert_eq!(send(&stack, get("/page")).await.is_hit(), is_hit);
    }
    for form in [
        "",
        "enabled=",
        "enabled=0",
        "enabled=FALSE",
        "enabled=false&enabled=false",
        "on=false",
        "enabled=false&a=b",
    ] {
        assert_eq!(post(&service, "/enabled", form).await.status, 400, "{form}");
    }
    assert!(cache.is_enabled());
}

#[tokio::test]
async fn post_needs_the_token() {
    let (service, stack, _) = with_a_page().await;
    let (token, other) = (token(&service).await, token(&inspector(&memory())).await);
    let wrong = [
        String::new(),
        other,
        token[1..].to_owned(),
        format!("{token}0"),
        format!("{token}, {token}"),
        token.to_uppercase(),
    ];
    assert_eq!(purge_with(&service, &[FORM], "path=/page").await, 403);
    for wrong in wrong.iter().filter(|wrong| **wrong != token) {
        assert_eq!(purge_with(&service, &[FORM, ("x-inspector-token", wrong)], "path=/page").await, 403);
        assert_eq!(purge_with(&service, &[FORM], &format!("path=/page&token={wrong}")).await, 403, "{wrong}");
    }
    let own = ("x-inspector-token", &*token);
    let form = format!("token={token}&path=/page");
    assert_eq!(purge_with(&service, &[FORM, own, own], "path=/page").await, 403, "the field is repeated");
    assert_eq!(purge_with(&service, &[FORM, own], &form).await, 403, "the token is repeated");
    assert_eq!(purge_with(&service, &[FORM], &format!("token=a&{form}")).await, 403);
    let in_query = operator_request("POST", &format!("/purge?token={token}"), &[FORM], "path=/page");
    assert_eq!(send(&service, in_query).await.status, 403, "a URL is logged");
    assert!(send(&stack, get("/page")).await.is_hit());

    assert_eq!(purge_with(&service, &[FORM], &form).await, 200, "a token in the form");
    assert!(!send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn post_from_another_site_is_refused() {
    let (service, stack, cache) = with_a_page().await;
    let token = token(&service).await;
    let own = [FORM, ("x-inspector-token", &*token)];
    let refused: [&[(&str, &str)]; 17] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "")],
        &[("sec-fetch-site", "Same-Origin")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://shop.example")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "shop.example")],
        &[("origin", "file://shop.example")],
        &[("origin", "http://shop.example:8080")],
        &[("origin", "http://shop.example.evil.example")],
        &[("origin", "http://evil.example/http://shop.example")],
        &[("origin", "http://shop.example"), ("origin", "http://shop.example")],
    ];
    for lines in refused {
        let lines = [&own, lines].concat();
        for (address, form) in
            [("/purge", "path=/page"), ("/enabled", "enabled=false"), ("/explain.json", "url=/")]
        {
            let answer = send(&service, operator_request("POST", address, &lines, form)).await;
            assert_eq!(answer.status, 403, "{address} {lines:?}");
        }
    }
    assert!(send(&stack, get("/page")).await.is_hit() && cache.is_enabled());

    let accepted: [&[(&str, &str)]; 5] = [
        &[],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://shop.example")],
        &[("origin", "http://shop.example")],
        &[("origin", "http://SHOP.example")],
    ];
    for lines in accepted {
        assert_eq!(purge_with(&service, &[&own, lines].concat(), "path=/page").await, 200, "{lines:?}");
    }
}

#[tokio::test]
async fn origin_needs_the_host_of_the_request() {
    let (service, ..) = with_a_page().await;
    let token = token(&service).await;
    let lines = [OPERATOR, FORM, ("x-inspector-token", &*token), ("origin", "https://shop.example")];
    let status = async |uri: &str, more: &[(&str, &str)]| {
        let request = request("POST", uri, &[&lines, more].concat()).map(|_| Body::from("path=/page"));
        send(&service, request).await.status.as_u16()
    };
    assert_eq!(status("/purge", &[]).await, 403, "no host");
    assert_eq!(status("/purge", &[("host", "shop.example"), ("host", "shop.example")]).await, 403);
    assert_eq!(status("https://shop.example/purge", &[]).await, 200, "as in HTTP/2");
    assert_eq!(status("https://blog.example/purge", &[("host", "shop.example")]).await, 403);
}

#[tokio::test]
async fn invalid_form_changes_nothing() {
    let (service, stack, _) = with_a_page().await;
    let many = "path=/page&".repeat(257);
    let forms = [
        "",
        "path",
        "path=",
        "path=page",
        "unknown=1&path=/page",
        "all=true&path=/page",
        "soft=true",
        "path=/%FF",
        &many,
    ];
    for form in forms {
        let answer = post(&service, "/purge", form).await;
        assert_eq!(answer.status, 400, "{form}");
        assert!(json(&answer)["error"].as_str().is_some_and(|error| !error.is_empty()));
    }
    assert!(send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn form_is_limited_in_type_and_size() {
    let (service, stack, _) = with_a_page().await;
    let token = token(&service).await;
    let token = ("x-inspector-token", &*token);
    let types = [
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=a",
        "application/x-www-form-urlencodedx",
        "",
    ];
    for content_type in types {
        assert_eq!(purge_with(&service, &[token, ("content-type", content_type)], "path=/page").await, 415);
    }
    assert_eq!(purge_with(&service, &[token], "path=/page").await, 415);
    assert_eq!(purge_with(&service, &[token, FORM, FORM], "path=/page").await, 415);
    let padded = |length: usize| format!("path=/page&path=/{}", "a".repeat(length - 17));
    assert_eq!(purge_with(&service, &[token, FORM], &padded((8 << 10) + 1)).await, 413);
    assert!(send(&stack, get("/page")).await.is_hit());
    let with_charset = ("content-type", "Application/X-WWW-Form-Urlencoded ; charset=utf-8");
    assert_eq!(purge_with(&service, &[token, with_charset], &padded(8 << 10)).await, 200);
    assert!(!send(&stack, get("/page")).await.is_hit());
}

/// Sends a POST whose body is a stream of frames.
async fn post_stream<E: Send + 'static>(
    service: &InspectorService,
    token: &str,
    frames: impl futures::Stream<Item = Result<Frame<Bytes>, E>> + Send + 'static,
) -> Response<String> {
    let lines = [FORM, ("x-inspector-token", token)];
    let request = operator_request("POST", "/purge", &lines, "").map(|_| StreamBody::new(frames));
    service.clone().oneshot(request).await.expect("infallible")
}

#[tokio::test(start_paused = true)]
async fn endless_failed_and_slow_bodies_end_the_request() {
    let (service, stack, _) = with_a_page().await;
    let token = token(&service).await;
    let data = |text: &'static str| Ok::<_, &str>(Frame::data(Bytes::from_static(text.as_bytes())));
    let endless = futures::stream::repeat_with(move || data("path=/page&"));
    assert_eq!(post_stream(&service, &token, endless).await.status(), 413);
    let failed = futures::stream::iter([data("path=/page"), Err("reset")]);
    assert_eq!(post_stream(&service, &token, failed).await.status(), 400);
    let begun = futures::stream::iter([data("path=/page")]);
    let hanging = futures::StreamExt::chain(begun, futures::stream::pending());
    assert_eq!(post_stream(&service, &token, hanging).await.status(), 408);
    assert!(send(&stack, get("/page")).await.is_hit());
    let split = futures::stream::iter(
        ["pa", "th=", "/page"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text)))),
    );
    assert_eq!(post_stream(&service, &token, split).await.status(), 200);
    assert!(!send(&stack, get("/page")).await.is_hit());
}
