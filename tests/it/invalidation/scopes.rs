//! Scopes: which entries an invalidation covers, through whole stacks and over several kinds of
//! stores.

use crate::support::stacks::*;
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use tokio::time::sleep;
use tower::{ServiceExt, service_fn};
use tower_response_cache::Invalidation;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::invalidation::Dependents;

/// Returns the requests. The cases of [`names`] refer to them by index.
fn targets() -> [Request<Body>; 10] {
    [
        get_with("/shop", &[A]),
        get_with("/shop", &[B]),
        get_with("/shop?page=2", &[A]),
        get_with("/shop/flavours", &[A]),
        get_with("/shop/flavours/1?x=1&y=2", &[A]),
        get_with("/shops", &[A]),
        get_with("/", &[A]),
        get_with("/shop", &[A, ("accept-language", "de")]),
        get("https://a.example/shop"),
        get_with("/shop/caf%C3%A9/menu?x=1", &[A]),
    ]
}

/// Returns invalidations, each with the indices of the [`targets`] that it covers.
fn names() -> Vec<(Invalidation, &'static [usize])> {
    vec![
        (Invalidation::path("/shop"), &[0, 1, 2, 7, 8]),
        (Invalidation::path("https://other.example/shop?page=9#top"), &[0, 1, 2, 7, 8]),
        (Invalidation::path("/shop/"), &[]),
        (Invalidation::path("/shop").host("a.example"), &[0, 2, 7, 8]),
        (Invalidation::path("/shop").host("B.Example:443"), &[1]),
        (Invalidation::path("/shop").host("c.example"), &[]),
        (Invalidation::path("/shop/café/menu"), &[9]),
        (Invalidation::from(["/", "/shops"]), &[5, 6]),
        (Invalidation::from([""; 0]), &[]),
        (Invalidation::uri("/shop"), &[0, 1, 7, 8]),
        (Invalidation::uri("/shop?page=2"), &[2]),
        (Invalidation::uri("/shop?page=3"), &[]),
        (Invalidation::uri("/shop/flavours/1?y=2&x=1#top"), &[4]),
        (Invalidation::uri("https://b.example/shop"), &[1]),
        (Invalidation::uri("/shop/café/menu?x=1"), &[9]),
        (Invalidation::uri("/shop").host("b.example"), &[1]),
        (Invalidation::subtree("/shop"), &[0, 1, 2, 3, 4, 7, 8, 9]),
        (Invalidation::subtree("/shop/"), &[0, 1, 2, 3, 4, 7, 8, 9]),
        (Invalidation::subtree("/shop/flavours"), &[3, 4]),
        (Invalidation::subtree("/shop/caf%c3%a9"), &[9]),
        (Invalidation::subtree("/shop/café"), &[9]),
        (Invalidation::subtree("/sho"), &[]),
        (Invalidation::subtree("/"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Invalidation::subtree("/").host("b.example"), &[1]),
        (Invalidation::tag("flavours"), &[3, 4]),
        (Invalidation::tag("Flavours"), &[]),
        (Invalidation::from(["flavours", "front"].map(Invalidation::tag)), &[0, 1, 2, 3, 4, 6, 7, 8]),
        (Invalidation::tag("front").host("b.example"), &[1]),
        (Invalidation::all(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Invalidation::all().host("b.example"), &[1]),
        (Invalidation::path("/").and(Invalidation::tag("flavours")), &[3, 4, 6]),
        (Invalidation::path("/shop").host("b.example").and(Invalidation::uri("/shop?page=2")), &[1, 2]),
    ]
}

/// Fills the caches of both layers and invalidates the scope. Returns the indices of the targets
/// that are no longer hits although the scope does not cover them.
///
/// Panics if a covered target is still a hit.
async fn lost(setup: StoreSetup, attempt: usize, what: &Invalidation, named: &[usize]) -> Vec<usize> {
    let (cache, _manual) = setup.cache(attempt);
    let answer = |request: &Request<Body>, call| {
        let lines = [("vary", "accept-language"), ("cache-control", "max-age=600")];
        match request.uri().path() {
            "/" | "/shop" => tagged(["front"], &lines, call),
            path if path.starts_with("/shop/flavours") => tagged(["flavours"], &lines, call),
            _ => numbered(&lines, call),
        }
    };
    let stacks = [site_over(&cache, origin(answer).0), route_over(&cache, MINUTE, origin(answer).0)];
    for stack in &stacks {
        for request in targets() {
            send(stack, request).await;
        }
    }
    settle().await;
    for stack in &stacks {
        for request in targets() {
            assert!(send(stack, request).await.is_hit(), "stored");
        }
    }
    invalidate(&cache, what.clone()).await;
    let mut lost = Vec::new();
    for stack in &stacks {
        for (at, request) in targets().into_iter().enumerate() {
            let mut head = request.clone();
            *head.method_mut() = http::Method::HEAD;
            for request in [head, request] {
                let hit = send(stack, request).await.is_hit();
                assert!(!(hit && named.contains(&at)), "{setup:?} {what:?} {at}");
                if !hit && !named.contains(&at) {
                    lost.push(at);
                }
            }
        }
    }
    lost
}

#[tokio::test(start_paused = true)]
async fn a_scope_covers_exactly_its_entries_in_all_layers() {
    for &setup in ALL {
        for (what, named) in names() {
            // Without a stale window, soft and hard invalidation have the same effect.
            for what in [what.clone(), what.soft()] {
                let mut rest = Vec::new();
                // Two scopes may share a bucket by chance. It is very unlikely in each of five namespaces.
                for attempt in 0..5 {
                    rest = lost(setup, attempt, &what, named).await;
                    if rest.is_empty() {
                        break;
                    }
                }
                assert!(rest.is_empty(), "{setup:?} {what:?} also invalidated {rest:?}");
            }
        }
    }
}

/// A slug that a router has decoded may contain `?`, `#` or `%`.
#[tokio::test(start_paused = true)]
async fn a_subtree_matches_in_encoded_and_decoded_form() {
    for (requested, named) in [
        ("/f/what%3F/1", "/f/what?"),
        ("/f/c%23/1", "/f/c#"),
        ("/f/50%2541/1", "/f/50%41"),
        ("/f/50%2541/1", "/f/50%2541"),
        ("/f/caf%C3%A9/1", "/f/café"),
    ] {
        let cache = memory();
        let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
        fill(&stack, &[requested]).await;
        invalidate(&cache, Invalidation::subtree(named)).await;
        assert!(!is_page_stored(&stack, requested).await, "{named}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_uri_matches_by_the_keyed_part_of_its_query() {
    let cache = memory();
    let ignoring = policy().query(tower_response_cache::key::QueryKey::without(["utm_*"]));
    let stack = layered(&cache, ignoring, origin(|_, call| numbered(&[], call)).0);
    fill(&stack, &["/a?x=1&utm_source=mail"]).await;
    invalidate(&cache, Invalidation::uri("/a")).await;
    assert!(is_page_stored(&stack, "/a?x=1").await);
    invalidate(&cache, Invalidation::uri("/a?x=1")).await;
    assert!(!is_page_stored(&stack, "/a?x=1&utm_source=mail").await);
}

struct Flavour {
    id: u64,
    slug: &'static str,
    sizes: Vec<Size>,
}

struct Size {
    id: u64,
}

impl Dependents for Size {
    fn tags(&self) -> Vec<String> {
        vec![format!("size:{}", self.id)]
    }
}

impl Dependents for Flavour {
    fn paths(&self) -> Vec<String> {
        // A repeated path is allowed.
        [format!("/flavours/{}", self.slug), "/".to_owned(), "/".to_owned()]
            .into_iter()
            .chain(self.sizes.paths())
            .collect()
    }

    fn tags(&self) -> Vec<String> {
        let own = format!("flavour:{}", self.id);
        std::iter::once(own).chain(self.sizes.tags()).collect()
    }
}

struct Nothing;

impl Dependents for Nothing {}

#[tokio::test(start_paused = true)]
async fn dependents_of_an_object_are_invalidated_and_others_stay() {
    let paths =
        ["/", "/flavours/vanilla", "/flavours/lemon", "/sizes/1", "/sizes/2", "/aggregate", "/imprint"];
    let answer = |request: &Request<Body>, call| match request.uri().path() {
        "/sizes/1" => tagged(["size:1"], &[], call),
        "/sizes/2" => tagged(["size:2"], &[], call),
        "/aggregate" => tagged(["flavour:7", "flavour:8"], &[], call),
        _ => numbered(&[], call),
    };
    let vanilla = || Flavour { id: 7, slug: "vanilla", sizes: vec![Size { id: 1 }] };
    let lemon = || Flavour { id: 8, slug: "lemon", sizes: Vec::new() };
    let both = [vanilla(), lemon()];
    let dynamic: Box<dyn Dependents> = Box::new(vanilla());
    let of_vanilla: &[&str] = &["/", "/flavours/vanilla", "/sizes/1", "/aggregate"];
    let table: [(Invalidation, &[&str]); 8] = [
        ((&vanilla()).into(), of_vanilla),
        ((&*dynamic).into(), of_vanilla),
        ((&lemon()).into(), &["/", "/flavours/lemon", "/aggregate"]),
        ((&both[..]).into(), &["/", "/flavours/vanilla", "/flavours/lemon", "/sizes/1", "/aggregate"]),
        ((&both[..0]).into(), &[]),
        ((&Nothing).into(), &[]),
        ((&vanilla().sizes[0]).into(), &["/sizes/1"]),
        (
            Invalidation::from(&vanilla()).and(Invalidation::path("/imprint")),
            &["/", "/flavours/vanilla", "/sizes/1", "/aggregate", "/imprint"],
        ),
    ];
    for (what, gone) in table {
        let cache = memory();
        let stack = site_over(&cache, origin(answer).0);
        fill(&stack, &paths).await;
        invalidate(&cache, what.clone()).await;
        for path in paths {
            assert_eq!(is_page_stored(&stack, path).await, !gone.contains(&path), "{what:?} {path}");
        }
    }
    // `Cache::invalidate` accepts references.
    let cache = memory();
    let stack = site_over(&cache, origin(answer).0);
    fill(&stack, &["/", "/imprint"]).await;
    assert_eq!(cache.invalidate(&vanilla()).await, Delivery::Delivered);
    assert_eq!(cache.invalidate(&both[..]).await, Delivery::Delivered);
    assert!(!is_page_stored(&stack, "/").await && is_page_stored(&stack, "/imprint").await);
}

#[tokio::test(start_paused = true)]
async fn a_handlers_invalidations_apply_on_success_only() {
    for &setup in ALL {
        let (cache, _manual) = setup.cache(0);
        let (inner, _) = origin(|request, call| {
            if request.uri().path() != "/action" {
                return tagged(["t"], &[], call);
            }
            let status = request.headers()["x-status"].to_str().expect("text").parse().expect("a number");
            let what = Invalidation::tag("t").and(Invalidation::path("/other"));
            changed(with_status(numbered(&[("cache-control", "no-store")], call), status), what)
        });
        let stack = layered(&cache, lasting(), inner);
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "MOVE"] {
            for status in [200, 201, 204, 301, 303, 307, 400, 403, 404, 409, 500, 503] {
                // An undeclared cookie makes the request bypass the cache.
                for cookie in [None, Some(("cookie", "sid=1"))] {
                    for path in ["/tagged", "/other", "/a/third"] {
                        send(&stack, get(path)).await;
                    }
                    settle().await;
                    let text = status.to_string();
                    let lines: Vec<_> = [("x-status", text.as_str())].into_iter().chain(cookie).collect();
                    assert_eq!(send(&stack, request(method, "/action", &lines)).await.status, status);
                    // The response to a safe method does not wait for the store.
                    if setup != StoreSetup::Local && ["GET", "HEAD", "OPTIONS"].contains(&method) {
                        settle().await;
                    }
                    for path in ["/tagged", "/other"] {
                        let stays = status >= 400;
                        assert_eq!(
                            is_page_stored(&stack, path).await,
                            stays,
                            "{setup:?} {method} {status} {path}"
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn combined_invalidations_of_a_response_are_hard_if_one_is() {
    for (strengths, expected) in [([false, false], "gone"), ([true, false], "gone"), ([true, true], "stale")]
    {
        let (cache, _manual) = StoreSetup::Local.cache(0);
        let (inner, _) = origin(move |request, call| {
            if request.method() == "GET" {
                return numbered(&[], call);
            }
            let [one, other] = strengths;
            let soften = |what: Invalidation, soft| if soft { what.soft() } else { what };
            let response = changed(numbered(&[], call), soften(Invalidation::path("/a"), one));
            changed(response, soften(Invalidation::path("/b"), other))
        });
        let stack = layered(&cache, windowed(), inner);
        fill(&stack, &["/a", "/b", "/c"]).await;
        send(&stack, request("POST", "/save", &[])).await;
        for path in ["/a", "/b"] {
            let answer = send(&stack, get(path)).await;
            assert_eq!((answer.is_hit(), is_stale(&answer)), (expected == "stale", expected == "stale"));
        }
        assert!(is_page_stored(&stack, "/c").await);
    }
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn an_axum_handler_returns_invalidations_with_its_response() {
    use axum::Router;
    use axum::routing::{get as on_get, post};
    use tower_response_cache::SiteCacheLayer;
    let cache = memory();
    let app: Router = Router::new()
        .route("/a", on_get(|| async { "a" }))
        .route("/b", on_get(|| async { "b" }))
        .route(
            "/save",
            post(|| async {
                let all = Invalidation::path("/a").on_success();
                (all, Invalidation::path("/b").on_success(), "saved")
            }),
        )
        .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")));
    let request_page = async |method: &str, path: &str| {
        let request = request(method, path, &[]).map(axum::body::Body::new);
        read(app.clone().oneshot(request).await.expect("infallible")).await
    };
    for path in ["/a", "/b"] {
        request_page("GET", path).await;
        assert!(request_page("GET", path).await.is_hit());
    }
    request_page("POST", "/save").await;
    for path in ["/a", "/b"] {
        assert!(!request_page("GET", path).await.is_hit(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handlers_invalidation_runs_once_for_all_followers() {
    let (cache, _manual) = StoreSetup::Local.cache(0);
    let inner = service_fn(|_: Request<Body>| async {
        sleep(50 * MS).await;
        Ok::<_, Infallible>(changed(numbered(&[], 1), Invalidation::path("/other")))
    });
    let stack = layered(&cache, lasting(), inner.boxed_clone());
    let requests = futures::future::join_all((0..4).map(|_| send(&stack, get("/"))));
    requests.await;
    let others = layered(&cache, lasting(), origin(|_, call| numbered(&[], call)).0);
    fill(&others, &["/other"]).await;
    // A hit does not repeat the invalidation.
    assert!(is_page_stored(&stack, "/").await);
    assert!(is_page_stored(&others, "/other").await);
}
