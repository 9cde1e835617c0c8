//! The example proxy never turns a truncated message into a complete one, and removes lengths,
//! whitespace and trailers that it must not forward.

use crate::support::proxy::{AfterReply, LONG, Origin, Proxy, ReceivedAnswer, Reply, guarded, page};
use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower_response_cache::Policy;
use tower_response_cache::policy::PolicyBuilder;

const FRESH: &str = "Cache-Control: max-age=60\r\n";

fn policy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

#[derive(Debug, Clone, Copy)]
enum End {
    Clean,
    Trailers,
    Reset(Reason),
    GoAway,
    Gone,
}

/// Starts an HTTP/2 upstream that sends half of a page, and ends the page as `end` describes once
/// it is notified.
async fn half_page_upstream(end: End) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, go_on) = (listener.local_addr().expect("an address"), Arc::new(Notify::new()));
    let ends = Arc::clone(&go_on);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.expect("a handshake");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response = Response::builder().header("cache-control", "max-age=60").body(());
                let response = response.expect("a response");
                let mut body: SendStream<Bytes> = respond.send_response(response, false).expect("a head");
                body.send_data("half".into(), false).expect("some data");
                // The connection makes progress only while it is polled.
                tokio::select! {
                    () = ends.notified() => {}
                    _ = connection.accept() => {}
                }
                match end {
                    End::Clean => body.send_data(" done".into(), true).expect("the end"),
                    End::Trailers => {
                        let sum = [("x-sum".parse().expect("a name"), "1".parse().expect("a value"))];
                        body.send_trailers(sum.into_iter().collect()).expect("the end");
                    }
                    End::Reset(reason) => body.send_reset(reason),
                    End::GoAway => connection.abrupt_shutdown(Reason::NO_ERROR),
                    End::Gone => break,
                }
            }
        }
    });
    (address, go_on)
}

/// RFC 9113 section 8.1, RFC 9111 section 3.3: a response that is cut off is incomplete, even if
/// the stream was reset with `NO_ERROR`.
#[tokio::test]
async fn an_http_2_response_that_is_cut_off_is_not_stored() {
    let table = [
        (End::Clean, Some("half done"), true),
        // A response with trailers is not stored.
        (End::Trailers, Some("half"), false),
        (End::Reset(Reason::NO_ERROR), None, false),
        (End::Reset(Reason::CANCEL), None, false),
        (End::Reset(Reason::INTERNAL_ERROR), None, false),
        (End::GoAway, None, false),
        (End::Gone, None, false),
    ];
    for (end, complete, stored) in table {
        let (address, go_on) = half_page_upstream(end).await;
        let proxy = Proxy::start(address, policy(), true, LONG).await;
        for nth in 0..2 {
            // Discards a notification that the last round did not consume.
            let _ = futures::FutureExt::now_or_never(go_on.notified());
            let mut client = proxy.connect().await;
            client.write("GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
            client.until("half").await;
            go_on.notify_one();
            let got = client.answer().await;
            assert_eq!(
                (got.is_whole, got.is_hit()),
                (complete.is_some(), stored && nth > 0),
                "{end:?}: {got:?}"
            );
            assert!(got.text() == complete.unwrap_or("half"), "{end:?}: {got:?}");
        }
    }
}

/// RFC 9113 section 8.1. The test runs many times on several threads: in most runs, hyper drops the
/// call of the proxy before the request body fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_http_2_request_does_not_arrive_as_complete() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL].repeat(50) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let proxy = Proxy::start(address, policy(), false, LONG).await;
        let stream = TcpStream::connect(proxy.address()).await.expect("connects");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let request = Request::post("http://shop.example/").body(()).expect("a request");
        let (_, mut body) = client.send_request(request, false).expect("a head");
        body.send_data(Bytes::from("half"), false).expect("some data");
        let (mut upstream, _) = guarded(listener.accept()).await.expect("connects");
        let mut seen = Vec::new();
        while !seen.ends_with(b"half\r\n") {
            guarded(upstream.read_buf(&mut seen)).await.expect("reads");
        }
        body.send_reset(reason);
        // Reads until the proxy closes the connection.
        let _ = guarded(upstream.read_to_end(&mut seen)).await;
        let seen = String::from_utf8(seen).expect("text");
        assert!(seen.starts_with("POST / HTTP/1.1\r\n") && seen.ends_with("4\r\nhalf\r\n"), "{seen:?}");
    }
}

/// RFC 9209 section 2.3.16: the client is at fault, not the upstream.
#[tokio::test]
async fn an_unreadable_request_body_is_a_400() {
    for chunks in ["zz\r\n", "3\nabc", "3\r\nabcdef\r\n"] {
        let origin = Origin::start([]).await;
        let proxy = Proxy::over(&origin).await;
        let head = "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        let got = ReceivedAnswer::read_all(&proxy.raw(format!("{head}{chunks}")).await).remove(0);
        let why = "tower-response-cache; error=http_request_error";
        assert_eq!((got.status(), got.header("proxy-status")), (400, Some(why)), "{chunks:?}");
    }
}

/// RFC 9110 section 8.6: a 204 must not have a `Content-Length`.
#[tokio::test]
async fn a_204_has_no_content_length() {
    let origin = Origin::start([Reply::new(
        format!("HTTP/1.1 204 No Content\r\n{FRESH}Content-Length: 4\r\n\r\n"),
        AfterReply::Keep,
    )])
    .await;
    let proxy = Proxy::over(&origin).await;
    for hit in [false, true] {
        let got = proxy.get("/").await;
        assert_eq!((got.status(), got.header("content-length"), got.is_hit()), (204, None, hit));
    }
    assert_eq!(proxy.get("/next").await.text(), "page 2");
}

/// RFC 9112 section 5.1: "A proxy MUST remove any such whitespace from a response message".
#[tokio::test]
async fn whitespace_before_a_response_colon_is_removed() {
    let origin = Origin::start([page("X-Y : z\r\nCache-Control : no-store\r\n", "body")]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.get("/").await;
    assert_eq!((got.text(), got.header("x-y")), ("body", Some("z")));
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(proxy.get("/").await.text(), "page 2");
}

/// RFC 9110 section 6.5.1: fields for framing or one connection must not be trailers.
#[tokio::test]
async fn connection_specific_trailers_are_removed() {
    let trailers = "X-Sum: 1\r\nConnection: x-of-one\r\nX-Of-One: 1\r\nKeep-Alive: timeout=5\r\n";
    let reply = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, connection, x-of-one, keep-alive\r\n\r\n\
         4\r\nbody\r\n0\r\n{trailers}\r\n"
    );
    let origin =
        Origin::start([Reply::new(reply.clone(), AfterReply::Keep), Reply::new(reply, AfterReply::Keep)])
            .await;
    let proxy = Proxy::over(&origin).await;
    let raw = proxy
        .raw("GET / HTTP/1.1\r\nHost: shop.example\r\nTE: trailers\r\nConnection: close, te\r\n\r\n")
        .await;
    let raw = String::from_utf8(raw).expect("text").to_lowercase();
    assert!(raw.ends_with("4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"), "{raw}");
    // HTTP/2 forbids connection-specific fields.
    let stream = TcpStream::connect(proxy.address()).await.expect("connects");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("a handshake");
    tokio::spawn(connection);
    let request = Request::get("http://shop.example/").body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("a head");
    let mut body = guarded(response).await.expect("answers").into_body();
    assert_eq!(guarded(body.data()).await.expect("some").expect("data"), "body");
    assert!(guarded(body.data()).await.is_none());
    let trailers = guarded(body.trailers()).await.expect("a clean end").expect("trailers");
    assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
}

/// The upstream closes its first connection between two requests.
#[tokio::test]
async fn a_request_after_a_closed_connection_uses_a_new_one() {
    let (inner, go_on) = half_page_upstream(End::Clean).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (closed, is_closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (close, has_closed) = (Arc::clone(&closed), Arc::clone(&is_closed));
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut to = TcpStream::connect(inner).await.expect("connects");
            let (close, has_closed) = (Arc::clone(&close), Arc::clone(&has_closed));
            let is_first = std::mem::take(&mut first);
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut stream, &mut to) => {}
                    () = close.notified(), if is_first => {
                        let _ = stream.shutdown().await;
                        // The proxy closes its side once it has noticed the end of the connection.
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                        has_closed.notify_one();
                    }
                }
            });
        }
    });
    let proxy = Proxy::start(address, policy(), true, LONG).await;
    for path in ["/a", "/b"] {
        let mut client = proxy.connect().await;
        client.write(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")).await;
        client.until("half").await;
        go_on.notify_one();
        assert_eq!(client.answer().await.text(), "half done");
        if path == "/a" {
            closed.notify_one();
            guarded(is_closed.notified()).await;
        }
    }
}
