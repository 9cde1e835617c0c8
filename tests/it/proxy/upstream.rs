//! The answers of the example proxy if its upstream fails. None of them is stored.

use crate::support::proxy::{AfterReply, LONG, Origin, Proxy, ReceivedAnswer, Reply, page, softened};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower_response_cache::Policy;

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// Asserts that the proxy answers a reply without a usable head with a 502, and stores nothing of
/// it. If the policy permits stale responses, asserts that the proxy sends a stale entry instead.
async fn is_refused(name: &str, reply: Reply) {
    let origin = Origin::start([reply.clone()]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.text()), (502, ""), "{name}");
    assert_eq!(got.cache(), "fwd=uri-miss; fwd-status=502; detail=no-lifetime", "{name}");
    let why = got.header("proxy-status").expect("the proxy's own answer");
    let words = [
        "http_protocol_error",
        "connection_terminated",
        "http_response_header_section_size",
        "http_response_transfer_coding",
    ];
    assert!(words.iter().any(|word| why == format!("tower-response-cache; error={word}")), "{name}: {why}");
    let next = proxy.get("/").await;
    assert_eq!((next.status(), next.text(), next.is_hit()), (200, "page 2", false), "{name}");
    assert_eq!(next.header("proxy-status"), None, "{name}");

    stale_entry_is_used_instead(name, reply.clone(), 502).await;

    let origin = Origin::start([page("Cache-Control: max-age=10, must-revalidate\r\n", "old"), reply]).await;
    let proxy = Proxy::softened(&origin).await;
    proxy.get("/").await;
    proxy.clock.advance(Duration::from_secs(20));
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.text()), (502, ""), "{name}");
    assert_eq!(got.cache(), "fwd=stale; fwd-status=502; detail=no-lifetime", "{name}");
    assert_eq!(proxy.get("/").await.text(), "page 3", "{name}");
}

/// Asserts that a stale entry is used instead of a failing reply.
async fn stale_entry_is_used_instead(name: &str, reply: Reply, status: u16) {
    let origin = Origin::start([page("Cache-Control: max-age=10\r\n", "old"), reply]).await;
    let timeout = if status == 504 { SHORT } else { LONG };
    let proxy = Proxy::start(origin.address, softened(), false, timeout).await;
    proxy.get("/").await;
    proxy.clock.advance(Duration::from_secs(20));
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.text()), (200, "old"), "{name}");
    let expected = format!("fwd=stale; fwd-status={status}; ttl=-10; detail=stale-if-error");
    assert_eq!(got.cache(), expected, "{name}");
    let next = proxy.get("/").await;
    assert_eq!(
        (next.text(), next.cache()),
        ("page 3", "fwd=stale; fwd-status=200; stored; ttl=60"),
        "{name}"
    );
}

/// The timeout in tests whose upstream stops sending. All other answers take much less time.
const SHORT: Duration = Duration::from_secs(1);

/// Asserts that a reply with a good head and a bad body is cut off, and that nothing of it is
/// stored.
async fn is_cut_off(name: &str, reply: Reply, begin: &str) {
    let origin = Origin::start([reply]).await;
    let proxy = Proxy::over(&origin).await;
    let got = ReceivedAnswer::read_all(&proxy.raw(REQUEST).await).into_iter().next();
    // The connection may end before the head arrives.
    if let Some(got) = got {
        assert!(!got.is_whole, "{name}: {got:?}");
        assert_eq!(got.status(), 200, "{name}");
        assert!(begin.starts_with(got.text()), "{name}: {got:?}");
    }
    let next = proxy.get("/").await;
    assert_eq!((next.text(), next.is_hit()), ("page 2", false), "{name}");
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// Returns an address on which nothing listens.
async fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_bad_gateway() {
    let proxy = Proxy::start(unused_address().await, Policy::rfc9111().cache_status(true), false, LONG).await;
    for _ in 0..2 {
        let got = proxy.get("/").await;
        assert_eq!((got.status(), got.text()), (502, ""));
        assert_eq!(got.cache(), "fwd=uri-miss; fwd-status=502; detail=no-lifetime");
        let why = "tower-response-cache; error=connection_refused";
        assert_eq!(got.header("proxy-status"), Some(why));
    }
}

/// A 502 of the upstream has no `Proxy-Status`, unlike a 502 of the proxy.
#[tokio::test]
async fn a_502_of_the_upstream_is_forwarded_unchanged() {
    let reply = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry";
    let origin = Origin::start([Reply::new(reply, AfterReply::Keep)]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.text(), got.header("proxy-status")), (502, "sorry", None));
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_gateway_timeout() {
    let origin =
        Origin::start([Reply::new("", AfterReply::Stall), Reply::new("HTTP/1.1 2", AfterReply::Stall)]).await;
    let proxy = Proxy::start(origin.address, Policy::rfc9111().cache_status(true), false, SHORT).await;
    for _ in 0..2 {
        let got = proxy.get("/").await;
        assert_eq!((got.status(), got.text()), (504, ""));
        let why = "tower-response-cache; error=http_response_timeout";
        assert_eq!(got.header("proxy-status"), Some(why));
        assert_eq!(got.cache(), "fwd=uri-miss; fwd-status=504; detail=no-lifetime");
    }
    assert_eq!(proxy.get("/").await.text(), "page 3");
    stale_entry_is_used_instead("stalled", Reply::new("", AfterReply::Stall), 504).await;
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_off_after_the_time_limit() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nCache-Control: max-age=60\r\n\r\nhalf";
    let origin = Origin::start([Reply::new(half, AfterReply::Stall)]).await;
    let proxy = Proxy::start(origin.address, Policy::rfc9111().cache_status(true), false, SHORT).await;
    let got = proxy.get("/").await;
    assert_eq!((got.status(), got.text(), got.is_whole), (200, "half", false));
    assert_eq!(proxy.get("/").await.text(), "page 2");
}

#[tokio::test]
async fn a_connection_that_ends_within_the_head_is_a_bad_gateway() {
    for begin in ["", "HTT", "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"] {
        is_refused(&format!("reset after {begin:?}"), Reply::new(begin, AfterReply::Reset)).await;
        is_refused(&format!("closed after {begin:?}"), Reply::closing(begin)).await;
    }
}

#[tokio::test]
async fn a_reply_that_is_not_valid_http_is_a_bad_gateway() {
    let heads = [
        "220 mail.example ESMTP\r\n\r\n",
        "\r\n\r\n\0\0\0\0",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Y: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Y: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Y: a\rb\r\n\r\n",
        // The proxy did not request another protocol.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ];
    for head in heads {
        is_refused(&format!("{head:?}"), Reply::closing(head)).await;
    }
}

#[tokio::test]
async fn an_oversized_response_head_is_a_bad_gateway() {
    let long =
        format!("HTTP/1.1 200 OK\r\n{FRESH}X-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(600_000));
    is_refused("600 kB", Reply::closing(long)).await;
    let many: String = (0..5_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    is_refused("5000 fields", Reply::closing(format!("HTTP/1.1 200 OK\r\n{FRESH}{many}\r\n"))).await;
    let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"y".repeat(1 << 20);
    is_refused("no end", Reply::new(endless, AfterReply::Stall)).await;
}

#[tokio::test]
async fn invalid_response_framing_is_a_bad_gateway() {
    for lines in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: -4",
        "Content-Length: +4",
        "Content-Length: 4x",
        "Content-Length: 0x4",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 99",
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\n{FRESH}{lines}\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
        is_refused(lines, Reply::closing(reply)).await;
    }
}

#[tokio::test]
async fn a_repeated_equal_content_length_is_accepted() {
    let twice = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody");
    let origin = Origin::start([Reply::closing(twice)]).await;
    let proxy = Proxy::over(&origin).await;
    for _ in 0..2 {
        let got = proxy.get("/").await;
        assert_eq!((got.status(), got.text(), got.is_whole), (200, "body", true));
        assert_eq!(got.answer.headers.get_all("content-length").iter().count(), 1);
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_body_that_ends_early_is_cut_off_and_not_stored() {
    let short = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 10\r\n\r\nhalf");
    let chunked = format!("HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    for then in [AfterReply::Close, AfterReply::Reset] {
        is_cut_off("short", Reply::new(short.clone(), then.clone()), "half").await;
        is_cut_off("chunked", Reply::new(chunked.clone(), then.clone()), "half").await;
        is_cut_off("within a chunk", Reply::new(format!("{chunked}6\r\nmo"), then), "halfmo").await;
    }
    for bad in [
        "zz\r\nmore\r\n0\r\n\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "4\r\nmoreandmore\r\n0\r\n\r\n",
        "\r\n",
    ] {
        is_cut_off(bad, Reply::closing(format!("{chunked}{bad}")), "halfmore").await;
    }
}

#[tokio::test]
async fn a_reset_after_the_head_cuts_the_body_off() {
    let go_on = Arc::new(Notify::new());
    let half = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 10\r\n\r\nhalf");
    let stale = page("Cache-Control: max-age=10\r\n", "old");
    let origin = Origin::start([stale, Reply::new(half, AfterReply::ResetOn(Arc::clone(&go_on)))]).await;
    let proxy = Proxy::softened(&origin).await;
    proxy.get("/").await;
    proxy.clock.advance(Duration::from_secs(20));
    let mut client = proxy.connect().await;
    client.write(REQUEST).await;
    client.until("half").await;
    go_on.notify_one();
    let got = client.answer().await;
    // The head is already sent, so the stale entry can no longer be used.
    assert_eq!((got.status(), got.text(), got.is_whole), (200, "half", false));
    assert_eq!(got.cache(), "fwd=stale; fwd-status=200; stored; ttl=60");
    assert_eq!(proxy.get("/").await.text(), "page 3");
}

#[tokio::test]
async fn bytes_after_a_body_do_not_answer_the_next_request() {
    let fake = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";
    let split = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 4\r\n\r\nbody{fake}");
    let head_only = format!("HTTP/1.1 304 Not Modified\r\n{FRESH}\r\n{fake}");
    for reply in [split, head_only] {
        for _ in 0..10 {
            let origin = Origin::start([Reply::new(reply.clone(), AfterReply::Keep)]).await;
            let proxy = Proxy::over(&origin).await;
            let got = proxy.get("/").await;
            assert!(["body", ""].contains(&got.text()) && got.is_whole, "{got:?}");
            assert_eq!(proxy.get("/other").await.text(), "page 2");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_stored() {
    let origin = Origin::start([Reply::closing(format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nto the end"))]).await;
    let proxy = Proxy::over(&origin).await;
    let first = proxy.get("/").await;
    assert_eq!((first.text(), first.is_whole), ("to the end", true));
    let hit = proxy.get("/").await;
    assert!(hit.is_hit() && hit.is_whole);
    assert_eq!((hit.text(), hit.header("content-length")), ("to the end", Some("10")));
}

#[tokio::test]
async fn a_body_that_is_reset_instead_of_closed_is_not_stored() {
    let go_on = Arc::new(Notify::new());
    let reply =
        Reply::new(format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nhalf"), AfterReply::ResetOn(Arc::clone(&go_on)));
    let origin = Origin::start([reply]).await;
    let proxy = Proxy::over(&origin).await;
    let mut client = proxy.connect().await;
    client.write(REQUEST).await;
    client.until("half").await;
    go_on.notify_one();
    assert!(!client.answer().await.is_whole);
    assert_eq!(proxy.get("/").await.text(), "page 2");
}

#[tokio::test]
async fn interim_responses_leave_no_trace_in_the_final_one() {
    let interim = "HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n\
                   HTTP/1.1 102 Processing\r\nCache-Control: no-store\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: a=b\r\n\r\n";
    let last = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 5\r\n\r\nfinal");
    for then in [AfterReply::Keep, AfterReply::Close] {
        let origin = Origin::start([Reply::new(format!("{interim}{last}"), then)]).await;
        let proxy = Proxy::over(&origin).await;
        for hit in [false, true] {
            let got = proxy.get("/").await;
            assert_eq!((got.status(), got.text(), got.is_hit()), (200, "final", hit));
            assert_eq!(got.header("cache-control"), Some("max-age=60"));
            assert!(["x-interim", "link", "set-cookie"].iter().all(|name| got.header(name).is_none()));
        }
    }
}

#[tokio::test]
async fn interim_responses_without_a_final_one_are_a_bad_gateway() {
    let hints = "HTTP/1.1 103 Early Hints\r\nCache-Control: max-age=60\r\n\r\n";
    is_refused("hints", Reply::closing(hints)).await;
    is_refused("continue", Reply::closing("HTTP/1.1 100 Continue\r\n\r\n")).await;
}

#[tokio::test]
async fn an_error_of_the_upstream_is_replaced_by_a_stale_entry() {
    for status in [500, 502, 503, 504] {
        let reply = format!("HTTP/1.1 {status} Oh\r\nContent-Length: 3\r\n\r\nbad");
        let origin =
            Origin::start([page("Cache-Control: max-age=10\r\n", "old"), Reply::closing(reply)]).await;
        let proxy = Proxy::softened(&origin).await;
        proxy.get("/").await;
        proxy.clock.advance(Duration::from_secs(20));
        let got = proxy.get("/").await;
        let expected = format!("fwd=stale; fwd-status={status}; ttl=-10; detail=stale-if-error");
        assert_eq!((got.text(), got.cache()), ("old", &*expected));
    }
}
