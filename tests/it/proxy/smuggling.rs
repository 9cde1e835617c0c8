//! Requests that the example proxy and its upstream might parse differently. The upstream gets each
//! request at most once, and no response is stored under another target.

use crate::support::proxy::{Origin, Proxy, ReceivedAnswer};

/// A request that is hidden in the body of another request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: shop.example\r\nX: y\r\n\r\n";

/// The next request on the same connection. Behind another proxy, this request could be from
/// another client.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// Sends bytes over one connection. Returns the statuses of the answers, and the request lines that
/// the upstream received.
///
/// Asserts that later requests for `/hidden`, `/next` and `/` get the pages of these targets, and
/// that each received request had one `Host` and at most one field for its length.
async fn sent(bytes: impl AsRef<[u8]>) -> (Vec<u16>, Vec<String>, Origin) {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let name = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    let answers = ReceivedAnswer::read_all(&proxy.raw(bytes).await);
    let lines: Vec<_> = origin.seen().iter().map(|seen| seen.line().to_owned()).collect();
    for path in ["/hidden", "/next", "/"] {
        let line = format!("GET {path} HTTP/1.1");
        let page = lines.iter().position(|seen| *seen == line).unwrap_or(origin.count()) + 1;
        let got = proxy.get(path).await;
        assert_eq!(got.text(), format!("page {page}"), "{path} after {name:?}");
    }
    for seen in origin.seen() {
        assert_eq!(seen.all("host"), ["shop.example"], "{name:?}");
        assert!(seen.all("content-length").len() + seen.all("transfer-encoding").len() < 2, "{seen:?}");
    }
    (answers.iter().map(ReceivedAnswer::status).collect(), lines, origin)
}

/// Asserts that the proxy answers the bytes with a 400, and sends nothing to the upstream.
async fn is_refused(bytes: impl AsRef<[u8]>) {
    let name = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    let (statuses, lines, _) = sent(bytes).await;
    assert_eq!((statuses, lines), (vec![400], vec![]), "{name:?}");
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n\r\n{body}{NEXT}")
}

#[tokio::test]
async fn conflicting_or_invalid_content_lengths_are_refused() {
    let short = HIDDEN.len();
    for lines in [
        format!("Content-Length: 0\r\nContent-Length: {short}"),
        format!("Content-Length: {short}\r\nContent-Length: 0"),
        format!("Content-Length: 0, {short}"),
        "Content-Length: +0".to_owned(),
        "Content-Length: -1".to_owned(),
        "Content-Length: 0x10".to_owned(),
        "Content-Length: 1 0".to_owned(),
        "Content-Length: 18446744073709551616".to_owned(),
        "Content-Length:".to_owned(),
    ] {
        is_refused(post(&lines, HIDDEN)).await;
    }
}

#[tokio::test]
async fn chunked_wins_over_content_length_and_ends_the_connection() {
    let chunked = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    for lines in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        // The proxy closes the connection before it reads the next request.
        let (statuses, lines, origin) = sent(post(lines, &chunked)).await;
        assert_eq!(statuses, [200]);
        assert_eq!(lines, ["POST / HTTP/1.1"]);
        let seen = &origin.seen()[0];
        assert!(seen.all("content-length").is_empty());
        assert!(crate::support::proxy::position(&seen.body, HIDDEN.as_bytes()).is_some());
    }
}

#[tokio::test]
async fn transfer_encodings_other_than_chunked_are_refused() {
    for value in
        ["xchunked", "chunked, identity", "identity", "chunked;q=1", "\"chunked\"", "gzip", "chunked, x", ""]
    {
        let lines = format!("Transfer-Encoding: {value}");
        is_refused(post(&lines, &format!("0\r\n\r\n{HIDDEN}"))).await;
        is_refused(post(&format!("Content-Length: 5\r\n{lines}"), &format!("0\r\n\r\n{HIDDEN}"))).await;
    }
    for line in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \0chunked",
        "Transfer\0-Encoding: chunked",
        "Transfer-Encoding: chunked\rX: y",
        "Transfer-Encoding: \x0bchunked",
    ] {
        is_refused(post(line, &format!("0\r\n\r\n{HIDDEN}"))).await;
    }
}

#[tokio::test]
async fn whitespace_and_case_of_a_transfer_encoding_are_ignored() {
    for line in ["Transfer-Encoding:  chunked", "Transfer-Encoding:\tchunked\t", "transfer-encoding:CHUNKED"]
    {
        let (statuses, lines, _) = sent(post(line, "1\r\nz\r\n0\r\n\r\n")).await;
        assert_eq!(statuses, [200, 200], "{line:?}");
        assert_eq!(lines, ["POST / HTTP/1.1", "GET /next HTTP/1.1"], "{line:?}");
    }
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    for chunk in
        ["zz\r\n", "-1\r\n", "fffffffffffffffff\r\n", "1;x\ny\r\nz\r\n", "1\r\nzz\r\n", "\r\n", " 1\r\nz\r\n"]
    {
        let origin = Origin::start([]).await;
        let proxy = Proxy::over(&origin).await;
        proxy.raw(post("Transfer-Encoding: chunked", &format!("{chunk}{HIDDEN}"))).await;
        assert!(origin.seen().iter().all(|seen| seen.line() == "POST / HTTP/1.1"), "{chunk:?}");
        assert_eq!(proxy.get("/hidden").await.text(), format!("page {}", origin.count()), "{chunk:?}");
        assert!(origin.seen().last().is_some_and(|seen| seen.line() == "GET /hidden HTTP/1.1"), "{chunk:?}");
    }
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    for line in [
        "GET / HTTP/1.1\r",
        "GET /a\rb HTTP/1.1",
        "GET /a\nGET /hidden HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a HTTP/1.1 HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a HTTP/1.1\0",
        "GET\t/a\tHTTP/1.1",
        " GET /a HTTP/1.1",
        "G(T /a HTTP/1.1",
        "GET /a HTTP/2.0",
        "GET /a HTTP/1.10",
        "GET /a http/1.1",
        "GET",
        "\0",
    ] {
        is_refused(format!("{line}\r\nHost: shop.example\r\n\r\n{NEXT}")).await;
    }
}

#[tokio::test]
async fn an_authority_form_target_is_refused() {
    for target in ["a", "evil.example", "shop.example:80"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n{NEXT}");
        let (statuses, lines, _) = sent(request).await;
        assert_eq!((statuses, lines), (vec![400, 200], vec!["GET /next HTTP/1.1".to_owned()]), "{target}");
    }
}

#[tokio::test]
async fn malformed_field_lines_are_refused() {
    for line in [
        "X : y",
        "X\t: y",
        ": y",
        "X Y: z",
        " X: y",
        "X: y\r\n z",
        "X: a\0b",
        "X\0: y",
        "X: a\rb",
        "X: a\rHost: evil.example",
        "no colon",
        "X\u{e9}: y",
        "Host : evil.example",
    ] {
        is_refused(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{line}\r\n\r\n{NEXT}")).await;
    }
}

#[tokio::test]
async fn a_get_with_content_bypasses_the_cache() {
    for (lines, body) in [
        (format!("Content-Length: {}", HIDDEN.len()), HIDDEN.to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len())),
    ] {
        let origin = Origin::start([]).await;
        let proxy = Proxy::over(&origin).await;
        assert_eq!(proxy.get("/").await.text(), "page 1");
        let request =
            format!("GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{lines}\r\n\r\n{body}");
        let got = proxy.send(request).await;
        assert_eq!((got.text(), got.cache()), ("page 2", "fwd=bypass; fwd-status=200; detail=body"));
        let body = String::from_utf8_lossy(&origin.seen()[1].body).into_owned();
        assert!(body.contains(HIDDEN), "{body:?}");
        assert_eq!(proxy.get("/").await.text(), "page 1");
        assert_eq!(proxy.get("/hidden").await.text(), "page 3");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let answers = proxy.raw([one("/a"), one("/b"), one("/a"), NEXT.to_owned()].concat()).await;
    let texts: Vec<_> = ReceivedAnswer::read_all(&answers).iter().map(|got| got.text().to_owned()).collect();
    assert_eq!(texts, ["page 1", "page 2", "page 1", "page 3"]);
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn an_aborted_request_body_is_never_forwarded_as_complete() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let mut client = proxy.connect().await;
    client.write("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\nhalf").await;
    drop(client);
    // The interrupted connection to the upstream is not reused.
    assert_eq!(proxy.get("/next").await.text(), "page 1");
    assert_eq!(origin.seen()[0].line(), "GET /next HTTP/1.1");
}
