//! Runs the example proxy between a client that sends raw bytes and an upstream that sends scripted
//! replies.

#[path = "../../../examples/reverse_proxy.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod reverse_proxy;

use crate::support::{Answer, timed};
use http::{HeaderMap, HeaderName, HeaderValue};
use reverse_proxy::{Front, Upstream, serve, serve_readers};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tower::Layer;
use tower_response_cache::clock::ManualClock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Policy, SiteCacheLayer};

/// A test that hangs for this time fails. No test depends on its length.
const GUARD: Duration = Duration::from_secs(60);
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn guarded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, what).await.expect("does not hang")
}

/// The action of the upstream on a connection after its answer.
#[derive(Debug, Clone)]
pub(crate) enum AfterReply {
    Keep,
    Close,
    Reset,
    /// Resets the connection once notified.
    ResetOn(Arc<Notify>),
    /// Writes these bytes once notified, then closes the connection.
    WriteOn(Arc<Notify>, Vec<u8>),
    Stall,
}

/// The raw bytes that answer one request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: AfterReply,
}

impl Reply {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>, then: AfterReply) -> Self {
        Self { bytes: bytes.into(), then }
    }

    /// Creates a reply after which the upstream closes the connection.
    pub(crate) fn closing(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(bytes, AfterReply::Close)
    }
}

/// Creates a page with additional header lines, after which the connection stays open.
pub(crate) fn page(lines: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::new(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{lines}\r\n{body}"), AfterReply::Keep)
}

/// A request as the upstream read it.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl ReceivedRequest {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Returns the values of all header lines with this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// An upstream that sends scripted replies first, then numbered pages that are fresh for a minute.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, seen) = (Arc::clone(&replies), Arc::clone(&record));
                tokio::spawn(answer(stream, move |request| {
                    let mut seen = seen.lock().expect("not poisoned");
                    seen.push(request);
                    let scripted = replies.lock().expect("not poisoned").pop_front();
                    scripted.unwrap_or_else(|| {
                        page("Cache-Control: max-age=60\r\n", &format!("page {}", seen.len()))
                    })
                }));
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }
}

/// Answers the requests on one connection.
async fn answer(mut stream: TcpStream, reply: impl Fn(ReceivedRequest) -> Reply) {
    let mut buf = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buf).await {
        let Reply { bytes, then } = reply(request);
        // The proxy may have closed the connection already.
        let _ = stream.write_all(&bytes).await;
        match then {
            AfterReply::Keep => continue,
            AfterReply::Close => {}
            AfterReply::Reset => stream.set_zero_linger().expect("an option"),
            AfterReply::ResetOn(go_on) => {
                go_on.notified().await;
                stream.set_zero_linger().expect("an option");
            }
            AfterReply::WriteOn(go_on, rest) => {
                go_on.notified().await;
                let _ = stream.write_all(&rest).await;
            }
            AfterReply::Stall => std::future::pending().await,
        }
        return;
    }
}

/// Reads one request, and leaves later bytes in `buf`.
async fn read_request(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<ReceivedRequest> {
    let head = split_at(stream, buf, b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut seen = ReceivedRequest { head, body: Vec::new() };
    if let [length] = seen.all("content-length")[..] {
        let length: usize = length.parse().expect("a length");
        while buf.len() < length {
            more(stream, buf).await?;
        }
        seen.body = buf.drain(..length).collect();
    } else if !seen.all("transfer-encoding").is_empty() {
        seen.body = split_at(stream, buf, b"0\r\n\r\n").await?;
    }
    Some(seen)
}

async fn more(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buf).await.ok()?;
    (read > 0).then_some(())
}

async fn split_at(stream: &mut TcpStream, buf: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = position(buf, end) {
            return Some(buf.drain(..at + end.len()).collect());
        }
        more(stream, buf).await?;
    }
}

pub(crate) fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The example proxy over an upstream. The clock of its cache advances only by hand.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The default policy of the example, with stale responses on errors for an hour.
pub(crate) fn softened() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true).stale_if_error(Duration::from_secs(3600))
}

impl Proxy {
    pub(crate) async fn over(origin: &Origin) -> Self {
        Self::start(origin.address, Policy::rfc9111().cache_status(true), false, LONG).await
    }

    pub(crate) async fn softened(origin: &Origin) -> Self {
        Self::start(origin.address, softened(), false, LONG).await
    }

    pub(crate) async fn start(
        upstream: SocketAddr,
        policy: PolicyBuilder,
        http2: bool,
        timeout: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let upstream = Upstream::new(upstream.to_string().parse().expect("an authority"), http2, timeout);
        let (front, clock, stop, stopped) = Self::parts(upstream, policy);
        let task = tokio::spawn(serve(listener, front, stopped, LONG));
        Self { address, clock, stop: Some(stop), task }
    }

    /// Starts a proxy that sends at most `requests` requests to the upstream at a time, and that
    /// waits at most `client_timeout` for a client that reads nothing.
    pub(crate) async fn limited(
        origin: &Origin,
        requests: usize,
        client_timeout: Duration,
        timeout: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let upstream = origin.address.to_string().parse().expect("an authority");
        let upstream = Upstream::new(upstream, false, timeout).max_requests(requests);
        let (front, clock, stop, stopped) = Self::parts(upstream, Policy::rfc9111().cache_status(true));
        let task = tokio::spawn(serve_readers(listener, front, stopped, LONG, client_timeout));
        Self { address, clock, stop: Some(stop), task }
    }

    fn parts(
        upstream: Upstream,
        policy: PolicyBuilder,
    ) -> (Front, ManualClock, oneshot::Sender<()>, impl Future<Output = ()>) {
        let (cache, clock) = timed();
        let inner = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(upstream);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // If the test drops `stop`, the proxy runs until its task is aborted.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        (Front { inner, log: None }, clock, stop, stopped)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Signals the proxy to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("once").send(()).expect("it runs");
    }

    /// Waits until the proxy has stopped.
    pub(crate) async fn stopped(mut self) {
        guarded(&mut self.task).await.expect("no panic");
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.expect("connects"), got: Vec::new() }
    }

    /// Sends some bytes, and returns all bytes that arrive until the connection ends.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut client = self.connect().await;
        client.write(bytes).await;
        client.rest().await
    }

    /// Sends one request as raw bytes. The request must ask for the connection to be closed.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> ReceivedAnswer {
        ReceivedAnswer::read(&self.raw(bytes).await)
    }

    pub(crate) async fn get(&self, path: &str) -> ReceivedAnswer {
        self.get_from("shop.example", path).await
    }

    pub(crate) async fn get_from(&self, host: &str, path: &str) -> ReceivedAnswer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Client {
    /// Writes some bytes. Ignores errors: the proxy may have closed the connection.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = guarded(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Reads until the received bytes contain `part`.
    pub(crate) async fn until(&mut self, part: &str) {
        while position(&self.got, part.as_bytes()).is_none() {
            let read = guarded(self.stream.read_buf(&mut self.got)).await.expect("reads");
            let got = String::from_utf8_lossy(&self.got);
            assert!(read > 0, "the connection ended without {part:?}: {got:?}");
        }
    }

    /// Reads to the end of the connection, clean or not.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        while guarded(self.stream.read_buf(&mut self.got)).await.is_ok_and(|read| read > 0) {}
        self.got
    }

    pub(crate) async fn answer(self) -> ReceivedAnswer {
        ReceivedAnswer::read(&self.rest().await)
    }
}

/// A received answer. Its body may be cut short.
#[derive(Debug)]
pub(crate) struct ReceivedAnswer {
    pub(crate) answer: Answer,
    /// `true` if the body is complete.
    pub(crate) is_whole: bool,
}

impl ReceivedAnswer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (got, rest) = Self::read_one(bytes);
        assert!(rest.is_empty(), "more than one answer: {}", String::from_utf8_lossy(bytes));
        got
    }

    /// Reads all answers, one after the other.
    pub(crate) fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (got, rest) = Self::read_one(bytes);
            all.push(got);
            bytes = rest;
        }
        all
    }

    fn read_one(bytes: &[u8]) -> (Self, &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let end = position(bytes, b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
        let head = std::str::from_utf8(head).expect("text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let status = status.parse().expect("a status");
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(':').expect("a line")) {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::try_from(value.trim()).expect("a value"));
        }
        let (is_whole, body, rest) = body_of(&headers, rest);
        (Self { answer: Answer { status, headers, body: body.into() }, is_whole }, rest)
    }

    pub(crate) fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    pub(crate) fn text(&self) -> &str {
        self.answer.text()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.answer.is_hit()
    }

    /// Returns `Cache-Status` without the name of the cache, or `nothing`.
    pub(crate) fn cache(&self) -> &str {
        let status = self.header("cache-status").unwrap_or("nothing");
        status.strip_prefix("tower-response-cache; ").unwrap_or(status)
    }
}

fn body_of<'b>(headers: &HeaderMap, mut rest: &'b [u8]) -> (bool, Vec<u8>, &'b [u8]) {
    if headers.contains_key("transfer-encoding") {
        let mut body = Vec::new();
        while let Some(at) = position(rest, b"\r\n") {
            let size = std::str::from_utf8(&rest[..at]).expect("text");
            let size = usize::from_str_radix(size, 16).expect("a size");
            rest = &rest[at + 2..];
            if size == 0 {
                return (true, body, rest.strip_prefix(b"\r\n").expect("no trailers"));
            }
            let there = size.min(rest.len());
            body.extend_from_slice(&rest[..there]);
            rest = &rest[(size + 2).min(rest.len())..];
        }
        return (false, body, &[]);
    }
    let Some(length) = headers.get("content-length") else {
        return (true, rest.to_vec(), &[]);
    };
    let length: usize = length.to_str().expect("text").parse().expect("a length");
    let there = length.min(rest.len());
    (there == length, rest[..there].to_vec(), &rest[there..])
}
