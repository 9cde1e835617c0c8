//! Fields that identify a visitor, recognized by their names in requests and responses.

use crate::support::*;
use http::header::{HeaderName, VARY};
use http::{Request, Response};
use tower::{Layer, ServiceExt};
use tower_response_cache::key::KeyPart;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, Cache, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer};

const IDENTIFYING: [&str; 15] = [
    "client-cert",
    "x-amzn-mtls-clientcert-leaf",
    "x-arr-clientcert",
    "tailscale-user-login",
    "x-authentik-username",
    "x-consumer-username",
    "private-token",
    "accesstoken",
    "sec-session-id",
    "x-acme-session",
    "oidc_claim_sub",
    "x-partner-key",
    "x-proxiedentitieschain",
    "x-customerid",
    "x-display-name",
];

const HARMLESS: [&str; 9] = [
    "user-agent",
    "sec-fetch-user",
    "sec-ch-ua",
    "traceparent",
    "baggage",
    "idempotency-key",
    "from",
    "x-author",
    "x-tenant-id",
];

fn rfc9111() -> PolicyBuilder {
    Policy::rfc9111().default_ttl(MINUTE).cache_status(true)
}

/// A page that greets the visitor whom the field `name` identifies.
fn greeting(name: &'static str) -> (Inner, Calls) {
    origin(move |request, _| {
        let visitor = request.headers().get(name).map_or("nobody", |value| value.to_str().expect("text"));
        with_lines(&[], format!("for {visitor}"))
    })
}

fn of(name: &str, visitor: &str) -> Request<Body> {
    get_with("/", &[(name, visitor)])
}

#[tokio::test]
async fn an_identifying_field_bypasses_and_is_named_as_the_reason() {
    for name in IDENTIFYING {
        let (inner, calls) = greeting(name);
        let stack = site_over(&memory(), inner);
        for visitor in ["alice", "bob", "alice"] {
            let answer = send(&stack, of(name, visitor)).await;
            assert_eq!(answer.text(), format!("for {visitor}"), "{name}");
            assert_eq!(answer.detail(), Some(name));
        }
        assert_eq!(calls.count(), 3, "{name}");
        assert!(!shares(&stack, of(name, "alice"), get("/")).await, "{name}");
    }
}

#[tokio::test]
async fn a_harmless_field_does_not_bypass_the_cache() {
    for name in HARMLESS {
        let (stack, calls) = site(policy(), |_, call| numbered(&[], call));
        assert!(shares(&stack, of(name, "a"), of(name, "b")).await, "{name}");
        assert_eq!(calls.count(), 1);
    }
}

#[tokio::test]
async fn inside_anonymous_only_layers_identifying_fields_bypass() {
    for preset in [policy(), rfc9111()] {
        for name in IDENTIFYING {
            let (inner, _) = greeting(name);
            let cached =
                SiteCacheLayer::new(&memory()).policy(preset.clone().build().expect("a policy")).layer(inner);
            let stack = AnonymousOnlyLayer::new().layer(cached).boxed_clone();
            for visitor in ["alice", "bob"] {
                let answer = send(&stack, of(name, visitor)).await;
                assert_eq!(answer.text(), format!("for {visitor}"), "{name}");
                assert_eq!(answer.detail(), Some("identified"), "{name}");
                assert_eq!(answer.header("cache-control"), Some("private"), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_stripped_identifying_field_still_prevents_sharing() {
    for outer in [policy(), rfc9111()] {
        for name in IDENTIFYING {
            let cache = memory();
            let (inner, _) = greeting("x-page-of");
            let route =
                RouteCacheLayer::new(&cache, MINUTE).policy(policy().build().expect("a policy")).layer(inner);
            // An authentication layer that removes the field, and lets its value select the page.
            let between = route.map_request(move |mut request: Request<Body>| {
                if let Some(visitor) = request.headers_mut().remove(name) {
                    request.headers_mut().insert("x-page-of", visitor);
                }
                request
            });
            let stack = SiteCacheLayer::new(&cache)
                .policy(outer.clone().build().expect("a policy"))
                .layer(between)
                .boxed_clone();
            for visitor in ["alice", "bob"] {
                assert_eq!(send(&stack, of(name, visitor)).await.text(), format!("for {visitor}"), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn an_ignored_field_is_stripped_and_does_not_identify() {
    for name in IDENTIFYING {
        let harmless = || [HeaderName::from_static(name)];
        let (inner, calls) = greeting(name);
        let cached = SiteCacheLayer::new(&memory())
            .policy(policy().ignore_headers(harmless()).build().expect("a policy"))
            .layer(inner);
        let stack = AnonymousOnlyLayer::builder()
            .ignore_headers(harmless())
            .build()
            .expect("valid options")
            .layer(cached)
            .boxed_clone();
        assert_eq!(send(&stack, of(name, "alice")).await.text(), "for nobody", "{name}");
        assert!(send(&stack, of(name, "bob")).await.is_hit(), "{name}");
        assert_eq!(calls.count(), 1);
    }
}

/// A field in the key does not count as identifying, unless it is a known credential, such as
/// `x-api-key`.
#[tokio::test]
async fn a_keyed_field_is_stored_unless_it_is_a_credential() {
    for (name, is_stored) in [("x-tenant-key", true), ("x-user-segment", true), ("x-api-key", false)] {
        let field = HeaderName::from_static(name);
        let part =
            KeyPart::new("part", move |request| Some(request.headers.get(name)?.to_str().ok()?.to_owned()));
        let policies =
            [policy().vary_on_headers([field.clone()]), policy().vary_by_part(part.replacing(field))];
        for policy in policies {
            let (inner, _) = greeting(name);
            let stack = SiteCacheLayer::new(&memory())
                .policy(policy.build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            for visitor in ["alice", "bob"] {
                let first = send(&stack, of(name, visitor)).await;
                assert_eq!(first.text(), format!("for {visitor}"), "{name}");
                assert_eq!(send(&stack, of(name, visitor)).await.is_hit(), is_stored, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_issues_a_credential_is_not_stored() {
    let names =
        ["authorization", "x-auth-token", "x-csrf-token", "authentication-info", "x-acme-session", "cookie"];
    for name in names.into_iter().chain(IDENTIFYING) {
        let (stack, calls) = site(policy(), move |_, call| {
            numbered(&[(name, "alice"), ("cache-control", "public, max-age=60")], call)
        });
        assert_eq!(send(&stack, get("/")).await.detail(), Some(name));
        let next = send(&stack, get("/")).await;
        assert_eq!(next.text(), "2", "{name}");
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test]
async fn a_response_with_a_challenge_or_harmless_fields_is_stored() {
    for name in [
        "www-authenticate",
        "x-content-type-options",
        "public-key-pins",
        "surrogate-key",
        "x-cache-key",
        "x-true-cache-key",
        "x-ab-group",
        // The response is stored without these fields, which describe the exchange.
        "x-ratelimit-remaining-tokens",
        "x-okta-request-id",
        "x-auth0-requestid",
        "x-kong-admin-latency",
    ] {
        let (stack, _) = site(policy(), move |_, call| numbered(&[(name, "x")], call));
        assert!(shares(&stack, get("/"), get("/")).await, "{name}");
    }
}

#[tokio::test]
async fn harmless_or_unstored_response_fields_issue_no_credential() {
    let field = || [HeaderName::from_static("x-user-segment")];
    let table = [policy().ignore_headers(field()), policy().unstored_headers(field())];
    for (policy, is_kept) in table.into_iter().zip([true, false]) {
        let (stack, _) = site(policy, |_, call| numbered(&[("x-user-segment", "a")], call));
        send(&stack, get("/")).await;
        let hit = send(&stack, get("/")).await;
        assert!(hit.is_hit());
        assert_eq!(hit.header("x-user-segment").is_some(), is_kept);
    }
}

/// RFC 9111 section 3.1: fields for a proxy are not stored. RFC 9110 section 11.6.3:
/// `Authentication-Info` concerns the credentials of one client.
#[tokio::test]
async fn under_rfc9111_authentication_fields_prevent_storing() {
    let table = [
        ("authorization", false, None),
        ("authentication-info", false, None),
        ("x-auth-token", true, Some("x")),
        ("proxy-authorization", true, None),
        ("proxy-authentication-info", true, None),
        ("proxy-authenticate", true, None),
    ];
    for (name, is_stored, value) in table {
        let (stack, _) = site(rfc9111(), move |_, call| numbered(&[(name, "x")], call));
        send(&stack, get("/")).await;
        let second = send(&stack, get("/")).await;
        assert_eq!(second.is_hit(), is_stored, "{name}");
        if is_stored {
            assert_eq!(second.header(name), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_304_that_issues_a_credential_removes_the_entry() {
    let (cache, clock) = timed();
    let (inner, _) = origin(|request, call| match request.headers().contains_key("if-none-match") {
        true => Response::builder()
            .status(304)
            .header("etag", "\"a\"")
            .header("x-csrf-token", "alice")
            .body(Body::default())
            .expect("a response"),
        false => numbered(&[("etag", "\"a\""), ("cache-control", "max-age=60")], call),
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    clock.advance(2 * MINUTE);
    send(&stack, get("/")).await;
    let next = send(&stack, get("/")).await;
    assert!(!next.is_hit());
}

#[tokio::test]
async fn a_response_with_a_credential_gets_no_shared_lifetime() {
    for name in ["x-auth-token", "authorization"] {
        let (stack, _) = site(policy().client_max_age(MINUTE), move |_, call| {
            numbered(&[(name, "alice"), ("cache-control", "max-age=600")], call)
        });
        let answer = send(&stack, get("/")).await;
        assert!(answer.header("cache-control").is_some_and(|value| value.contains("private")), "{answer:?}");
    }
}

#[derive(Clone)]
struct CurrentUser(&'static str);

#[tokio::test]
async fn an_identifying_extension_bypasses_the_cache() {
    let of = |visitor: Option<&'static str>| {
        let mut request = get("/");
        if let Some(visitor) = visitor {
            request.extensions_mut().insert(CurrentUser(visitor));
        }
        request
    };
    let page = || {
        origin(|request, _| {
            let visitor = request.extensions().get::<CurrentUser>().map_or("nobody", |user| user.0);
            with_lines(&[], format!("for {visitor}"))
        })
        .0
    };
    for preset in [policy(), rfc9111()] {
        let by_policy = SiteCacheLayer::new(&memory())
            .policy(preset.clone().identified_if_extension::<CurrentUser>().build().expect("a policy"))
            .layer(page())
            .boxed_clone();
        let cached = SiteCacheLayer::new(&memory()).policy(preset.build().expect("a policy")).layer(page());
        let by_layer = AnonymousOnlyLayer::builder()
            .identified_if_extension::<CurrentUser>()
            .build()
            .expect("valid options")
            .layer(cached)
            .boxed_clone();
        for stack in [by_policy, by_layer] {
            assert!(shares(&stack, of(None), of(None)).await);
            for visitor in ["alice", "bob"] {
                let answer = send(&stack, of(Some(visitor))).await;
                assert_eq!(answer.text(), format!("for {visitor}"));
                assert_eq!(answer.detail(), Some("identified"));
            }
        }
    }
    let keyed = policy()
        .identified_if_extension::<CurrentUser>()
        .vary_by_identity("user", |request| Some(request.extensions.get::<CurrentUser>()?.0.to_owned()));
    let stack =
        SiteCacheLayer::new(&memory()).policy(keyed.build().expect("a policy")).layer(page()).boxed_clone();
    for visitor in ["alice", "bob"] {
        assert_eq!(send(&stack, of(Some(visitor))).await.text(), format!("for {visitor}"));
        assert!(send(&stack, of(Some(visitor))).await.is_hit());
    }
}

#[tokio::test]
async fn layers_with_different_identity_extensions_share_no_page() {
    let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let plain = SiteCacheLayer::new(&cache)
        .policy(policy().build().expect("a policy"))
        .layer(inner.clone())
        .boxed_clone();
    let reading = policy().identified_if_extension::<CurrentUser>();
    let reading =
        SiteCacheLayer::new(&cache).policy(reading.build().expect("a policy")).layer(inner).boxed_clone();
    send(&plain, get("/")).await;
    assert!(!send(&reading, get("/")).await.is_hit());
    assert_eq!(calls.count(), 2);
}

/// `Cache-Status` names the request field that identifies the visitor. A client chooses that name.
/// The value of `Cache-Status` must stay short, and a valid list (RFC 9651 section 4.2).
#[tokio::test]
async fn a_hostile_field_name_keeps_cache_status_parsable() {
    let (stack, _) = site(policy(), |_, call| numbered(&[(VARY.as_str(), "accept")], call));
    let long = format!("x-{}-token", "a".repeat(500));
    for name in ["!#$-token", "1-token", "`^|~-user", "*token", long.as_str()] {
        let answer = send(&stack, of(name, "a")).await;
        let value = answer.header("cache-status").expect("a status");
        assert!(value.len() < 120, "{value}");
        sfv::Parser::new(value).parse::<sfv::List>().expect("a list");
    }
}

/// A field that a key part replaces counts as keyed even if it is also in `ignore_headers`, in
/// either order of the calls.
#[tokio::test]
async fn a_keyed_field_stays_keyed_if_it_is_declared_harmless() {
    const NAME: &str = "x-plan";
    let field = || [HeaderName::from_static(NAME)];
    let part = || {
        KeyPart::new("plan", |request| Some(request.headers.get(NAME)?.to_str().ok()?.to_owned()))
            .replacing(HeaderName::from_static(NAME))
    };
    for policy in [
        policy().vary_by_part(part()).ignore_headers(field()),
        policy().ignore_headers(field()).vary_by_part(part()),
    ] {
        let (inner, _) = greeting(NAME);
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy.build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        for visitor in ["a", "b"] {
            assert_eq!(send(&stack, of(NAME, visitor)).await.text(), format!("for {visitor}"));
            assert!(send(&stack, of(NAME, visitor)).await.is_hit());
        }
    }
}
