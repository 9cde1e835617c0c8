//! Cache layers in real servers on loopback: in each place where axum accepts a layer, and with
//! hyper alone.

use crate::support::{Answer, Calls, memory, policy};
use axum::Router;
use axum::handler::Handler;
use axum::http::{HeaderMap, Request, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tower::{Layer, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

const HOUR: Duration = Duration::from_secs(3600);

/// A server that is stopped when dropped.
struct Server {
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn axum(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, task }
    }

    async fn send(&self, method: &str, path: &str, lines: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "shop.example");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let response = client
            .send_request(request.body(Full::<Bytes>::default()).expect("a request"))
            .await
            .expect("answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }
}

fn counting(calls: &Calls, name: &'static str) -> impl Handler<((),), ()> {
    let calls = calls.clone();
    move || {
        let call = calls.next();
        async move { format!("{name} {call}") }
    }
}

fn route(cache: &Cache) -> RouteCacheLayer {
    RouteCacheLayer::new(cache, HOUR).policy(Policy::app().cache_status(true).build().expect("a policy"))
}

#[tokio::test]
async fn axum_routers_method_routers_and_handlers_accept_layers() {
    let calls = Calls::default();
    let handler = |name| counting(&calls, name);
    let cache = memory();
    let apps: Vec<(&str, Router)> = vec![
        (
            "router",
            Router::new()
                .route("/", get(handler("router")))
                .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"))),
        ),
        (
            "routes",
            Router::new().route("/", get(handler("routes"))).route_layer(
                SiteCacheLayer::new(&cache).policy(policy().name("routes").build().expect("a policy")),
            ),
        ),
        ("method", Router::new().route("/", get(handler("method")).layer(route(&cache)))),
        (
            "handler",
            Router::new().route(
                "/",
                get(handler("handler").layer(
                    RouteCacheLayer::new(&cache, HOUR)
                        .policy(policy().name("handler").build().expect("a policy")),
                )),
            ),
        ),
    ];
    for (name, app) in apps {
        let server = Server::axum(app).await;
        let first = server.get("/").await;
        assert!(first.text().starts_with(name));
        let hit = server.get("/").await;
        assert!(hit.is_hit(), "{name}");
        assert_eq!(hit.text(), first.text());
        assert!(hit.header("age").is_some() && hit.header("content-length").is_some());
        let head = server.send("HEAD", "/", &[]).await;
        assert!(head.is_hit() && head.body.is_empty(), "{name}");
        assert_eq!(head.header("content-length"), hit.header("content-length"));
    }
}

#[tokio::test]
async fn nested_routers_use_their_public_path_as_key_and_scope() {
    let (cache, calls) = (memory(), Calls::default());
    let items = |name| Router::new().route("/items", get(counting(&calls, name)).layer(route(&cache)));
    let inner =
        |name| items(name).layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")));
    let app = Router::new().nest("/a", inner("a")).nest("/b", inner("b"));
    let server = Server::axum(app).await;
    for _ in 0..2 {
        assert_eq!(server.get("/a/items").await.text(), "a 1");
        assert_eq!(server.get("/b/items").await.text(), "b 2");
    }
    assert_eq!(cache.invalidate(Invalidation::path("/a/items")).await, Delivery::Delivered);
    assert_eq!(server.get("/a/items").await.text(), "a 3");
    assert_eq!(server.get("/b/items").await.text(), "b 2");
}

#[tokio::test]
async fn a_rewrite_between_router_and_cache_is_keyed() {
    let page = |uri: axum::http::Uri| async move { uri.path().to_owned() };
    // Replaces the URI by the value of `x-edition`. This field is not in the key.
    let rewrite = |mut request: axum::extract::Request| {
        if let Some(to) = request.headers().get("x-edition").cloned() {
            *request.uri_mut() = to.to_str().expect("text").parse().expect("a path");
        }
        request
    };
    let pages = Router::new()
        .fallback(page)
        .layer(SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")));
    let rewritten = tower::util::MapRequestLayer::new(rewrite).layer(pages);
    let server = Server::axum(Router::new().nest_service("/a", rewritten)).await;
    for _ in 0..2 {
        assert_eq!(server.send("GET", "/a/x", &[("x-edition", "/morning")]).await.text(), "/morning");
        assert_eq!(server.send("GET", "/a/x", &[("x-edition", "/evening")]).await.text(), "/evening");
        assert_eq!(server.get("/a/x").await.text(), "/x");
    }
}

#[tokio::test]
async fn an_ignored_query_parameter_is_hidden_from_original_uri() {
    let app = Router::new().nest(
        "/a",
        Router::new()
            .route(
                "/x",
                get(|uri: axum::extract::OriginalUri, own: axum::http::Uri| async move {
                    format!("{} {own}", uri.0)
                }),
            )
            .layer(
                SiteCacheLayer::new(&memory()).policy(
                    policy()
                        .query(tower_response_cache::key::QueryKey::without(["utm_*"]))
                        .build()
                        .expect("a policy"),
                ),
            ),
    );
    let server = Server::axum(app).await;
    assert_eq!(server.get("/a/x?utm_source=evil&p=1").await.text(), "/a/x?p=1 /x?p=1");
}

#[tokio::test]
async fn a_session_cookie_separates_users_without_vary() {
    // The handler inside the cache reads the cookie. No layer inside the cache adds `Vary: Cookie`.
    let page = |headers: HeaderMap| async move {
        headers
            .get("cookie")
            .map_or("anonymous".to_owned(), |cookie| cookie.to_str().expect("text").to_owned())
    };
    let cache = memory();
    let server = Server::axum(Router::new().route("/", get(page).layer(route(&cache)))).await;
    for _ in 0..2 {
        assert_eq!(server.send("GET", "/", &[("cookie", "sid=alice")]).await.text(), "sid=alice");
        assert_eq!(server.send("GET", "/", &[("cookie", "sid=bob")]).await.text(), "sid=bob");
        assert_eq!(server.get("/").await.text(), "anonymous");
    }
}

#[tokio::test]
async fn a_plain_hyper_service_can_be_cached() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<hyper::body::Incoming>| {
        let call = counted.next();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("hyper {call}")))) }
    });
    let service = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let server = Server { address, task };
    for _ in 0..2 {
        assert_eq!(server.get("/").await.text(), "hyper 1");
    }
    let bodied = server.send("GET", "/", &[("content-length", "0")]).await;
    assert_eq!((bodied.text(), calls.count()), ("hyper 1", 1));
    let hit = server.get("/").await;
    assert_eq!((hit.header("content-length"), hit.header("transfer-encoding")), (Some("7"), None));
}

/// Converts the target of a request to its form in HTTP/1.1, as the documentation recommends.
fn as_http_1<B>(mut request: Request<B>) -> Request<B> {
    let uri = request.uri();
    let host = uri.authority().and_then(|authority| http::HeaderValue::from_str(authority.as_str()).ok());
    if let (Some(host), Some(path)) = (host, uri.path_and_query().cloned()) {
        request.headers_mut().insert("host", host);
        *request.uri_mut() = http::Uri::from(path);
    }
    request
}

#[tokio::test]
async fn http_1_and_http_2_share_pages_with_one_target_form() {
    let inner = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let seen = format!("{} {:?}", request.uri(), request.headers().get("host"));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(seen)))
    });
    let service = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let service = tower::util::MapRequestLayer::new(as_http_1).layer(service);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server =
                    hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let server = Server { address, task };
    let first = server.get("/a?b").await;
    assert_eq!((first.text(), first.is_hit()), ("/a?b Some(\"shop.example\")", false));
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://shop.example/a?b").body(Full::<Bytes>::default()).expect("a request");
    let response = client.send_request(request).await.expect("answers");
    assert_eq!(response.version(), http::Version::HTTP_2);
    let answer = crate::support::read(response).await;
    assert_eq!((answer.text(), answer.is_hit()), (first.text(), true));
    connection.abort();
}
