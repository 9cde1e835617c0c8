//! Every order of session, site cache, route cache and anonymous-only layers, with layers of
//! tower-http.

use crate::support::*;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get as page, post};
use http::header::VARY;
use http::{HeaderName, HeaderValue};
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, Identified, Policy, RouteCacheLayer, SiteCacheLayer};
use tower_sessions::cookie::time::Duration;
use tower_sessions::{Expiry, MemoryStore, Session, SessionManagerLayer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Session,
    Site,
    Route,
    Anonymous,
    Vary,
    Compression,
    SetId,
    PropagateId,
}
use Part::*;

/// Returns every order of the layers, with the outermost first.
pub(crate) fn orders(parts: &[Part]) -> Vec<Vec<Part>> {
    let Some((first, rest)) = parts.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for at in 0..=order.len() {
            let mut order = order.clone();
            order.insert(at, *first);
            all.push(order);
        }
    }
    all
}

/// Returns `true` if `one` is outside all of `others`.
pub(crate) fn outside(order: &[Part], one: Part, others: &[Part]) -> bool {
    let place = |part| order.iter().position(|&other| other == part).expect("in the order");
    others.iter().all(|&other| place(one) < place(other))
}

/// The configuration of the layers, which is the same in every order.
#[derive(Clone)]
pub(crate) struct Shop {
    policy: PolicyBuilder,
    sessions: SessionManagerLayer<MemoryStore>,
    anonymous: AnonymousOnlyLayer,
}

impl Shop {
    pub(crate) fn new(policy: PolicyBuilder) -> Self {
        let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
        let anonymous = AnonymousOnlyLayer::builder().credential_cookies(["id"]).ignore_cookies(["_ga*"]);
        let anonymous = anonymous.build().expect("valid options");
        Self { policy, sessions, anonymous }
    }

    /// Returns the application inside these layers, which share one cache.
    pub(crate) fn in_order(&self, order: &[Part]) -> Router {
        self.layered(app(), order)
    }

    pub(crate) fn layered(&self, mut app: Router, order: &[Part]) -> Router {
        let cache = memory();
        for part in order.iter().rev() {
            let policy = self.policy.clone();
            app = match part {
                Session => app.layer(self.sessions.clone()),
                Site => app.layer(SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy"))),
                Route => {
                    app.layer(RouteCacheLayer::new(&cache, MINUTE).policy(policy.build().expect("a policy")))
                }
                Anonymous => app.layer(self.anonymous.clone()),
                Vary => app.layer(adding(VARY, "cookie")),
                Compression => app.layer(CompressionLayer::new().no_br().no_zstd()),
                SetId => app.layer(SetRequestIdLayer::x_request_id(MakeRequestUuid)),
                PropagateId => app.layer(PropagateRequestIdLayer::x_request_id()),
            };
        }
        app.layer(TraceLayer::new_for_http())
    }
}

pub(crate) fn app() -> Router {
    let account = |session: Session| async move {
        session_user(&session).await.unwrap_or_else(|| "anybody".to_owned())
    };
    let begin = |session: Session| async move { session.insert("seen", true).await.expect("stored") };
    let enter =
        |session: Session, user: String| async move { session.insert("user", user).await.expect("stored") };
    let long = page(|| async { "vanilla ".repeat(500) });
    Router::new()
        .route("/", page(account))
        .route("/begin", page(begin))
        .route("/login", post(enter))
        .route("/long", long)
}

async fn session_user(session: &Session) -> Option<String> {
    session.get("user").await.expect("readable")
}

pub(crate) fn adding(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::appending(name, HeaderValue::from_static(value))
}

/// Marks the response as identified if the session has a user, as an authentication layer does.
async fn mark(session: Session, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if session_user(&session).await.is_some() {
        response.extensions_mut().insert(Identified);
    }
    response
}

async fn log_in(app: &Router, user: &'static str) -> String {
    let mut request = request("POST", "/login", &[]);
    *request.body_mut() = user.into();
    let answer = send(app, request).await;
    let cookie = answer.header("set-cookie").expect("a session").split(';').next().expect("a cookie");
    assert!(cookie.starts_with("id="), "{cookie}");
    cookie.to_owned()
}

pub(crate) async fn visit(app: &Router, path: &str, cookie: &str) -> Answer {
    send(app, if cookie.is_empty() { get(path) } else { get_with(path, &[("cookie", cookie)]) }).await
}

/// Returns `true` if a `Cache-Status` line contains the text. Each cache layer adds a line, the
/// innermost first.
pub(crate) fn status_contains(answer: &Answer, what: &str) -> bool {
    answer.headers.get_all("cache-status").iter().any(|line| line.to_str().expect("text").contains(what))
}

pub(crate) fn hit(answer: &Answer) -> bool {
    status_contains(answer, "; hit")
}

/// The results of a [`tour`]. A field is `true` if its event occurred in at least one round.
#[derive(Debug, Default, PartialEq)]
struct Tour {
    /// A user got the page of anonymous visitors.
    users_shown_anybodys: bool,
    users_hits: bool,
    analytics_hits: bool,
}

/// Lets two users and two anonymous visitors take turns. One anonymous visitor has an analytics
/// cookie. In each of the four rounds, a different visitor comes first.
async fn tour(make: impl Fn() -> Router) -> Tour {
    let (mut tour, mut anonymous_hits) = (Tour::default(), false);
    for first in 0..4 {
        let app = make();
        let (alice, bob) = (log_in(&app, "alice").await, log_in(&app, "bob").await);
        let visitors = [("alice", &*alice), ("anybody", ""), ("bob", &*bob), ("anybody", "_ga=1")];
        for (user, cookie) in visitors.into_iter().cycle().skip(first).take(3 * visitors.len()) {
            let answer = visit(&app, "/", cookie).await;
            assert!([user, "anybody"].contains(&answer.text()), "{user} got {answer:?}");
            assert_eq!(answer.header("set-cookie"), None);
            match cookie {
                "" => anonymous_hits |= hit(&answer),
                "_ga=1" => tour.analytics_hits |= hit(&answer),
                _ => {
                    tour.users_shown_anybodys |= answer.text() != user;
                    tour.users_hits |= hit(&answer);
                }
            }
        }
    }
    assert!(anonymous_hits, "without hits, the tour proves nothing");
    tour
}

pub(crate) const CACHES: [Part; 2] = [Site, Route];

fn rfc9111() -> PolicyBuilder {
    Policy::rfc9111().default_ttl(MINUTE).cache_status(true)
}

#[tokio::test]
async fn by_default_only_anonymous_pages_are_shared_in_every_order() {
    let declared = policy().credential_cookies(["id"]).ignore_cookies(["_ga*"]);
    for (policy, analytics_hits) in [(policy(), false), (declared, true)] {
        for order in orders(&[Session, Site, Route]) {
            let tour = tour(|| Shop::new(policy.clone()).in_order(&order)).await;
            assert_eq!(tour, Tour { analytics_hits, ..Tour::default() }, "{order:?}");
        }
    }
}

#[tokio::test]
async fn anonymous_only_layers_protect_users_in_every_order() {
    for order in orders(&[Session, Site, Route, Anonymous]) {
        let tour = tour(|| Shop::new(policy()).in_order(&order)).await;
        // A cache layer outside the anonymous-only layer does not know that the analytics cookie is
        // harmless. Requests with the analytics cookie bypass that cache.
        let analytics_hits = outside(&order, Anonymous, &CACHES);
        assert_eq!(tour, Tour { analytics_hits, ..Tour::default() }, "{order:?}");
    }
}

#[tokio::test]
async fn under_rfc9111_anonymous_only_layers_leak_nothing() {
    for caches in [&CACHES[..], &[Site], &[Route]] {
        for order in orders(&[&[Session, Anonymous], caches].concat()) {
            let outermost = outside(&order, Anonymous, caches);
            // A single cache outside the anonymous-only layer serves the anonymous page to all
            // visitors.
            let to_all = caches.len() == 1 && !outermost;
            let expected = Tour {
                users_shown_anybodys: to_all,
                users_hits: to_all,
                analytics_hits: outermost || to_all,
            };
            assert_eq!(tour(|| Shop::new(rfc9111()).in_order(&order)).await, expected, "{order:?}");
        }
    }
}

#[tokio::test]
async fn anonymous_only_layers_make_users_pages_private_downstream() {
    for policy in [policy(), rfc9111()] {
        for order in orders(&[Session, Site, Route, Anonymous]) {
            let app = Shop::new(policy.clone()).in_order(&order);
            let alice = log_in(&app, "alice").await;
            let hers = visit(&app, "/", &alice).await;
            assert_eq!((hers.text(), hers.header("cache-control")), ("alice", Some("private")), "{order:?}");
            let anybodys = visit(&app, "/", "").await;
            assert_eq!((anybodys.text(), anybodys.header("cache-control")), ("anybody", None), "{order:?}");
        }
    }
}

#[tokio::test]
async fn responses_marked_identified_are_not_stored_in_any_order() {
    for caches in [&CACHES[..], &[Site], &[Route]] {
        for order in orders(&[&[Session], caches].concat()) {
            let marked = |policy| {
                let shop = Shop::new(policy);
                shop.layered(app().layer(from_fn(mark)), &order)
            };
            assert_eq!(tour(|| marked(policy())).await, Tour::default(), "{order:?}");
            // Under RFC 9111 alone, cookies do not identify visitors. A single cache serves the
            // anonymous page to all.
            let to_all = caches.len() == 1;
            let all = Tour { users_shown_anybodys: to_all, users_hits: to_all, analytics_hits: to_all };
            assert_eq!(tour(|| marked(rfc9111())).await, all, "{order:?}");
            let app = marked(rfc9111());
            let alice = log_in(&app, "alice").await;
            for _ in 0..2 {
                let answer = visit(&app, "/", &alice).await;
                assert_eq!(
                    (answer.text(), hit(&answer), status_contains(&answer, "; stored")),
                    ("alice", false, false)
                );
                assert!(status_contains(&answer, "detail=identified"), "{order:?}");
            }
        }
    }
}

#[tokio::test]
async fn vary_cookie_is_safe_outside_and_separates_users_inside() {
    for order in orders(&[Vary, Session, Route]) {
        assert_eq!(tour(|| Shop::new(policy()).in_order(&order)).await, Tour::default(), "{order:?}");
        // Under RFC 9111, a page that varies on cookies is shared only with an explicit lifetime.
        if outside(&order, Route, &[Vary]) {
            assert_eq!(tour(|| Shop::new(rfc9111()).in_order(&order)).await, Tour::default(), "{order:?}");
            // The outermost `AnonymousOnlyLayer` ignores analytics cookies, so requests with these
            // cookies get hits.
            let order = [&[Anonymous][..], &order].concat();
            let shared = Tour { analytics_hits: true, ..Tour::default() };
            assert_eq!(tour(|| Shop::new(rfc9111()).in_order(&order)).await, shared, "{order:?}");
        }
    }
}

#[tokio::test]
async fn an_inner_session_layer_that_sets_cookies_prevents_hits() {
    for order in orders(&[Session, Site, Route]) {
        // A cache outside the session layer sees the new cookie, so no cache stores the response.
        let judged = CACHES.iter().any(|&cache| outside(&order, cache, &[Session]));
        let app = Shop::new(policy()).in_order(&order);
        for first in [true, false, false] {
            let answer = visit(&app, "/begin", "").await;
            // A hit begins no session.
            assert_eq!(hit(&answer), !first && !judged, "{order:?}");
            assert_eq!(answer.header("set-cookie").is_some(), !hit(&answer), "{order:?}");
            assert_eq!(status_contains(&answer, "detail=set-cookie"), judged, "{order:?}");
        }
    }
}

#[tokio::test]
async fn a_renewed_session_cookie_reaches_its_owner_in_every_order() {
    let renewing = |mut shop: Shop| {
        shop.sessions =
            shop.sessions.with_always_save(true).with_expiry(Expiry::OnInactivity(Duration::hours(1)));
        shop
    };
    for order in orders(&[Session, Site, Route, Anonymous]) {
        for policy in [policy(), rfc9111()] {
            let app = renewing(Shop::new(policy)).in_order(&order);
            let alice = log_in(&app, "alice").await;
            let ended = format!("id={}", "A".repeat(22));
            for (cookie, sets) in [(&*alice, "Max-Age=3600"), ("", ""), (&ended, "Max-Age=0"), ("", "")] {
                let answer = visit(&app, "/", cookie).await;
                let set = answer.header("set-cookie").unwrap_or_default();
                // A hit of a cache outside the session layer does not reach the session layer.
                let renews = !sets.is_empty() && !hit(&answer);
                assert_eq!(
                    set.contains(if renews { sets } else { "Max-Age" }),
                    renews,
                    "{order:?}: {answer:?}"
                );
                assert!(!status_contains(&answer, "; stored") || set.is_empty(), "{order:?}: {answer:?}");
            }
        }
    }
}
