//! No visitor gets another visitor's page, in any interleaving of visits and any order of layers.

use crate::support::visitors::*;
use crate::support::*;
use futures::future::BoxFuture;
use http::{Request, Response};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::anonymous_only::AnonymousOnlyBuilder;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::key::{KeyPart, RequestHead};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, Identified, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer,
};

#[derive(Debug, Clone)]
enum Step {
    Visit(Visitor),
    /// The origin answers one of its pending requests.
    Answer(usize),
    /// The client of one visit disconnects.
    Leave(usize),
    /// Changes the data of one page or of all pages, and invalidates it.
    Invalidate(Option<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![
        3 => Just(IdentifiedBy::Nothing),
        2 => Just(IdentifiedBy::Analytics),
        2 => Just(IdentifiedBy::Cookie),
        1 => Just(IdentifiedBy::Bearer),
        1 => Just(IdentifiedBy::ApiKey),
    ];
    let language = prop_oneof![3 => Just(0), 1 => 1..LANGUAGES.len()];
    let visitor = (by, 0..2_usize, 0..2_usize, language, 0..PAGES.len());
    let visitor =
        visitor.prop_map(|(by, user, tenant, language, page)| Visitor { by, user, tenant, language, page });
    let step = prop_oneof![
        12 => visitor.prop_map(Step::Visit),
        8 => any::<usize>().prop_map(Step::Answer),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => prop::option::of(0..PAGES.len()).prop_map(Step::Invalidate),
    ];
    prop::collection::vec(step, 1..60)
}

type Client = Box<dyn Fn(Request<Body>) -> BoxFuture<'static, Answer>>;

fn client<S, B>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    Box::new(move |request| {
        let call = service.clone().oneshot(request);
        Box::pin(async move { read(call.await.expect("infallible")).await })
    })
}

/// An authentication layer. It replaces the credential with an extension that has the user, and
/// marks the response if `marks` is set.
fn auth<S, B>(inner: S, marks: bool) -> BoxCloneService<Request<Body>, Response<B>, Infallible>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: 'static,
{
    let service = service_fn(move |mut request: Request<Body>| {
        let user = sender((&request).into());
        let identified = user.is_some();
        if let Some(user) = user {
            let headers = request.headers_mut();
            let lang = cookie(headers, "lang").map(|lang| format!("lang={lang}").parse().expect("a value"));
            for name in ["authorization", "x-api-key", "cookie"] {
                headers.remove(name);
            }
            lang.map(|lang| headers.insert("cookie", lang));
            request.extensions_mut().insert(User(user));
        }
        let call = inner.clone().oneshot(request);
        async move {
            let mut response = call.await?;
            if identified && marks {
                response.extensions_mut().insert(Identified);
            }
            Ok(response)
        }
    });
    service.boxed_clone()
}

fn site(cache: &Cache, policy: PolicyBuilder) -> SiteCacheLayer {
    let policy = policy.vary_by_part(KeyPart::language(["en", "de"]).expect("valid"));
    SiteCacheLayer::new(cache).policy(policy.vary_on_cookies(["lang"]).build().expect("a policy"))
}

fn route(cache: &Cache, policy: PolicyBuilder) -> RouteCacheLayer {
    let policy = policy.vary_by_part(KeyPart::language(["en", "de"]).expect("valid"));
    RouteCacheLayer::new(cache, MINUTE).policy(policy.vary_on_cookies(["lang"]).build().expect("a policy"))
}

fn declared() -> PolicyBuilder {
    policy().credential_cookies(["sid"]).ignore_cookies(["_ga*"])
}

fn by_session() -> AnonymousOnlyBuilder {
    AnonymousOnlyLayer::builder().credential_cookies(["sid"]).ignore_cookies(["_ga*"])
}

fn anonymous() -> AnonymousOnlyLayer {
    by_session().build().expect("valid options")
}

fn rfc9111() -> PolicyBuilder {
    Policy::rfc9111().default_ttl(MINUTE).cache_status(true)
}

/// The pages that identified visitors may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UserPages {
    /// Only their own pages, and never from the cache.
    Bypass,
    /// Only their own pages, from the cache or from the service.
    HaveHits,
    /// Their own pages or the pages of anonymous visitors, from the cache or from the service.
    MayGetAnybodys,
}

#[derive(Debug, Default)]
struct Hits {
    anonymous: usize,
    analytics: usize,
    users: usize,
}

/// The number of random cases for each of the sixteen stacks in the tests below.
const CASES: u32 = 135;

fn check_isolation(users: UserPages, build: impl Fn(&Cache, Inner) -> Client) {
    let hits = RefCell::new(Hits::default());
    // All cases share one cache, because creating a cache takes longer than a case. The clock
    // advances by an hour before each case, so that all earlier entries have expired.
    let (cache, manual) = timed();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    let ran = TestRunner::new(config).run(&(any::<bool>(), steps()), |(by_hand, steps)| {
        let mut hits = hits.borrow_mut();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let origin = Arc::new(Origin { by_hand, ..Origin::default() });
            manual.advance(60 * MINUTE);
            assert_eq!(cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
            let client = build(&cache, origin.service());
            play(&steps, &client, &cache, &origin, users, &mut hits).await
        })
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    let hits = hits.into_inner();
    assert!(hits.anonymous > 40 && hits.analytics > 20, "too few hits for a meaningful test: {hits:?}");
    assert_eq!(hits.users > 20, users != UserPages::Bypass, "{hits:?}");
}

async fn play(
    steps: &[Step],
    client: &Client,
    cache: &Cache,
    origin: &Origin,
    users: UserPages,
    hits: &mut Hits,
) -> Result<(), TestCaseError> {
    let mut visits: Vec<(Visitor, usize, JoinHandle<Answer>)> = Vec::new();
    for step in steps {
        match step {
            Step::Visit(visitor) => {
                let version = origin.versions.lock().expect("unpoisoned")[visitor.page];
                visits.push((*visitor, version, tokio::spawn(client(visitor.request()))));
            }
            Step::Answer(which) => drop(origin.answer(*which)),
            Step::Leave(which) if !visits.is_empty() => visits[which % visits.len()].2.abort(),
            Step::Leave(_) => {}
            Step::Invalidate(page) => assert!(cache.invalidate(origin.change(*page)).await.is_delivered()),
        }
        settle().await;
    }
    while origin.answer(0) {
        settle().await;
    }
    for (visitor, version, task) in visits {
        let Ok(answer) = timeout(Duration::from_secs(100), task).await.expect("no visit hangs") else {
            continue;
        };
        let seen: Vec<_> = answer.text().split(' ').collect();
        prop_assert_eq!(answer.header("x-seen"), Some(answer.text()), "head and body belong to one page");
        let may_be_anybodys = users == UserPages::MayGetAnybodys && seen[0] == "anybody";
        prop_assert!(
            seen[0] == visitor.user() || may_be_anybodys,
            "{:?} was shown {}",
            visitor,
            answer.text()
        );
        prop_assert_eq!(seen[1], TENANTS[visitor.tenant], "{:?}", visitor);
        prop_assert_eq!(seen[2], LANGUAGES[visitor.language].2, "{:?}", visitor);
        prop_assert_eq!(seen[3], visitor.page.to_string(), "{:?}", visitor);
        let own = visitor.by == IdentifiedBy::Analytics && seen[4] == USERS[visitor.user];
        prop_assert!(seen[4] == "none" || own, "{:?} was shown {}", visitor, answer.text());
        prop_assert!(
            seen[5].parse::<usize>().expect("a number") >= version,
            "{:?} got an invalidated version",
            visitor
        );
        let lines = answer.headers.get_all("cache-status").iter();
        let hit = lines.filter_map(|line| line.to_str().ok()).any(|line| line.contains("; hit"));
        match visitor.by {
            IdentifiedBy::Nothing => hits.anonymous += usize::from(hit),
            IdentifiedBy::Analytics => hits.analytics += usize::from(hit),
            _ => hits.users += usize::from(hit),
        }
    }
    prop_assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
    Ok(())
}

async fn settle() {
    for _ in 0..6 {
        yield_now().await;
    }
}

#[test]
fn no_leak_inside_an_anonymous_only_layer() {
    for preset in [policy, rfc9111] {
        check_isolation(UserPages::Bypass, |cache, inner| {
            client(anonymous().layer(site(cache, preset()).layer(inner)))
        });
    }
}

#[test]
fn no_leak_with_an_async_identity_look_up() {
    check_isolation(UserPages::Bypass, |cache, inner| {
        let asks = AnonymousOnlyLayer::builder().ignore_cookies(["_ga*", "sid"]);
        let asks = asks.identified_if_async(|parts| async move {
            yield_now().await;
            let mut request = Request::from_parts(parts, ());
            request.headers_mut().remove("x-nothing");
            sender((&request).into()).is_some()
        });
        client(asks.build().expect("valid options").layer(site(cache, policy()).layer(inner)))
    });
}

#[test]
fn no_leak_with_a_site_cache_over_a_route_cache() {
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(site(cache, declared()).layer(route(cache, declared()).layer(inner)))
    });
}

#[test]
fn no_leak_with_a_route_cache_alone() {
    check_isolation(UserPages::Bypass, |cache, inner| client(route(cache, declared()).layer(inner)));
}

#[test]
fn no_leak_if_an_outer_layer_strips_the_credential() {
    let known = |request: RequestHead<'_>| request.extensions.get::<User>().is_some();
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(auth(
            by_session()
                .identified_if(known)
                .build()
                .expect("valid options")
                .layer(site(cache, policy()).layer(inner)),
            false,
        ))
    });
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(anonymous().layer(auth(site(cache, policy()).layer(inner), false)))
    });
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(auth(site(cache, declared().bypass_if(known)).layer(inner), false))
    });
}

#[test]
fn no_leak_if_a_middle_layer_strips_the_credential() {
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(site(cache, declared()).layer(auth(route(cache, declared()).layer(inner), false)))
    });
}

#[test]
fn no_leak_if_an_inner_layer_marks_identified_responses() {
    let lenient = || rfc9111().ignore_cookies(["_ga*"]);
    check_isolation(UserPages::MayGetAnybodys, |cache, inner| {
        client(site(cache, lenient()).layer(auth(inner, true)))
    });
    check_isolation(UserPages::MayGetAnybodys, |cache, inner| {
        client(site(cache, lenient()).layer(anonymous().layer(inner)))
    });
}

#[test]
fn no_leak_with_per_identity_entries() {
    check_isolation(UserPages::HaveHits, |cache, inner| {
        client(site(cache, declared().vary_by_identity("user", sender)).layer(inner))
    });
    check_isolation(UserPages::HaveHits, |cache, inner| {
        client(auth(site(cache, declared().vary_by_identity("user", sender)).layer(inner), false))
    });
    check_isolation(UserPages::HaveHits, |cache, inner| {
        let own = || declared().vary_by_identity("user", sender);
        client(auth(site(cache, own()).layer(route(cache, own()).layer(inner)), false))
    });
}

#[test]
fn no_leak_if_only_credential_cookies_count() {
    let policy = || policy().ignore_undeclared_cookies().credential_cookies(["sid"]);
    check_isolation(UserPages::Bypass, |cache, inner| client(site(cache, policy()).layer(inner)));
}

#[test]
fn no_leak_if_unkeyed_inputs_are_stripped() {
    check_isolation(UserPages::Bypass, |cache, inner| {
        client(site(cache, declared().strip_unkeyed_inputs(true)).layer(inner))
    });
}
