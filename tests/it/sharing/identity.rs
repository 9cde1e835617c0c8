//! Per-identity entries: `PolicyBuilder::vary_by_identity`.

use crate::support::*;
use http::Request;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, Identified, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer,
};

/// The visitor that an authentication layer has identified.
#[derive(Clone)]
struct User(&'static str);

fn keyed() -> PolicyBuilder {
    policy().vary_by_identity("user", |request| Some(request.extensions.get::<User>()?.0.to_owned()))
}

fn of(user: &'static str, lines: &[(&str, &str)]) -> Request<Body> {
    let mut request = get_with("/account", lines);
    request.extensions_mut().insert(User(user));
    request
}

/// A page that names its visitor, and shows the cookies that its handler gets.
fn account(
    cache: &Cache,
    policy: PolicyBuilder,
    lines: &'static [(&'static str, &'static str)],
) -> (Stack, Calls) {
    let (inner, calls) = origin(move |request, _| {
        let user = request.extensions().get::<User>().map_or("anybody", |user| user.0);
        with_lines(lines, format!("{user} {:?}", request.headers().get("cookie")))
    });
    (SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(), calls)
}

#[tokio::test]
async fn each_visitor_gets_only_their_own_stored_page() {
    let (stack, calls) = account(&memory(), keyed(), &[]);
    for hit in [false, true] {
        for user in ["alice", "bob"] {
            let answer = send(&stack, of(user, &[("cookie", "sid=1")])).await;
            assert_eq!((answer.text().split(' ').next(), answer.is_hit()), (Some(user), hit));
            assert_eq!(
                answer.header("cache-control"),
                Some("private"),
                "downstream caches must not share it"
            );
        }
        assert_eq!(send(&stack, get("/account")).await.text(), "anybody None");
    }
    assert_eq!(calls.count(), 3);
    // Without an identity, the undeclared cookie causes a bypass.
    assert_eq!(send(&stack, get_with("/account", &[("cookie", "sid=1")])).await.detail(), Some("cookie"));
}

#[tokio::test]
async fn private_is_stored_per_identity_but_set_cookie_is_not() {
    for (lines, stored) in [
        (&[("cache-control", "private, max-age=60")][..], true),
        (&[("cache-control", "no-store")], false),
        (&[("set-cookie", "sid=2")], false),
        (&[("vary", "*")], false),
    ] {
        let (stack, _) = account(&memory(), keyed(), lines);
        assert_eq!(shares(&stack, of("alice", &[]), of("alice", &[])).await, stored, "{lines:?}");
        assert!(!shares(&stack, of("bob", &[]), get("/account")).await, "{lines:?}");
    }
    let (inner, _) = origin(|_, call| {
        let mut response = numbered(&[], call);
        response.extensions_mut().insert(Identified);
        response
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(keyed().build().expect("a policy")).layer(inner).boxed_clone();
    assert!(shares(&stack, of("alice", &[]), of("alice", &[])).await);
    assert!(!shares(&stack, get("/account"), get("/account")).await);
}

/// RFC 9111 section 3.5.
#[tokio::test]
async fn authorized_responses_need_explicit_permission() {
    for (value, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, private", true),
        ("max-age=60, x=\"public\"", false),
    ] {
        let lines: &'static [_] = Box::leak(Box::new([("cache-control", value)]));
        for policy in [keyed(), rfc9111()] {
            let (stack, _) = account(&memory(), policy, lines);
            let with_token = || of("alice", &[("authorization", "Bearer alice")]);
            assert_eq!(shares(&stack, with_token(), with_token()).await, stored, "{value}");
            assert!(!shares(&stack, with_token(), of("bob", &[("authorization", "Bearer bob")])).await);
        }
    }
}

fn rfc9111() -> PolicyBuilder {
    let policy = Policy::rfc9111().cache_status(true);
    policy.vary_by_identity("user", |request| Some(request.extensions.get::<User>()?.0.to_owned()))
}

#[tokio::test]
async fn keyed_cookies_separate_entries_and_the_session_is_seen() {
    let policy = keyed().ignore_cookies(["_ga*"]).vary_on_cookies(["lang"]);
    let (stack, _) = account(&memory(), policy, &[]);
    let page = "alice Some(\"lang=de; sid=1\")";
    assert_eq!(send(&stack, of("alice", &[("cookie", "_ga=1; sid=1; lang=de")])).await.text(), page);
    let hit = send(&stack, of("alice", &[("cookie", "sid=1; lang=de; _ga=2")])).await;
    assert!(hit.is_hit() && hit.text() == page);
    assert!(!send(&stack, of("alice", &[("cookie", "sid=1; lang=en")])).await.is_hit());
}

#[tokio::test]
async fn an_inner_cache_does_not_share_identified_responses() {
    let cache = memory();
    let (inner, _) = origin(|request, _| {
        with_lines(&[], request.extensions().get::<User>().map_or("anybody", |user| user.0))
    });
    let within =
        SiteCacheLayer::new(&cache).policy(policy().name("within").build().expect("a policy")).layer(inner);
    // The middle layer strips the identifying cookie.
    let strips = service_fn(move |mut request: Request<Body>| {
        request.headers_mut().remove("cookie");
        within.clone().oneshot(request)
    });
    let stack = SiteCacheLayer::new(&cache).policy(keyed().build().expect("a policy")).layer(strips);
    for _ in 0..2 {
        for user in ["alice", "bob"] {
            let answer = send(&stack, of(user, &[("cookie", "sid=1")])).await;
            assert_eq!(answer.text(), user);
        }
    }
}

#[tokio::test]
async fn a_path_invalidation_covers_the_pages_of_all_visitors() {
    let cache = memory();
    let (stack, calls) = account(&cache, keyed(), &[]);
    for user in ["alice", "bob"] {
        send(&stack, of(user, &[])).await;
    }
    assert_eq!(cache.invalidate(Invalidation::path("/account")).await, Delivery::Delivered);
    for user in ["alice", "bob"] {
        assert!(!send(&stack, of(user, &[])).await.is_hit());
    }
    assert_eq!(calls.count(), 4);
}

/// A stored page outlives the visitor's permission to see it. The authorization layer must
/// therefore be outside the cache layer.
#[tokio::test]
async fn an_outer_authorization_layer_protects_stored_pages() {
    let (stack, _) = account(&memory(), keyed(), &[]);
    let allowed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let gate = std::sync::Arc::clone(&allowed);
    let guarded = service_fn(move |request: Request<Body>| {
        let (open, stack) = (gate.load(std::sync::atomic::Ordering::SeqCst), stack.clone());
        async move {
            match open {
                true => Ok(read(stack.oneshot(request).await?).await),
                false => Ok::<_, std::convert::Infallible>(Answer {
                    status: http::StatusCode::FORBIDDEN,
                    headers: http::HeaderMap::new(),
                    body: bytes::Bytes::new(),
                }),
            }
        }
    });
    for _ in 0..2 {
        let answer = guarded.clone().oneshot(of("alice", &[])).await.expect("infallible");
        assert!(answer.text().starts_with("alice"));
    }
    allowed.store(false, std::sync::atomic::Ordering::SeqCst);
    let answer = guarded.clone().oneshot(of("alice", &[])).await.expect("infallible");
    assert_eq!((answer.status, answer.text()), (http::StatusCode::FORBIDDEN, ""));
}

/// Bob's response has the same fields whether or not Alice's page is stored.
#[tokio::test]
async fn responses_do_not_reveal_another_visitors_stored_page() {
    let (stack, _) = account(&memory(), keyed(), &[]);
    send(&stack, of("alice", &[])).await;
    let as_bob = send(&stack, of("bob", &[])).await;
    let (fresh, _) = account(&memory(), keyed(), &[]);
    assert_eq!(as_bob.headers, send(&fresh, of("bob", &[])).await.headers);
}

#[tokio::test]
async fn an_outer_anonymous_only_layer_outranks_identities() {
    let (stack, _) = account(&memory(), keyed(), &[]);
    let shop = AnonymousOnlyLayer::session_cookie("sid").expect("valid").layer(stack);
    for _ in 0..2 {
        let answer = send(&shop, of("alice", &[("cookie", "sid=1")])).await;
        assert_eq!(answer.detail(), Some("identified"));
    }
}

/// An outer authentication layer has identified the visitor by an input that the cache layers do
/// not see.
#[tokio::test]
async fn an_identity_from_an_extension_reaches_inner_caches() {
    for policy in [keyed(), keyed().bypass_if(|request| request.uri.path() == "/account")] {
        let cache = memory();
        let (inner, _) = origin(|request, _| {
            with_lines(&[], request.extensions().get::<User>().map_or("anybody", |user| user.0))
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(policy.build().expect("a policy"))
            .layer(route_over(&cache, MINUTE, inner));
        for method in ["GET", "HEAD", "GET"] {
            for user in ["alice", "bob"] {
                let mut identified = request(method, "/account", &[]);
                identified.extensions_mut().insert(User(user));
                let answer = send(&stack, identified).await;
                assert!(method == "HEAD" || answer.text() == user, "{method} {user}");
                assert_eq!(answer.header("cache-control"), Some("private"), "{method} {user}");
            }
        }
        assert_eq!(send(&stack, get("/account")).await.text(), "anybody");
    }
}

#[tokio::test]
async fn empty_identity_is_none_and_identity_names_are_separate() {
    let cache = memory();
    let by = |name: &str| {
        policy().vary_by_identity(name, |request| {
            Some(
                request
                    .headers
                    .get("x-number")
                    .map_or("", |number| number.to_str().expect("text"))
                    .to_owned(),
            )
        })
    };
    let (user, _) = account(&cache, by("user"), &[]);
    let (tenant, _) = account(&cache, by("tenant"), &[]);
    let with_cookie = || get_with("/account", &[("cookie", "sid=alice")]);
    assert_eq!(send(&user, with_cookie()).await.detail(), Some("cookie"));
    let numbered = || get_with("/account", &[("x-number", "1")]);
    assert!(shares(&user, numbered(), numbered()).await);
    assert!(!send(&tenant, numbered()).await.is_hit());
}

/// The handler must not get `=lang=de`, a cookie without a name, as the keyed cookie `lang=de`.
#[tokio::test]
async fn a_cookie_without_a_name_becomes_no_other_cookie() {
    let policy = keyed().vary_on_cookies(["lang"]);
    let (stack, _) = account(&memory(), policy, &[]);
    let answer = send(&stack, of("alice", &[("cookie", "sid=1; =lang=de")])).await;
    assert_eq!(answer.text(), "alice Some(\"sid=1; =lang=de\")");
}

#[tokio::test]
async fn a_bypassing_outer_cache_keeps_inner_per_identity_entries() {
    for outer in [policy(), keyed()] {
        let cache = memory();
        let (inner, calls) = origin(|request, _| {
            with_lines(&[], request.extensions().get::<User>().map_or("anybody", |user| user.0))
        });
        let route =
            RouteCacheLayer::new(&cache, MINUTE).policy(keyed().build().expect("a policy")).layer(inner);
        let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(route);
        for _ in 0..3 {
            for user in ["alice", "bob"] {
                assert_eq!(send(&stack, of(user, &[("cookie", "sid=1")])).await.text(), user);
            }
        }
        assert_eq!(calls.count(), 2);
    }
}

/// The middle layer replaces the URI without axum's `OriginalUri`, so the inner cache does not see
/// the public URI.
#[tokio::test]
async fn public_path_invalidation_covers_inner_per_identity_entries() {
    for outer in [policy(), policy().bypass_if(|_| true), Policy::rfc9111().bypass_if(|_| true)] {
        let cache = memory();
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let inner =
            RouteCacheLayer::new(&cache, MINUTE).policy(keyed().build().expect("a policy")).layer(inner);
        let rewrites = service_fn(move |mut request: Request<Body>| {
            *request.uri_mut() = "/inner".parse().expect("a URI");
            inner.clone().oneshot(request)
        });
        let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(rewrites);
        let request_page = || send(&stack, of("alice", &[("cookie", "sid=1")]));
        assert_eq!(
            (request_page().await.text().to_owned(), request_page().await.text().to_owned()),
            ("1".into(), "1".into())
        );
        assert_eq!(cache.invalidate(Invalidation::path("/account")).await, Delivery::Delivered);
        assert_eq!((request_page().await.text(), calls.count()), ("2", 2));
    }
}

/// The first layer with per-identity entries is created while the request runs.
#[tokio::test]
async fn entry_of_a_new_per_identity_layer_can_be_invalidated() {
    let cache = memory();
    let (origin, _) = origin(|_, call| numbered(&[], call));
    let handle = cache.clone();
    let rewrites = service_fn(move |mut request: Request<Body>| {
        *request.uri_mut() = "/inner".parse().expect("a URI");
        let policy = keyed().build().expect("a policy");
        RouteCacheLayer::new(&handle, MINUTE).policy(policy).layer(origin.clone()).oneshot(request)
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(rewrites);
    let request_page = || send(&stack, of("alice", &[("cookie", "sid=1")]));
    request_page().await;
    assert_eq!(cache.invalidate(Invalidation::path("/account")).await, Delivery::Delivered);
    assert_eq!(request_page().await.text(), "2");
}
