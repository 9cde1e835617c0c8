//! How the example proxy handles fields and HTTP versions in both directions, and how it shuts
//! down.

use crate::support::proxy::{AfterReply, Client, LONG, Origin, Proxy, ReceivedAnswer, Reply, guarded, page};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower_response_cache::Policy;
use tower_response_cache::policy::PolicyBuilder;

const FRESH: &str = "Cache-Control: max-age=60\r\n";

fn asking(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{lines}\r\n")
}

fn policy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

#[tokio::test]
async fn connection_fields_of_the_client_are_not_forwarded() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let lines = "Connection: X-One, x-two ,, keep-alive\r\nConnection: X-Three\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nTE: trailers, gzip;q=0.5\r\nUpgrade: websocket\r\n\
                 X-One: 1\r\nX-Two: 2\r\nX-Two: 22\r\nX-Three: 3\r\nX-Four: 4\r\n";
    assert_eq!(proxy.send(asking("GET", "/", lines)).await.status(), 200);
    let seen = &origin.seen()[0];
    for name in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "x-one", "x-two", "x-three"]
    {
        assert!(seen.all(name).is_empty(), "{name}");
    }
    assert_eq!((seen.all("x-four"), seen.all("host")), (vec!["4"], vec!["shop.example"]));
}

#[tokio::test]
async fn connection_fields_of_the_upstream_are_not_forwarded() {
    let lines = format!(
        "{FRESH}Connection: X-One, X-Two\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n"
    );
    let origin = Origin::start([page(&lines, "body")]).await;
    let proxy = Proxy::over(&origin).await;
    for hit in [false, true] {
        let got = proxy.get("/").await;
        assert_eq!((got.is_hit(), got.header("x-three")), (hit, Some("3")));
        for name in ["keep-alive", "proxy-connection", "upgrade", "x-one", "x-two"] {
            assert!(got.header(name).is_none(), "{name}");
        }
        // The proxy sets its own `Connection` field.
        assert_eq!(got.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn connection_cannot_remove_framing_or_identifying_fields() {
    let lines = format!("{FRESH}Vary: X-Kind\r\nConnection: cache-control, vary, content-length\r\n");
    let named = "Connection: cdn-cache-control, age, expires, date, set-cookie\r\nCDN-Cache-Control: no-store\r\n\
                Age: 50\r\nSet-Cookie: a=b\r\nCache-Control: max-age=60\r\n";
    let origin = Origin::start([page(named, "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.get("/").await;
    assert_eq!((got.header("age"), got.header("set-cookie")), (Some("50"), Some("a=b")));
    assert_eq!(proxy.get("/").await.text(), "page 2");
    let origin = Origin::start([page(&lines, "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let rest = "Connection: host, content-length\r\nContent-Length: 4\r\n\r\nbody";
    proxy.send(asking("POST", "/", rest).trim_end_matches("\r\n")).await;
    let seen = &origin.seen()[0];
    assert_eq!((seen.all("host"), seen.all("content-length")), (vec!["shop.example"], vec!["4"]));
    let origin = Origin::start([page(&lines, "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.get("/").await;
    assert_eq!((got.header("cache-control"), got.header("vary")), (Some("max-age=60"), Some("X-Kind")));
    assert_eq!((got.text(), got.is_whole), ("body", true));
}

#[tokio::test]
async fn a_field_not_forwarded_to_the_upstream_selects_no_variant() {
    let pages = ["none", "de"].map(|body| page(&format!("{FRESH}Vary: Accept-Language\r\n"), body));
    let origin = Origin::start(pages).await;
    let proxy = Proxy::over(&origin).await;
    let hidden = "Connection: accept-language\r\nAccept-Language: de\r\n";
    assert_eq!(proxy.send(asking("GET", "/", hidden)).await.text(), "none");
    let got = proxy.send(asking("GET", "/", "Accept-Language: de\r\n")).await;
    assert_eq!((got.text(), got.is_hit()), ("de", false));
    assert_eq!(proxy.get("/").await.text(), "none");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn the_proxy_appends_itself_to_via_in_both_directions() {
    let origin = Origin::start([page(&format!("{FRESH}Via: 1.1 within\r\n"), "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let vias = |got: &ReceivedAnswer| {
        let lines =
            got.answer.headers.get_all("via").iter().map(|via| via.to_str().expect("text").to_owned());
        lines.collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let got = proxy.send(asking("GET", "/", "Via: 1.0 without\r\n")).await;
        assert_eq!(vias(&got), ["1.1 within", "1.1 tower-response-cache"]);
    }
    assert_eq!(origin.seen()[0].all("via"), ["1.0 without", "1.1 tower-response-cache"]);
}

#[tokio::test]
async fn connect_and_trace_are_not_implemented() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    for request in [
        "CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\nConnection: close\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: shop.example\r\nCookie: a=b\r\nConnection: close\r\n\r\n",
    ] {
        let got = proxy.send(request).await;
        assert_eq!((got.status(), got.text()), (501, ""), "{request}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn options_with_max_forwards_0_is_answered_by_the_proxy() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let with = |method, left: &str| asking(method, "/", &format!("Max-Forwards: {left}\r\n"));
    assert_eq!(proxy.send(with("OPTIONS", "0")).await.status(), 204);
    assert_eq!(proxy.send(with("OPTIONS", "x")).await.status(), 400);
    assert_eq!(proxy.send(with("OPTIONS", "-1")).await.status(), 400);
    assert_eq!(origin.count(), 0);
    proxy.send(with("OPTIONS", "7")).await;
    // `Max-Forwards` does not affect a GET.
    proxy.send(with("GET", "0")).await;
    let left: Vec<_> = origin.seen().iter().map(|seen| seen.all("max-forwards").concat()).collect();
    assert_eq!(left, ["6", "0"]);
}

#[tokio::test]
async fn an_http_1_0_client_gets_bodies_delimited_by_close() {
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
    let origin = Origin::start([Reply::new(chunked, AfterReply::Keep)]).await;
    let proxy = Proxy::over(&origin).await;
    for hit in [false, true] {
        let got = proxy.send("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n").await;
        assert_eq!((got.text(), got.is_hit()), ("body", hit));
        assert_eq!(got.header("transfer-encoding"), None);
    }
    assert_eq!(proxy.get("/").await.text(), "body");
    let seen = &origin.seen()[0];
    assert_eq!((seen.line(), seen.all("via")), ("GET / HTTP/1.1", vec!["1.0 tower-response-cache"]));
}

#[tokio::test]
async fn http_1_0_requests_without_host_have_separate_entries() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    for _ in 0..2 {
        assert_eq!(proxy.send("GET / HTTP/1.0\r\n\r\n").await.text(), "page 1");
        assert_eq!(proxy.get("/").await.text(), "page 2");
    }
}

/// Connects an HTTP/2 client with prior knowledge (RFC 9113 section 3.3).
async fn http2_client(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = guarded(handshake).await.expect("a handshake");
    tokio::spawn(connection);
    client
}

async fn send_http2(
    client: &mut SendRequest<Empty<Bytes>>,
    request: http::request::Builder,
) -> (HeaderMap, Bytes) {
    let request = request.body(Empty::new()).expect("a request");
    let response = guarded(client.send_request(request)).await.expect("answers");
    assert_eq!(response.version(), Version::HTTP_2);
    let (parts, body) = response.into_parts();
    (parts.headers, guarded(body.collect()).await.expect("a body").to_bytes())
}

fn to(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

#[tokio::test]
async fn http_2_clients_share_entries_with_http_1_clients() {
    let lines = format!("{FRESH}Connection: close\r\nKeep-Alive: timeout=5\r\n");
    let origin = Origin::start([page(&lines, "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let mut client = http2_client(proxy.address).await;
    for _ in 0..2 {
        let (headers, body) = send_http2(&mut client, to("http://shop.example/")).await;
        assert_eq!(&body[..], b"body");
        assert!(!headers.contains_key("connection") && !headers.contains_key("keep-alive"));
    }
    assert!(proxy.get("/").await.is_hit());
    let seen = &origin.seen()[0];
    assert_eq!((seen.line(), seen.all("host")), ("GET / HTTP/1.1", vec!["shop.example"]));
    assert_eq!(seen.all("via"), ["2.0 tower-response-cache"]);
    let (_, other) = send_http2(&mut client, to("http://evil.example/")).await;
    assert_eq!(&other[..], b"page 2");
}

#[tokio::test]
async fn split_http_2_cookies_become_one_http_1_field() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let mut client = http2_client(proxy.address).await;
    let request = to("http://shop.example/").header("cookie", "a=1").header("cookie", "b=2");
    send_http2(&mut client, request).await;
    assert_eq!(origin.seen()[0].all("cookie"), ["a=1; b=2"]);
}

/// The target, `Host` and version of each request that an upstream received.
type ReceivedTargets = Arc<Mutex<Vec<(String, Option<String>, Version)>>>;

/// Starts an HTTP/2 upstream that answers each request with a numbered page.
async fn http2_upstream() -> (SocketAddr, ReceivedTargets) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let received = ReceivedTargets::default();
    let record = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = Arc::clone(&record);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let host = request.headers().get("host").map(|host| host.to_str().expect("text").to_owned());
                let mut received = record.lock().expect("not poisoned");
                received.push((request.uri().to_string(), host, request.version()));
                let body = format!("page {}", received.len());
                let response = Response::builder().header("cache-control", "max-age=60");
                let response = response.body(Full::new(Bytes::from(body))).expect("a response");
                async move { Ok::<_, Infallible>(response) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, received)
}

#[tokio::test]
async fn an_http_2_upstream_gets_the_clients_host() {
    let (address, received) = http2_upstream().await;
    let proxy = Proxy::start(address, policy(), true, LONG).await;
    for hit in [false, true] {
        let got = proxy.get("/a?b").await;
        assert_eq!((got.text(), got.is_hit()), ("page 1", hit));
        assert_eq!(got.header("via"), Some("2.0 tower-response-cache"));
    }
    assert_eq!(proxy.get_from("evil.example", "/a?b").await.text(), "page 2");
    let mut client = http2_client(proxy.address).await;
    assert_eq!(&send_http2(&mut client, to("http://shop.example/a?b")).await.1[..], b"page 1");
    assert_eq!(&send_http2(&mut client, to("http://shop.example/c")).await.1[..], b"page 3");
    let targets = ["http://shop.example/a?b", "http://evil.example/a?b", "http://shop.example/c"];
    let seen = received.lock().expect("not poisoned").clone();
    assert_eq!(seen, targets.map(|target| (target.to_owned(), None, Version::HTTP_2)));
}

#[tokio::test]
async fn an_upstream_without_http_2_support_is_a_bad_gateway() {
    let origin =
        Origin::start([Reply::closing("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")]).await;
    let proxy = Proxy::start(origin.address, policy(), true, LONG).await;
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.cache()), (502, "fwd=uri-miss; fwd-status=502; detail=no-lifetime"));
}

#[tokio::test]
async fn the_proxy_reconnects_to_an_http_2_upstream() {
    // The upstream closes the first connection at once, and serves all later ones.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (inner, received) = http2_upstream().await;
    tokio::spawn(async move {
        drop(listener.accept().await);
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut to = TcpStream::connect(inner).await.expect("connects");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut to).await });
        }
    });
    let proxy = Proxy::start(address, policy(), true, LONG).await;
    // The proxy repeats the first request on the next connection only if it has sent nothing of it.
    let first = proxy.get("/").await;
    assert!(first.status() == 502 || first.text() == "page 1", "{first:?}");
    assert_eq!(proxy.get("/").await.text(), "page 1");
    assert_eq!(received.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn shutdown_completes_requests_and_accepts_no_connections() {
    let go_on = Arc::new(Notify::new());
    let half = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 8\r\n\r\nhalf");
    let origin =
        Origin::start([Reply::new(half, AfterReply::WriteOn(Arc::clone(&go_on), b"done".to_vec()))]).await;
    let mut proxy = Proxy::over(&origin).await;
    let address = proxy.address;
    let idle: Client = proxy.connect().await;
    let mut client = proxy.connect().await;
    client.write("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    client.until("half").await;
    proxy.stop();
    // The idle connection ends, so the proxy has begun its shutdown.
    assert!(idle.rest().await.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
    go_on.notify_one();
    let got = client.answer().await;
    assert_eq!((got.text(), got.is_whole), ("halfdone", true));
    proxy.stopped().await;
}
