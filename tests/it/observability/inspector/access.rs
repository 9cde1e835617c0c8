//! The predicate, the methods, and the fields of every answer.

use super::*;
use http::{HeaderValue, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ADDRESSES: [&str; 8] = [
    "/",
    "/inspector.css",
    "/inspector.js",
    "/stats.json",
    "/token.json",
    "/explain.json?url=/",
    "/purge",
    "/enabled",
];

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];

#[tokio::test]
async fn without_the_predicate_nothing_is_reachable() {
    let cache = memory();
    let (stack, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, stack);
    send(&stack, get("/page")).await;
    let service = inspector(&cache);
    let token = token(&service).await;
    let lines =
        [("host", "shop.example"), FORM, ("x-inspector-token", &*token), ("sec-fetch-site", "same-origin")];
    for address in ADDRESSES.into_iter().chain(["/unknown"]) {
        for method in METHODS {
            for form in ["path=/page", "enabled=false", "url=/"] {
                let request = request(method, address, &lines).map(|_| Body::from(form));
                let answer = send(&service, request).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (404, ""), "{method} {address}");
            }
        }
    }
    assert!(send(&stack, get("/page")).await.is_hit());
    assert!(cache.is_enabled());
}

#[tokio::test]
async fn the_predicate_is_asked_on_each_request_and_first() {
    let (is_open, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (opened, counted) = (Arc::clone(&is_open), Arc::clone(&asked));
    let service = InspectorService::new(&memory(), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        opened.load(Ordering::SeqCst)
    });
    let mut expected = 0;
    for opens in [true, false, true] {
        is_open.store(opens, Ordering::SeqCst);
        for address in ADDRESSES {
            for method in METHODS {
                let answer = send(&service, request(method, address, &[])).await;
                expected += 1;
                assert_eq!(answer.status == 404, !opens, "{method} {address}");
                assert_eq!(asked.load(Ordering::SeqCst), expected);
            }
        }
    }
}

#[tokio::test]
async fn on_refusal_replaces_the_404() {
    let service = inspector(&memory()).on_refusal(|request| {
        let mut response = Response::new(format!("not {}", request.method));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let fields = [("www-authenticate", "Basic"), ("cache-control", "public, max-age=60")];
        for (name, value) in fields {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    });
    let answer = send(&service, get("/")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (401, "not GET"));
    assert_eq!(answer.header("www-authenticate"), Some("Basic"));
    let client = answer.header("cache-control").expect("a field");
    assert!(
        client.contains("no-store") && client.contains("private") && !client.contains("public"),
        "{client}"
    );
    assert_eq!(operator_get(&service, "/").await.status, 200);
}

#[tokio::test]
async fn every_answer_has_the_fields_that_protect_it() {
    let service = inspector(&memory());
    let mut answers = vec![send(&service, get("/")).await, operator_get(&service, "/_cache").await];
    for address in ADDRESSES {
        for method in METHODS {
            answers.push(send(&service, operator_request(method, address, &[], "")).await);
        }
    }
    for form in ["path=/a", "enabled=false", "wrong"] {
        answers.push(post(&service, "/purge", form).await);
        answers.push(post(&service, "/enabled", form).await);
    }
    for answer in &answers {
        let control = answer.header("cache-control").expect("a field");
        assert!(control.contains("no-store") && control.contains("private"), "{control}");
        let policy = answer.header("content-security-policy").expect("a field");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn other_methods_get_a_405() {
    let service = inspector(&memory());
    for (address, allowed) in [
        ("/", "GET, HEAD"),
        ("/inspector.js", "GET, HEAD"),
        ("/stats.json", "GET, HEAD"),
        ("/token.json", "GET, HEAD"),
        ("/explain.json?url=/", "GET, HEAD, POST"),
        ("/purge", "POST"),
        ("/enabled", "POST"),
    ] {
        for method in METHODS.into_iter().chain(["get", "PATCH", "PURGE"]) {
            let answer = send(&service, operator_request(method, address, &[], "")).await;
            let is_allowed = allowed.split(", ").any(|known| known == method);
            assert_eq!(answer.status != 405, is_allowed, "{method} {address}");
            assert_eq!(answer.header("allow"), (!is_allowed).then_some(allowed), "{method} {address}");
        }
    }
    assert_eq!(operator_get(&service, "/unknown.js").await.status, 404);
}

#[tokio::test]
async fn head_has_the_length_of_get_and_no_body() {
    let service = inspector(&memory());
    for address in ["/", "/inspector.css", "/inspector.js", "/token.json"] {
        let got = operator_get(&service, address).await;
        let head = send(&service, operator_request("HEAD", address, &[], "")).await;
        assert_eq!((got.status.as_u16(), head.status.as_u16(), head.text()), (200, 200, ""));
        assert_eq!(head.header("content-length"), Some(&*got.body.len().to_string()));
        assert_eq!(head.header("content-type"), got.header("content-type"));
    }
}

/// The page has no build step: it is complete, and names no other host.
#[tokio::test]
async fn page_has_no_inline_code_and_names_no_host() {
    let service = inspector(&memory());
    let page = operator_get(&service, "/").await;
    for forbidden in ["style=", "onclick", "onload", "<style", "javascript:"] {
        assert!(!page.text().contains(forbidden), "{forbidden}");
    }
    for script in page.text().split("<script").skip(1) {
        assert!(script.starts_with(" src=\"inspector.js\" defer></script>"), "{script}");
    }
    for address in ["/", "/inspector.css", "/inspector.js"] {
        let answer = operator_get(&service, address).await;
        for forbidden in
            ["http:", "https:", "\"//", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!answer.text().contains(forbidden), "{address} {forbidden}");
        }
    }
}
