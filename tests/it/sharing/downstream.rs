//! Fields for clients and downstream caches: no personalized response is declared shared, and
//! `Vary` names the keyed fields.

use crate::support::*;
use http::header::{ACCEPT_LANGUAGE, HOST, HeaderName, ORIGIN};
use http::{Request, Response};
use tower::{Layer, ServiceExt};
use tower_response_cache::cache_headers::{CacheControl, SetCacheControlLayer};
use tower_response_cache::key::KeyPart;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Identified, NeverCacheLayer, Policy, RouteCacheLayer, SiteCacheLayer,
};

type Lines = &'static [(&'static str, &'static str)];

const X_PLAN: HeaderName = HeaderName::from_static("x-plan");
const FOR_SOME_CACHES: [&str; 4] =
    ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "shop-cache-control"];

fn shared_by_all() -> CacheControl {
    CacheControl::new().public().max_age(MINUTE).s_maxage(MINUTE)
}

fn answering(lines: Lines, identified: bool) -> Inner {
    let answer = move |_: &Request<Body>, call| {
        let mut response = numbered(lines, call);
        if identified {
            response.extensions_mut().insert(Identified);
        }
        response
    };
    origin(answer).0
}

/// Returns `true` if a response permits shared caches to store it.
fn is_shared(answer: &Answer) -> bool {
    let control = answer.header("cache-control").unwrap_or_default();
    control.contains("public") || control.contains("s-maxage")
}

#[tokio::test]
async fn a_personal_response_is_not_declared_shared() {
    let requests: [(&[(&str, &str)], bool); 5] = [
        (&[], true),
        (&[("accept-language", "de")], true),
        (&[("authorization", "Bearer x")], false),
        (&[("x-api-key", "x")], false),
        (&[("proxy-authorization", "Basic x")], false),
    ];
    let responses: [(Lines, bool, bool); 13] = [
        (&[], false, true),
        (&[("vary", "accept-encoding"), ("x-request-id", "1")], false, true),
        (&[("x-ratelimit-remaining-tokens", "1"), ("x-okta-request-id", "1")], false, true),
        (&[("set-cookie", "sid=1")], false, false),
        (&[("set-cookie2", "sid=1")], false, false),
        (&[("x-auth-token", "1")], false, false),
        (&[("x-csrf-token", "1")], false, false),
        (&[("authorization", "1")], false, false),
        (&[("authentication-info", "1")], false, false),
        (&[("cookie", "sid=1")], false, false),
        (&[("vary", "*")], false, false),
        (&[("vary", "accept, *")], false, false),
        (&[], true, false),
    ];
    for layer in
        [SetCacheControlLayer::new(shared_by_all()), SetCacheControlLayer::replacing(shared_by_all())]
    {
        let layer = layer.expect("valid");
        for (fields, anonymous) in requests {
            for (lines, identified, of_all) in responses {
                let stack = layer.layer(answering(lines, identified));
                let answer = send(&stack, get_with("/", fields)).await;
                let case = format!("{fields:?} {lines:?} {identified}");
                assert_eq!(is_shared(&answer), anonymous && of_all, "{case}");
                assert!(answer.header("cache-control").expect("a field").contains("max-age=60"), "{case}");
            }
        }
    }
}

/// `SetCacheControlLayer` does not know the session cookie. It recognizes an identified request by
/// the marks of other layers of this crate.
#[tokio::test]
async fn an_identified_visitors_response_is_not_declared_shared() {
    let layer = SetCacheControlLayer::new(shared_by_all()).expect("valid");
    let anonymous = AnonymousOnlyLayer::session_cookie("sid").expect("a name");
    let cached = || SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy"));
    let inside = anonymous.layer(layer.layer(answering(&[], false))).boxed_clone();
    let outside = layer.layer(anonymous.layer(answering(&[], false))).boxed_clone();
    // An undeclared cookie may identify a visitor. `SetCacheControlLayer` knows such a visitor only
    // inside `AnonymousOnlyLayer`.
    for (stack, shares_undeclared) in [(inside, false), (outside, true)] {
        for (cookie, shared) in [("sid=1", false), ("other=1", shares_undeclared)] {
            let answer = send(&stack, get_with("/", &[("cookie", cookie)])).await;
            assert_eq!(is_shared(&answer), shared, "{cookie}: {:?}", answer.header("cache-control"));
        }
        assert!(is_shared(&send(&stack, get("/")).await));
    }
    let stack = cached().layer(layer.layer(answering(&[], false)));
    assert!(!is_shared(&send(&stack, get_with("/", &[("cookie", "sid=1")])).await));
    assert!(is_shared(&send(&stack, get("/")).await));
}

/// RFC 9213 section 2.2: a targeted field outranks `Cache-Control`, and is for shared caches.
#[tokio::test]
async fn targeted_fields_get_no_lifetime_on_private_responses() {
    let cdn = HeaderName::from_static(FOR_SOME_CACHES[0]);
    let control = CacheControl::new().max_age(MINUTE).must_revalidate();
    let layer = SetCacheControlLayer::targeting(cdn, control).expect("valid");
    for (lines, identified, expected) in [
        (&[][..], false, "max-age=60, must-revalidate"),
        (&[("set-cookie", "sid=1")], false, "must-revalidate"),
        (&[], true, "must-revalidate"),
    ] {
        let answer = send(&layer.layer(answering(lines, identified)), get("/")).await;
        assert_eq!(answer.header(FOR_SOME_CACHES[0]), Some(expected));
    }
}

#[tokio::test]
async fn never_cached_and_private_pages_lose_targeted_fields() {
    let lines: Lines = &[
        ("cdn-cache-control", "max-age=60"),
        ("cloudflare-cdn-cache-control", "max-age=60"),
        ("surrogate-control", "max-age=60"),
        ("shop-cache-control", "max-age=60"),
        ("cache-control", "max-age=60"),
    ];
    let absent = |answer: &Answer| FOR_SOME_CACHES.iter().all(|name| answer.header(name).is_none());
    let never = NeverCacheLayer::new().layer(answering(lines, false));
    assert!(absent(&send(&never, get("/")).await));
    let anonymous = AnonymousOnlyLayer::session_cookie("sid").expect("a name");
    for identified in [false, true] {
        let stack = anonymous.layer(answering(lines, identified));
        assert!(absent(&send(&stack, get_with("/", &[("cookie", "sid=1")])).await));
        assert_eq!(absent(&send(&stack, get("/")).await), identified, "an anonymous page keeps them");
    }
    let by_user = policy().vary_by_identity("user", |request| {
        Some(request.headers.get("x-user-id")?.to_str().ok()?.to_owned())
    });
    let (stack, _) = site(by_user, move |_, call| numbered(lines, call));
    let (miss, hit) = (get_with("/", &[("x-user-id", "1")]), get_with("/", &[("x-user-id", "1")]));
    for request in [miss, hit] {
        let answer = send(&stack, request).await;
        assert!(absent(&answer) && answer.header("cache-control").expect("a field").contains("private"));
    }
}

/// RFC 9111 section 4.3.4: a 304 updates the fields that the origin sent, not the fields as
/// rewritten for clients.
#[tokio::test]
async fn stripped_fields_of_a_private_page_are_kept_for_revalidation() {
    let (cache, manual) = timed();
    let lines: Lines = &[("cdn-cache-control", "max-age=60"), ("etag", "\"a\"")];
    let (inner, calls) = origin(move |_, call| {
        let mut response = numbered(if call == 1 { lines } else { &[("etag", "\"a\"")] }, call);
        if call > 1 {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    let cdn = HeaderName::from_static("cdn-cache-control");
    let by_user = Policy::app()
        .cache_status(true)
        .targeted_fields([cdn])
        .vary_by_identity("user", |_| Some("alice".to_owned()));
    let stack = SiteCacheLayer::new(&cache).policy(by_user.build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    manual.advance(2 * MINUTE);
    assert_eq!(send(&stack, get("/")).await.detail(), Some("revalidated"));
    assert!(send(&stack, get("/")).await.is_hit(), "the lifetime is from the targeted field");
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_layer_does_not_weaken_a_handlers_private() {
    let layers = [
        CacheControl::new().private_fields([HeaderName::from_static("x-a")]),
        CacheControl::new().public(),
        CacheControl::new().s_maxage(MINUTE),
        CacheControl::new().must_revalidate(),
    ];
    for control in layers {
        let layer = SetCacheControlLayer::new(control).expect("valid");
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy().build().expect("a policy"))
            .layer(layer.layer(answering(&[("cache-control", "private")], false)));
        for text in ["1", "2"] {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.detail()), (text, Some("private")));
        }
    }
}

/// The handler and the layer each list fields in `private`. A shared cache may store none of them.
#[tokio::test]
async fn fields_declared_private_by_handler_or_layer_are_not_stored() {
    let layer =
        SetCacheControlLayer::new(CacheControl::new().private_fields([HeaderName::from_static("x-a")]));
    let lines: Lines = &[("cache-control", "private=\"X-B\""), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")];
    let stack = SiteCacheLayer::new(&memory())
        .policy(policy().build().expect("a policy"))
        .layer(layer.expect("valid").layer(answering(lines, false)));
    send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    assert!(hit.is_hit());
    assert_eq!((hit.header("x-a"), hit.header("x-b"), hit.header("x-c")), (None, None, Some("3")));
}

#[tokio::test]
async fn replacing_keeps_no_store_and_makes_set_cookie_private() {
    let layer = SetCacheControlLayer::replacing(CacheControl::new().public().max_age(MINUTE)).expect("valid");
    let table: [(Lines, &str); 5] = [
        (&[("cache-control", "private, max-age=0"), ("cache-control", "no-cache")], "public, max-age=60"),
        (&[], "public, max-age=60"),
        (&[("cache-control", "no-store, private")], "no-store, private"),
        (&[("cache-control", "private"), ("set-cookie", "a=1")], "private, max-age=60"),
        (&[("cache-control", "private;no-store")], "no-store, private"),
    ];
    for (lines, expected) in &table {
        let answer = send(&layer.layer(answering(lines, false)), get("/")).await;
        assert_eq!(answer.header("cache-control"), Some(*expected), "{lines:?}");
        assert_eq!(answer.headers.get_all("cache-control").iter().count(), 1);
    }
    let never = layer.layer(NeverCacheLayer::new().layer(answering(&[], false)));
    assert!(!is_shared(&send(&never, get("/")).await));
    assert!(SetCacheControlLayer::replacing(CacheControl::new()).is_err());
    assert!(SetCacheControlLayer::replacing(CacheControl::new().public().no_store()).is_err());
}

fn keyed() -> PolicyBuilder {
    policy()
        .vary_on_headers([X_PLAN, HOST, HeaderName::from_static("x-forwarded-host")])
        .vary_by_part(KeyPart::language(["en", "de"]).expect("valid"))
        .vary_on_cookies(["lang"])
}

fn vary(answer: &Answer) -> Option<String> {
    answer.header("vary").map(str::to_ascii_lowercase)
}

/// Covers misses and hits, 200 and 304, GET and HEAD, stored and unstored responses.
#[tokio::test]
async fn vary_names_the_fields_in_the_key() {
    let lines: Lines = &[("etag", "\"a\""), ("vary", "Origin")];
    let (stack, calls) = site(keyed(), move |request, call| match request.uri().path() {
        "/never" => numbered(&[("cache-control", "no-store")], call),
        _ => numbered(lines, call),
    });
    let expected = Some("origin, accept-language, cookie, x-plan".to_owned());
    let known = ("if-none-match", "\"a\"");
    for request in [
        get("/"),
        get("/"),
        get_with("/", &[known]),
        get_with("/", &[("range", "bytes=0-0")]),
        request("HEAD", "/", &[]),
        get_with("/new", &[known]),
    ] {
        let answer = send(&stack, request).await;
        assert_eq!(vary(&answer), expected, "{answer:?}");
        assert_eq!(answer.headers.get_all("vary").iter().count(), 1);
    }
    assert_eq!(calls.count(), 2);
    let bypassed = send(&stack, get_with("/", &[("authorization", "Bearer x")])).await;
    assert_eq!(vary(&bypassed), expected);
    let unstored = send(&stack, get("/never")).await;
    assert_eq!(vary(&unstored).as_deref(), Some("accept-language, cookie, x-plan"));
}

#[tokio::test]
async fn vary_is_unchanged_without_keyed_inputs_or_the_option() {
    let hosts = policy().vary_on_headers([HOST]);
    let computed = policy().vary_by("tenant", |_| Some("a".to_owned()));
    for policy in [policy(), keyed().emit_vary(false), hosts, computed] {
        let (stack, _) = site(policy, |_, call| numbered(&[("vary", "X-Own")], call));
        for _ in 0..2 {
            assert_eq!(send(&stack, get("/")).await.header("vary"), Some("X-Own"));
        }
    }
    let any = site(keyed(), |_, call| numbered(&[("vary", "*")], call)).0;
    assert_eq!(send(&any, get("/")).await.header("vary"), Some("*"));
}

/// Requests share a page if their values of a field give the same key part, also after a 304.
#[tokio::test]
async fn emitted_vary_fields_do_not_select_variants() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        let mut response = numbered(&[("etag", "\"a\"")], call);
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    let stack = SiteCacheLayer::new(&cache).policy(keyed().build().expect("a policy")).layer(inner);
    let request_page = |language| get_with("/", &[("accept-language", language)]);
    for (language, hit) in [("de", false), ("de-AT", true), ("de, en;q=0.5", true)] {
        assert_eq!(send(&stack, request_page(language)).await.is_hit(), hit, "{language}");
    }
    manual.advance(2 * MINUTE);
    assert_eq!(send(&stack, request_page("de-CH")).await.detail(), Some("revalidated"));
    let answer = send(&stack, request_page("de")).await;
    assert!(answer.is_hit());
    assert_eq!(vary(&answer).as_deref(), Some("accept-language, cookie, x-plan"));
    assert_eq!(calls.count(), 2);
}

/// Clients get one `Vary` field that names the keyed fields of both layers once.
#[tokio::test]
async fn nested_cache_layers_emit_vary_through_the_outermost_one() {
    let cache = memory();
    let inner = origin(|_, call| numbered(&[("vary", "X-Own")], call)).0;
    let by_plan = Policy::app().cache_status(true).vary_on_headers([X_PLAN, ORIGIN]);
    let route = RouteCacheLayer::new(&cache, MINUTE).policy(by_plan.build().expect("a policy")).layer(inner);
    let by_language = policy().vary_on_headers([ACCEPT_LANGUAGE, ORIGIN]);
    let seen = |response: Response<_>| {
        let vary = response.headers().get("vary").cloned();
        (response, vary)
    };
    let between = tower::ServiceBuilder::new().map_response(move |response| {
        let (response, vary) = seen(response);
        assert_eq!(vary.expect("a field"), "X-Own", "the outer cache layer gets only the handler's `Vary`");
        response
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(by_language.build().expect("a policy"))
        .layer(between.service(route));
    for _ in 0..3 {
        let answer = send(&stack, get("/")).await;
        assert_eq!(vary(&answer).as_deref(), Some("x-own, accept-language, origin, x-plan"));
    }
    let known = send(&stack, get_with("/", &[("accept-language", "de")])).await;
    assert_eq!(known.text(), "1", "the inner layer is keyed by other fields");
}

/// RFC 9213 section 2.2: a targeted field outranks `Cache-Control`, so it must not permit the
/// sharing that `Cache-Control` forbids.
#[tokio::test]
async fn targeted_fields_do_not_share_a_page_that_forbids_it() {
    let control = CacheControl::new().public().max_age(10 * MINUTE).must_revalidate();
    for name in ["cdn-cache-control", "surrogate-control"] {
        let layer = SetCacheControlLayer::targeting(HeaderName::from_static(name), control.clone());
        let layer = layer.expect("valid");
        let shared = "public, max-age=600, must-revalidate";
        let table: [(Lines, &str); 9] = [
            (&[], shared),
            (&[("cache-control", "public, max-age=60")], shared),
            (&[("cache-control", "no-cache")], shared),
            (&[("cache-control", "private")], "must-revalidate"),
            (&[("cache-control", "max-age=60"), ("cache-control", "PRIVATE")], "must-revalidate"),
            (&[("cache-control", "private=\"x-a\"")], "must-revalidate"),
            (&[("cache-control", "no-store")], "must-revalidate"),
            (&[("cache-control", "public;no-store")], "must-revalidate"),
            (&[("vary", "*")], "must-revalidate"),
        ];
        for (lines, expected) in table {
            let answer = send(&layer.layer(answering(lines, false)), get("/")).await;
            assert_eq!(answer.header(name), Some(expected), "{name} {lines:?}");
        }
    }
}

/// The credential field is not stored, but the first client gets it.
#[tokio::test]
async fn a_response_with_an_unstored_credential_gets_private() {
    let token = || [HeaderName::from_static("x-csrf-token")];
    let mine = || [HeaderName::from_static("x-mine")];
    let lines: Lines = &[("x-csrf-token", "alice"), ("x-mine", "a"), ("cache-control", "max-age=600")];
    let taken_out: Lines =
        &[("x-user-token", "a"), ("cache-control", "max-age=600, private=\"x-user-token\"")];
    for (policy, lines, private) in [
        (policy(), lines, true),
        (policy().unstored_headers(token()), lines, true),
        (policy().ignore_headers(token()), lines, false),
        (policy().ignore_headers(token()).credential_headers(mine()), lines, true),
        (policy(), taken_out, true),
    ] {
        let policy = policy.client_max_age(MINUTE);
        let case = format!("{policy:?}");
        let (stack, _) = site(policy, move |_, call| numbered(lines, call));
        let first = send(&stack, get("/")).await;
        let control = first.header("cache-control").expect("a field");
        assert!(control.contains("max-age=60"), "{control} {case}");
        assert_eq!(control.contains("private"), private, "{control} {case}");
        let next = send(&stack, get("/")).await;
        if next.is_hit() {
            assert_eq!(next.header("x-csrf-token").is_some(), !private, "{case}");
            let control = next.header("cache-control").expect("a field");
            assert!(control.split(", ").all(|directive| directive != "private"), "{control} {case}");
        }
    }
}

/// Adds fields until the header map is full.
fn full(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for at in 0.. {
        let name = HeaderName::try_from(format!("x-filling-{at}")).expect("a name");
        if headers.try_insert(name, http::HeaderValue::from_static("")).is_err() {
            break;
        }
    }
    response
}

#[tokio::test]
async fn restrictive_directives_are_written_into_full_headers() {
    let no_store = || SetCacheControlLayer::new(CacheControl::new().no_store()).expect("valid");
    let (is_never, is_unstored) = (["no-store", "private"], ["no-store"]);
    for lines in [
        &[("cache-control", "public")][..],
        &[("cache-control", "public"), ("cache-control", "max-age=9")],
        &[],
    ] {
        let inner = || origin(move |_, call| full(numbered(lines, call))).0;
        let never = send(&NeverCacheLayer::new().layer(inner()), get("/")).await;
        let unstored = send(&no_store().layer(inner()), get("/")).await;
        for (answer, expected) in [(never, &is_never[..]), (unstored, &is_unstored[..])] {
            let control = answer.header("cache-control").expect("a field");
            assert!(expected.iter().all(|directive| control.contains(directive)), "{control}");
            assert_eq!(answer.headers.get_all("cache-control").iter().count(), 1);
        }
    }
    let anonymous = AnonymousOnlyLayer::session_cookie("sid").expect("a name");
    let lines: Lines = &[("cache-control", "max-age=60")];
    let inner = origin(move |_, call| full(numbered(lines, call))).0;
    let answer = send(&anonymous.layer(inner), get_with("/", &[("cookie", "sid=1")])).await;
    assert!(answer.header("cache-control").expect("a field").contains("private"));
}

#[tokio::test]
async fn responses_identified_by_an_inner_cache_are_not_shared() {
    #[derive(Clone)]
    struct User;
    let policies = [
        policy().credential_cookies(["sid"]),
        policy().credential_headers([X_PLAN]),
        policy().identified_if_extension::<User>(),
        policy(),
    ];
    for policy in policies {
        for identified in [false, true] {
            let site = SiteCacheLayer::new(&memory())
                .policy(policy.clone().build().expect("a policy"))
                .layer(answering(&[], false));
            let stack = SetCacheControlLayer::new(shared_by_all()).expect("valid").layer(site);
            let mut request = get("/");
            if identified {
                request = get_with("/", &[("cookie", "sid=1"), ("x-plan", "gold")]);
                request.extensions_mut().insert(User);
            }
            assert_eq!(is_shared(&send(&stack, request).await), !identified);
        }
    }
}
