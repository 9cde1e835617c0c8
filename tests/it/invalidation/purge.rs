//! Purging over HTTP: authorization, the scopes in the query, and responses that reveal nothing
//! about the cache.

use crate::stores::contract::over;
use crate::support::faulty::Fault;
use crate::support::*;
use http::Request;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Service, ServiceExt};
use tower_response_cache::{Cache, PurgeService};

const SECRET: &str = "5bW0q-Ug.k";
const RIGHT: (&str, &str) = ("authorization", "Bearer 5bW0q-Ug.k");

/// Returns a purge service, a stack over the same cache with `/page` stored, and the cache.
async fn with_a_page() -> (PurgeService, Stack, Cache) {
    let cache = memory();
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    assert!(shares(&stack, get("/page"), get("/page")).await);
    (PurgeService::with_secret(&cache, SECRET).expect("a secret"), stack, cache)
}

async fn purge(service: &PurgeService, query: &str, lines: &[(&str, &str)]) -> Answer {
    send(service, request("POST", &format!("/purge{query}"), lines)).await
}

#[tokio::test]
async fn a_purge_with_the_secret_invalidates_its_scopes() {
    let schemes = ["Bearer 5bW0q-Ug.k", "bearer 5bW0q-Ug.k", "BEARER   5bW0q-Ug.k"];
    let queries = [
        "?path=/page",
        "?path=/other&path=/page",
        "?uri=/page",
        "?subtree=/page",
        "?all=true",
        "?tag=none&path=/page",
        "?path=/page&tag=none",
        "?path=http://shop.example/page",
    ];
    for (authorization, query) in schemes.iter().zip(queries).chain(queries.map(|q| (&schemes[0], q))) {
        let (service, stack, _) = with_a_page().await;
        let answer = purge(&service, query, &[("authorization", authorization)]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (204, ""), "{query}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(!send(&stack, get("/page")).await.is_hit(), "{authorization} {query}");
    }
}

#[tokio::test]
async fn a_purge_keeps_other_pages_and_does_not_reveal_matches() {
    let (service, stack, _) = with_a_page().await;
    for query in ["?path=/other", "?uri=/other", "?subtree=/other", "?tag=other", "?path=/page/"] {
        let answer = purge(&service, query, &[RIGHT]).await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.headers.len()), (204, "", 1), "{query}");
    }
    assert!(send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn without_the_secret_every_purge_gets_the_same_401() {
    let (service, stack, _) = with_a_page().await;
    let table: [&[(&str, &str)]; 12] = [
        &[],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer 5bW0q-Ug.")],
        &[("authorization", "Bearer 5bW0q-Ug.kk")],
        &[("authorization", "Bearer 5BW0Q-UG.K")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "5bW0q-Ug.k")],
        &[("authorization", "Basic 5bW0q-Ug.k")],
        &[("authorization", "Bearer5bW0q-Ug.k")],
        &[RIGHT, RIGHT],
        &[RIGHT, ("authorization", "Bearer wrong")],
    ];
    for lines in table {
        for (method, query) in
            [("POST", "?path=/page"), ("POST", "?all=true"), ("POST", "?wrong"), ("GET", "?path=/page")]
        {
            let answer = send(&service, request(method, &format!("/purge{query}"), lines)).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (401, ""), "{lines:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.headers.len(), 2);
        }
    }
    assert!(send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn a_predicate_authorizes_before_method_and_query_are_read() {
    let (_, stack, cache) = with_a_page().await;
    let service = PurgeService::authorized_by(&cache, |request| request.headers.contains_key("x-editor"));
    for (method, query) in [("POST", "?path=/page"), ("POST", "?wrong"), ("GET", "?path=/page")] {
        let answer = send(&service, request(method, &format!("/purge{query}"), &[RIGHT])).await;
        assert_eq!((answer.status.as_u16(), answer.text(), answer.headers.len()), (403, "", 1));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert!(send(&stack, get("/page")).await.is_hit());
    let answer = purge(&service, "?path=/page", &[("x-editor", "ann")]).await;
    assert_eq!(answer.status, 204);
    assert!(!send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn an_invalid_purge_query_invalidates_nothing() {
    let (service, stack, _) = with_a_page().await;
    let most = format!("?{}", "path=/other&".repeat(256));
    let table = [
        "",
        "?",
        "?&",
        "?soft=true",
        "?host=shop.example",
        "?path",
        "?path=",
        "?path=/page&path=",
        "?path=/page&tag=",
        "?path=/page&host=",
        "?path=page",
        "?path=/page&uri=page",
        "?subtree=page",
        "?path=/page&path=/%FF",
        "?path=/page&unknown=1",
        "?Path=/page",
        "?path=/page&=",
        "?uri=/page&y=2",
        "?all",
        "?all=1",
        "?all=TRUE",
        "?all=false",
        "?all=true&all=true",
        "?all=true&path=/page",
        "?tag=a&all=true",
        "?path=/page&soft=1",
        "?path=/page&soft=false",
        "?path=/page&soft=true&soft=true",
        "?path=/page&host=a.example&host=b.example",
        "?path=/page&host=https://shop.example/",
        "?path=/page&host=ann@shop.example",
        "?path=/page&host=a+b",
        &format!("{most}tag=a"),
        &format!("{most}path=/page"),
    ];
    for query in table {
        let answer = purge(&service, query, &[RIGHT]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(!answer.body.is_empty(), "the body states the reason");
        assert!(send(&stack, get("/page")).await.is_hit(), "{query}");
    }
    assert_eq!(purge(&service, &most, &[RIGHT]).await.status, 204);
    assert!(send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn only_a_post_purges() {
    let (service, stack, _) = with_a_page().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "post"] {
        let answer = send(&service, request(method, "/purge?path=/page", &[RIGHT])).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("POST")), "{method}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert!(send(&stack, get("/page")).await.is_hit());
}

#[tokio::test]
async fn store_failures_are_reported_to_authorized_requests_only() {
    let (_, _, cache, _) = over(Fault::Down);
    let service = PurgeService::with_secret(&cache, SECRET).expect("a secret");
    assert_eq!(purge(&service, "?path=/page", &[]).await.status, 401);
    assert_eq!(purge(&service, "?path=page", &[RIGHT]).await.status, 400);
    assert_eq!(cache.store_errors(), 0, "a rejected request does not reach the store");
    for query in ["?path=/page&tag=a", "?all=true", "?uri=/page"] {
        let answer = purge(&service, query, &[RIGHT]).await;
        assert_eq!(answer.status, 202, "{query}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_request_body_of_any_type_is_dropped_unread() {
    struct Untouchable<'a>(&'a AtomicUsize);
    impl Drop for Untouchable<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (mut service, stack, _) = with_a_page().await;
    let dropped = AtomicUsize::new(0);
    let request = Request::post("/?path=/page").header(RIGHT.0, RIGHT.1).body(Untouchable(&dropped));
    let service = ServiceExt::<Request<Untouchable<'_>>>::ready(&mut service).await.expect("infallible");
    let call = service.call(request.expect("a request"));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(send(&stack, get("/page")).await.is_hit(), "nothing is invalidated before the first poll");
    assert_eq!(call.await.expect("infallible").status(), 204);
}

#[tokio::test]
async fn a_purge_service_runs_in_a_hyper_server() {
    let (service, stack, _) = with_a_page().await;
    let (mut client, server) = tokio::io::duplex(1 << 10);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    let exchange = async {
        let head = "POST /?path=/page HTTP/1.1\r\nhost: internal\r\nauthorization: Bearer 5bW0q-Ug.k\r\n";
        let rest = "connection: close\r\ncontent-length: 8\r\n\r\npath=/no";
        client.write_all(format!("{head}{rest}").as_bytes()).await.expect("writes");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("reads");
        answer
    };
    let (served, answer) = tokio::join!(connection, exchange);
    served.expect("serves");
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    assert!(!send(&stack, get("/page")).await.is_hit());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_purge_service_can_be_an_axum_route_or_nested_service() {
    use axum::{Router, routing::get as on_get};
    use tower_response_cache::SiteCacheLayer;

    let cache = memory();
    let service = PurgeService::with_secret(&cache, SECRET).expect("a secret");
    let app: Router = Router::new()
        .route("/page", on_get(|| async { "a page" }))
        .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")))
        .route_service("/purge", service.clone())
        .nest_service("/internal", service);
    let send = async |request: Request<Body>| {
        read(app.clone().oneshot(request.map(axum::body::Body::new)).await.expect("infallible")).await
    };
    for path in ["/purge", "/internal", "/internal/purge"] {
        send(get("/page")).await;
        assert!(send(get("/page")).await.is_hit());
        let uri = format!("{path}?path=/page");
        assert_eq!(send(request("POST", &uri, &[])).await.status, 401);
        assert!(send(get("/page")).await.is_hit());
        assert_eq!(send(request("POST", &uri, &[RIGHT])).await.status, 204);
        assert!(!send(get("/page")).await.is_hit(), "{path}");
    }
}
