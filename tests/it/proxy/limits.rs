//! The example proxy limits the resources that its clients and upstreams hold, and serves honest
//! clients meanwhile.

use crate::support::proxy::{AfterReply, LONG, Origin, Proxy, Reply, guarded, page};
use bytes::{Buf, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower_response_cache::Policy;

/// More bytes than the flow-control window of a client that never sends `WINDOW_UPDATE`.
const LARGE: usize = 1 << 19;

/// More bytes than all buffers of a connection hold.
const HUGE: usize = 24 << 20;

/// The time limit for a client that reads nothing, in tests of that limit.
const SHORT: Duration = Duration::from_secs(1);

/// The number of concurrent requests that the proxy accepts on one connection.
const STREAMS: usize = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A complete HTTP/2 GET in one frame, with literal fields (RFC 7541 section 6.2.2).
fn get(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    let mut block = vec![0x82, 0x86, 0x04, length];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x0cshop.example");
    frame(1, 5, stream, &block)
}

/// An HTTP/2 connection at the level of frames. It never sends `WINDOW_UPDATE`.
struct RawHttp2 {
    stream: TcpStream,
    got: BytesMut,
}

impl RawHttp2 {
    /// Connects, and sends a number of requests and then a PING.
    async fn attack(address: SocketAddr, attacker: usize, requests: u32, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, settings));
        for request in 0..requests {
            bytes.extend(get(2 * request + 1, &format!("/large/{attacker}/{request}")));
        }
        bytes.extend(frame(6, 0, 0, b"attacked"));
        guarded(stream.write_all(&bytes)).await.expect("writes");
        Self { stream, got: BytesMut::new() }
    }

    /// Reads the next frame, and returns its type and flags.
    async fn frame(&mut self) -> (u8, u8) {
        loop {
            if let [a, b, c, kind, flags, ..] = self.got[..] {
                let length = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.got.len() >= length {
                    self.got.advance(length);
                    return (kind, flags);
                }
            }
            let read = guarded(self.stream.read_buf(&mut self.got)).await.expect("reads");
            assert!(read > 0, "the end of the connection");
        }
    }

    /// Waits for the answer to the PING, which the client sent after all requests. Returns the
    /// number of requests that the proxy has reset.
    async fn until_ping(&mut self) -> usize {
        let mut resets = 0;
        loop {
            match self.frame().await {
                (6, 1) => return resets,
                (3, _) => resets += 1,
                _ => {}
            }
        }
    }

    async fn until_reset(&mut self) {
        while self.frame().await.0 != 3 {}
    }
}

/// A page that is not stored, and is too large to send to a client that reads nothing.
fn large() -> Reply {
    page("Cache-Control: no-store\r\n", &"x".repeat(LARGE))
}

fn large_pages(count: usize) -> Vec<Reply> {
    std::iter::repeat_n(large(), count).collect()
}

/// Waits until the upstream has received `count` requests.
async fn wait_for_requests(origin: &Origin, count: usize) {
    guarded(async {
        while origin.count() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_few_requests() {
    // The settings leave the default window of a stream, or set its initial window to 0.
    for settings in [&[][..], &[0, 4, 0, 0, 0, 0]] {
        let origin = Origin::start(large_pages(5 * STREAMS)).await;
        let proxy = Proxy::over(&origin).await;
        let mut attackers = Vec::new();
        for attacker in 0..5 {
            let mut raw = RawHttp2::attack(proxy.address, attacker, 200, settings).await;
            assert_eq!(raw.until_ping().await, 200 - STREAMS, "further requests are refused");
            attackers.push(raw);
            wait_for_requests(&origin, (attacker + 1) * STREAMS).await;
        }
        for path in ["/", "/other"] {
            assert_eq!(proxy.get(path).await.status(), 200);
        }
        assert!(proxy.get("/").await.is_hit());
        assert_eq!(origin.count(), 5 * STREAMS + 2);
    }
}

#[tokio::test]
async fn an_http_2_stream_that_is_not_read_is_reset() {
    for settings in [&[][..], &[0, 4, 0, 0, 0, 0]] {
        let origin = Origin::start(large_pages(4)).await;
        let proxy = Proxy::limited(&origin, 4, SHORT, LONG).await;
        let mut raw = RawHttp2::attack(proxy.address, 0, 4, settings).await;
        raw.until_ping().await;
        wait_for_requests(&origin, 4).await;
        // All slots are taken, so this request waits for one.
        let got = proxy.get("/").await;
        assert_eq!((got.status(), got.text()), (200, "page 5"));
        for _ in 0..4 {
            raw.until_reset().await;
        }
        assert!(proxy.get("/").await.is_hit());
    }
}

#[tokio::test]
async fn an_http_1_connection_whose_client_reads_nothing_is_closed() {
    let huge = page("Cache-Control: no-store\r\n", &"x".repeat(HUGE));
    let origin = Origin::start([huge.clone(), huge]).await;
    let proxy = Proxy::limited(&origin, 2, SHORT, LONG).await;
    let mut attackers = Vec::new();
    for attacker in 0..2 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("an option");
        let mut client = guarded(socket.connect(proxy.address)).await.expect("connects");
        let request = format!("GET /{attacker} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("writes");
        attackers.push(client);
    }
    wait_for_requests(&origin, 2).await;
    // All slots are taken, so this request waits for one.
    assert_eq!(proxy.get("/").await.text(), "page 3");
    for mut client in attackers {
        let mut got = Vec::new();
        // The connection may end cleanly or by a reset.
        let _ = guarded(client.read_to_end(&mut got)).await;
        assert!(got.len() < HUGE, "{}", got.len());
    }
}

#[tokio::test]
async fn a_request_without_a_free_slot_gets_503_after_the_timeout() {
    let origin = Origin::start([Reply::new("", AfterReply::Stall)]).await;
    let proxy = Proxy::limited(&origin, 1, LONG, 2 * SHORT).await;
    let mut first = proxy.connect().await;
    first.write("GET /first HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    wait_for_requests(&origin, 1).await;
    let got = proxy.get("/").await;
    let why = "tower-response-cache; error=connection_limit_reached";
    assert_eq!((got.status(), got.header("proxy-status")), (503, Some(why)));
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn body_beyond_the_http2_window_arrives_complete() {
    let body: String = (0..40_000).map(|n| format!("{n},")).collect();
    let origin = Origin::start([page("Cache-Control: max-age=60\r\n", &body)]).await;
    let proxy = Proxy::over(&origin).await;
    for hit in [false, true] {
        let stream = TcpStream::connect(proxy.address).await.expect("connects");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let request = http::Request::get("http://shop.example/").body(()).expect("a request");
        let (response, _) = client.send_request(request, true).expect("sends");
        let mut response = guarded(response).await.expect("a response").into_body();
        let mut got = Vec::new();
        while let Some(data) = guarded(response.data()).await {
            let data = data.expect("data");
            response.flow_control().release_capacity(data.len()).expect("a window");
            got.extend_from_slice(&data);
        }
        assert!(got == body.as_bytes(), "{hit}");
    }
    assert_eq!(origin.count(), 1);
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";

#[tokio::test]
async fn up_to_a_hundred_interim_responses_are_skipped() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal";
    for (count, status) in [(100, 200), (101, 502)] {
        for interim in [CONTINUE, HINTS] {
            // The limit counts the interim responses to each request separately. Two requests use
            // one connection.
            let reply = Reply::new(interim.repeat(count) + last, AfterReply::Keep);
            let origin = Origin::start([reply.clone(), reply]).await;
            let proxy = Proxy::over(&origin).await;
            for path in ["/", "/other"] {
                assert_eq!(proxy.get(path).await.status(), status, "{count} {interim:?}");
            }
        }
    }
}

/// Starts an upstream that answers the first request on each connection with `first`, and then with
/// `bytes` without end.
async fn endless(http2: bool, first: Vec<u8>, bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (first, bytes) = (first.clone(), bytes.clone());
            tokio::spawn(async move {
                let mut raw = RawHttp2 { stream, got: BytesMut::new() };
                let enough = if http2 { 24 } else { 1 };
                while raw.got.len() < enough {
                    raw.stream.read_buf(&mut raw.got).await.expect("a request");
                }
                raw.got.advance(enough);
                if http2 {
                    raw.stream.write_all(&frame(4, 0, 0, &[])).await.expect("settings");
                    while raw.frame().await.0 != 1 {}
                }
                let _ = raw.stream.write_all(&first).await;
                while !bytes.is_empty() && raw.stream.write_all(&bytes).await.is_ok() {}
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

/// Requests a page from a new proxy over `upstream`, and returns its status and `Proxy-Status`.
async fn proxied_status(upstream: SocketAddr, http2: bool) -> (u16, Option<String>) {
    let proxy = Proxy::start(upstream, Policy::rfc9111().cache_status(true), http2, LONG).await;
    let got = proxy.get("/").await;
    (got.status(), got.header("proxy-status").map(str::to_owned))
}

fn refused() -> (u16, Option<String>) {
    (502, Some("tower-response-cache; error=http_protocol_error".to_owned()))
}

#[tokio::test]
async fn endless_interim_responses_are_a_bad_gateway() {
    for interim in [CONTINUE, HINTS] {
        let upstream = endless(false, Vec::new(), interim.repeat(1_000).into_bytes()).await;
        assert_eq!(proxied_status(upstream, false).await, refused(), "{interim:?}");
    }
}

#[tokio::test]
async fn up_to_a_hundred_http_2_interim_responses_are_skipped() {
    // `hints` and `last` are frames with one `:status` field. `hints` has a literal, and `last` an
    // index of the static table.
    let hints = frame(1, 4, 1, b"\x08\x03103");
    let last = frame(1, 5, 1, b"\x88");
    for (count, outcome) in [(0, (200, None)), (100, (200, None)), (101, refused())] {
        let upstream = endless(true, [hints.repeat(count), last.clone()].concat(), Vec::new()).await;
        assert_eq!(proxied_status(upstream, true).await, outcome, "{count}");
    }
    for count in [1, 1_000] {
        let upstream = endless(true, Vec::new(), hints.repeat(count)).await;
        assert_eq!(proxied_status(upstream, true).await, refused(), "{count} in each write");
    }
}
