//! Key parts: content negotiation, computed parts, header fields and hosts.

use crate::support::*;
use http::{HeaderName, Request};
use tower_response_cache::Policy;
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::key::{KeyPart, QueryKey};
use tower_response_cache::policy::PolicyBuilder;

/// Returns a site whose page shows these fields as the handler sees them.
fn site_showing(
    policy: PolicyBuilder,
    fields: &'static [&'static str],
    vary: &'static str,
) -> (Stack, Calls) {
    site(policy, move |request, _| {
        let seen = fields
            .iter()
            .map(|name| request.headers().get(*name).map_or("-", |value| value.to_str().expect("text")));
        with_lines(&[("vary", vary)], seen.collect::<Vec<_>>().join(" "))
    })
}

type Lines<'a> = &'a [(&'a str, &'a str)];

async fn check(stack: &Stack, table: &[(Lines<'_>, &str, bool)]) {
    for (lines, page, hit) in table {
        let answer = send(stack, get_with("/", lines)).await;
        assert_eq!((answer.text(), answer.is_hit()), (*page, *hit), "{lines:?}");
    }
}

#[tokio::test]
async fn a_page_has_one_entry_per_language_of_the_site() {
    let policy = policy().vary_by_part(KeyPart::language(["en", "de"]).expect("valid"));
    let (stack, calls) = site_showing(policy, &["accept-language"], "Accept-Language");
    check(
        &stack,
        &[
            (&[("accept-language", "de-AT,de;q=0.9,en;q=0.8")], "de", false),
            (&[("accept-language", "de")], "de", true),
            (&[("accept-language", "fr, DE;q=0.5")], "de", true),
            (&[("accept-language", "ja")], "en", false),
            (&[], "en", true),
            (&[("accept-language", "*")], "en", true),
        ],
    )
    .await;
    assert_eq!(calls.count(), 2);
    assert_eq!(
        send(&stack, get("/")).await.header("vary"),
        Some("Accept-Language"),
        "clients still receive `Vary`"
    );
}

#[tokio::test]
async fn entries_are_limited_to_codings_and_formats_of_the_site() {
    let policy = policy()
        .vary_by_part(KeyPart::encoding(["br", "gzip"]).expect("valid"))
        .vary_by_part(KeyPart::format(["text/html", "application/json"]).expect("valid"));
    let (stack, calls) = site_showing(policy, &["accept-encoding", "accept"], "Accept-Encoding, Accept");
    check(
        &stack,
        &[
            (
                &[("accept-encoding", "gzip, deflate, br, zstd"), ("accept", "text/html,*/*;q=0.8")],
                "br text/html",
                false,
            ),
            (&[("accept-encoding", "br"), ("accept", "*/*")], "br text/html", true),
            (&[("accept-encoding", "gzip, deflate"), ("accept", "text/*")], "gzip text/html", false),
            (
                &[("accept-encoding", "deflate"), ("accept", "application/json")],
                "identity application/json",
                false,
            ),
            (&[("accept", "application/json, text/html;q=0.9")], "identity application/json", true),
        ],
    )
    .await;
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn without_a_language_part_each_spelling_has_its_own_entry() {
    let (stack, _) = site_showing(policy(), &["accept-language"], "Accept-Language");
    check(
        &stack,
        &[
            (&[("accept-language", "de-AT,de;q=0.9")], "de-AT,de;q=0.9", false),
            (&[("accept-language", "de")], "de", false),
            (&[("accept-language", "de")], "de", true),
        ],
    )
    .await;
}

/// Like the key bits of drf-extensions: one part for each input of a page.
#[tokio::test]
async fn key_parts_compose_and_absent_differs_from_empty() {
    #[derive(Clone)]
    struct Tenant(&'static str);
    let policy = policy()
        .vary_by("tenant", |request| Some(request.extensions.get::<Tenant>()?.0.to_owned()))
        .vary_by_part(
            KeyPart::new("bucket", |request| {
                let value = request.headers.get("x-visitor")?.to_str().ok()?;
                Some((value.parse::<u32>().ok()? % 2).to_string())
            })
            .replacing(HeaderName::from_static("x-visitor")),
        );
    let (stack, _) = site(policy, |request, _| {
        let tenant = request.extensions().get::<Tenant>().map_or("-", |tenant| tenant.0);
        with_lines(&[], format!("{tenant} {:?}", request.headers().get("x-visitor")))
    });
    let request_page = |tenant: Option<&'static str>, visitor: Option<&'static str>| {
        let mut request = get("/");
        if let Some(tenant) = tenant {
            request.extensions_mut().insert(Tenant(tenant));
        }
        if let Some(visitor) = visitor {
            request.headers_mut().insert("x-visitor", visitor.parse().expect("a value"));
        }
        request
    };
    for (tenant, visitor, page, hit) in [
        (Some("a"), Some("7"), "a Some(\"1\")", false),
        (Some("a"), Some("9"), "a Some(\"1\")", true),
        (Some("a"), Some("8"), "a Some(\"0\")", false),
        (Some("b"), Some("8"), "b Some(\"0\")", false),
        (Some(""), None, " None", false),
        (None, None, "- None", false),
        (None, Some("not a number"), "- None", true),
    ] {
        let answer = send(&stack, request_page(tenant, visitor)).await;
        assert_eq!((answer.text(), answer.is_hit()), (page, hit), "{tenant:?} {visitor:?}");
    }
}

#[tokio::test]
async fn fields_can_be_keyed_without_vary() {
    let policy = policy().vary_on_headers(["hx-request", "rsc"].map(HeaderName::from_static));
    let (stack, _) = site_showing(policy, &["hx-request", "rsc"], "");
    check(
        &stack,
        &[
            (&[("hx-request", "true")], "true -", false),
            (&[], "- -", false),
            (&[("hx-request", "")], " -", false),
            (&[("rsc", "true")], "- true", false),
            (&[("hx-request", "true"), ("x-other", "1")], "true -", true),
            (&[("hx-request", "true"), ("hx-request", "true")], "true -", false),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_unlisted_host_stores_nothing() {
    let policy = policy().hosts(["shop.example"]);
    let (stack, _) = site(policy, |_, call| numbered(&[], call));
    let of = |host: &str| get_with("/", &[("host", host)]);
    assert!(shares(&stack, of("shop.example"), of("shop.example")).await);
    assert!(!shares(&stack, of("evil.example"), of("evil.example")).await);
    assert_eq!(send(&stack, of("evil.example")).await.detail(), Some("unknown-host"));
    assert!(
        !shares(
            &stack,
            of("shop.example"),
            get_with("/", &[("host", "shop.example"), ("x-forwarded-host", "evil.example")])
        )
        .await
    );
    for wrong in
        ["", "Shop.example", "shop.example.", "user@shop.example", "a/b", "*.a", "a:", "a?b", "[::1", ":80"]
    {
        let error = Policy::app().hosts([wrong]).build().expect_err(wrong);
        assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidHost, wrong));
    }
}

#[tokio::test]
async fn tracking_parameters_are_unkeyed_and_hidden_from_handlers() {
    let (stack, _) = site(policy().query(QueryKey::without_tracking()), |request, _| {
        with_lines(&[], request.uri().to_string())
    });
    assert_eq!(send(&stack, get("/?utm_source=mail&page=2&fbclid=x")).await.text(), "/?page=2");
    assert!(send(&stack, get("/?gclid=1&page=2")).await.is_hit());
    assert!(!send(&stack, get("/?page=3")).await.is_hit());
}

fn strict() -> PolicyBuilder {
    let policy = policy().strip_unkeyed_inputs(true).allow_unkeyed_headers(["traceparent"]);
    policy.vary_by_part(KeyPart::language(["en", "de"]).expect("valid")).vary_on_cookies(["lang"])
}

fn everything() -> Request<Body> {
    get_with(
        "/",
        &[
            ("host", "shop.example"),
            ("x-forwarded-host", "cdn.example"),
            ("x-forwarded-for", "1.2.3.4"),
            ("user-agent", "<script>"),
            ("accept", "image/png"),
            ("accept-language", "de"),
            ("traceparent", "00-1"),
            ("cookie", "lang=de"),
            ("referer", "/secret"),
            ("if-none-match", "\"x\""),
        ],
    )
}

fn names(policy: PolicyBuilder, vary: &'static str) -> Stack {
    site(policy, move |request, _| {
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        with_lines(&[("vary", vary)], names.join(" "))
    })
    .0
}

#[tokio::test]
async fn stripping_hides_unkeyed_inputs_from_handlers() {
    let stack = names(strict(), "");
    let seen = "accept-language cookie host traceparent x-forwarded-host";
    assert_eq!(send(&stack, everything()).await.text(), seen);
    let mut other = everything();
    other.headers_mut().insert("user-agent", "another".parse().expect("a value"));
    other.headers_mut().remove("if-none-match");
    assert!(send(&stack, other).await.is_hit());
    // A request whose response is not stored stays unchanged.
    let posted = send(&stack, request("POST", "/", &[("user-agent", "x")])).await;
    assert_eq!(posted.text(), "user-agent");
}

#[tokio::test]
async fn a_response_that_varies_on_stripped_input_is_not_stored() {
    for (vary, stored) in [
        ("Accept-Language", true),
        ("Cookie", true),
        ("Traceparent", true),
        ("Accept", false),
        ("RSC", false),
    ] {
        let stack = names(strict(), vary);
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{vary}");
        if !stored {
            let other = names(strict(), vary);
            assert_eq!(send(&other, get("/")).await.detail(), Some("vary-on-removed"), "{vary}");
        }
    }
    let stack = names(strict(), "");
    for line in [("range", "bytes=0-1"), ("if-match", "\"a\"")] {
        assert_eq!(send(&stack, get_with("/", &[line])).await.detail(), Some("unkeyed"), "{line:?}");
    }
    let rfc = Policy::rfc9111().cache_status(true).strip_unkeyed_inputs(true);
    let (stack, _) = site(rfc, |_, call| numbered(&[("cache-control", "public, max-age=60")], call));
    let with_token = send(&stack, get_with("/", &[("authorization", "Bearer x")])).await;
    assert_eq!(with_token.detail(), Some("authorization"));
}

#[tokio::test]
async fn unkeyed_inputs_can_be_reported_with_and_without_stripping() {
    use std::sync::{Arc, Mutex};
    for strict in [false, true] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let report = Arc::clone(&seen);
        let mut policy = policy().report_unkeyed_inputs(move |name| {
            report.lock().expect("not poisoned").push(name.clone());
        });
        if strict {
            policy = policy.strip_unkeyed_inputs(true);
        }
        let (stack, _) = site_showing(policy, &["x-plan"], "");
        let answer = send(&stack, get_with("/", &[("host", "a"), ("x-plan", "free")])).await;
        assert_eq!(answer.text(), if strict { "-" } else { "free" });
        assert_eq!(*seen.lock().expect("not poisoned"), ["x-plan"]);
    }
}

#[tokio::test]
async fn an_outer_cache_strips_the_requests_of_inner_caches() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, _| with_lines(&[], format!("{:?}", request.headers().get("x-evil"))));
    let route = route_over(&cache, std::time::Duration::from_secs(2), inner);
    let stack = tower_response_cache::SiteCacheLayer::new(&cache)
        .policy(policy().strip_unkeyed_inputs(true).build().expect("a policy"));
    let stack = tower::Layer::layer(&stack, route);
    for _ in 0..4 {
        assert_eq!(send(&stack, get_with("/", &[("x-evil", "1")])).await.text(), "None");
        assert_eq!(send(&stack, get("/")).await.text(), "None");
        manual.advance(std::time::Duration::from_secs(3));
    }
}

/// The function of the key part returns another value at each call.
#[tokio::test]
async fn the_handler_sees_exactly_the_value_in_the_key() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let part = KeyPart::new("changing", move |_| Some(count.fetch_add(1, Ordering::SeqCst).to_string()));
    let policy = policy().vary_by_part(part.replacing(HeaderName::from_static("x-plan")));
    let (stack, _) = site_showing(policy, &["x-plan"], "");
    for expected in ["0", "1", "2"] {
        assert_eq!(send(&stack, get("/")).await.text(), expected);
    }
}

#[test]
fn contradictory_options_are_an_error_with_the_name() {
    let contradiction = |error: tower_response_cache::error::ConfigError| {
        assert_eq!(error.kind(), ConfigErrorKind::Contradiction);
        error.value().to_owned()
    };
    let keyed = Policy::app().vary_on_headers([http::header::COOKIE]).build().expect_err("secret");
    assert_eq!(contradiction(keyed), "cookie");
    let ignored = Policy::app().ignore_headers([http::header::ACCEPT]);
    assert_eq!(
        contradiction(ignored.vary_on_headers([http::header::ACCEPT]).build().expect_err("ignored")),
        "accept"
    );
    let cookies = Policy::app().ignore_cookies(["a"]);
    assert_eq!(
        contradiction(cookies.clone().vary_on_cookies(["a"]).build().expect_err("contradictory")),
        "a"
    );
    assert_eq!(contradiction(cookies.credential_cookies(["a"]).build().expect_err("contradictory")), "a");
}
