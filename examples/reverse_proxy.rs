//! A caching reverse proxy: hyper on both sides, and between them this crate with the rules of RFC 9111.
//!
//! ```console
//! $ cargo run --release --example reverse_proxy -- \
//!     --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080
//! $ curl -i http://127.0.0.1:8080/    # Cache-Status: tower-response-cache; fwd=uri-miss; …
//! $ curl -i http://127.0.0.1:8080/    # Cache-Status: tower-response-cache; hit; ttl=…
//! ```
//!
//! Clients speak HTTP/1.1 or HTTP/2 (without TLS), and so may the upstream (`--upstream-http2`). A request
//! goes through three services:
//!
//! 1. [`Front`] refuses what a proxy must not pass on, settles which site the request is for, and takes off the
//!    fields of one connection;
//! 2. the cache answers what it can;
//! 3. [`Upstream`] sends the rest on, over pooled connections, with the `Host` that the client asked for, and
//!    refuses answers that are none.
//!
//! Where the upstream can't be reached or answers with what is no HTTP, clients get a 502, where it takes too
//! long a 504, or what is stored, where it may be used stale (`--stale-if-error`). `Cache-Status` says which.
//! `--help` lists the options. On Ctrl-C or SIGTERM it takes no more connections and ends once
//! the requests under way are answered.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, MAX_FORWARDS, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tower::{Layer, Service, ServiceExt};
use tower_http::timeout::TimeoutBody;
use tower_response_cache::{Cache, MemoryStore, Policy, ResponseBody, ResponseCache, SiteCacheLayer};

/// How the proxy calls itself in `Via` (RFC 9110 section 7.6.3).
const PSEUDONYM: &str = "tower-response-cache";

type BoxError = Box<dyn Error + Send + Sync>;

/// What the upstream sends, or an empty body in its place.
pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, BoxError>;

/// What comes before the cache: requests that no proxy may pass on, and which site a request is for.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) inner: ResponseCache<Upstream>,
    /// Whether each request is printed.
    pub(crate) log: bool,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<ResponseBody<UpstreamBody>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let (log, inner) = (self.log, self.inner.clone());
        let target = log.then(|| format!("{} {}", request.method(), request.uri()));
        Box::pin(async move {
            let response = match admit(&mut request) {
                Ok(()) => inner.oneshot(request).await?,
                Err(status) => {
                    let mut response = Response::default();
                    *response.status_mut() = status;
                    response
                }
            };
            if let Some(target) = target {
                let status = response.headers().get("cache-status").and_then(|status| status.to_str().ok());
                println!("{target}: {} {}", response.status().as_u16(), status.unwrap_or("refused"));
            }
            Ok(response)
        })
    }
}

/// Makes a request fit to be passed on, or says what it is answered with.
fn admit(request: &mut Request<Incoming>) -> Result<(), StatusCode> {
    // RFC 9112 section 3.2: one `Host`, and a valid one, in each request of HTTP/1.1.
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, others) = (hosts.next(), hosts.next());
    let is_valid = host.is_none_or(is_host);
    if others.is_some() || !is_valid || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(StatusCode::BAD_REQUEST);
    }
    // No tunnels, and no echo of what other proxies have added.
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    // RFC 9110 section 7.6.2: the last one that may handle it answers itself.
    if request.method() == Method::OPTIONS && request.headers().contains_key(MAX_FORWARDS) {
        let left =
            request.headers().get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
        match left.ok_or(StatusCode::BAD_REQUEST)?.checked_sub(1) {
            Some(left) => drop(request.headers_mut().insert(MAX_FORWARDS, left.into())),
            None => return Err(StatusCode::NO_CONTENT),
        }
    }
    // RFC 9112 section 3.2.2: the host of an absolute-form target stands in place of the field. From here on
    // the field alone says it, however it came.
    if let Some(authority) = request.uri().authority() {
        if request.uri().scheme().is_none() {
            // RFC 9112 section 3.2.3: for CONNECT alone.
            return Err(StatusCode::BAD_REQUEST);
        }
        // RFC 9110 section 4.2.4: who it is for is no part of where it goes.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::try_from(host).ok().filter(is_host).ok_or(StatusCode::BAD_REQUEST)?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = request.uri().path_and_query().cloned().map(Uri::from).unwrap_or_default();
    }
    // Before the cache: what the upstream does not get must not choose what is stored, either.
    let version = request.version();
    pass_on(request.headers_mut(), version);
    if version == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    Ok(())
}

/// Tells whether it is a host, with a port or without (RFC 9110 section 7.2).
fn is_host(value: &HeaderValue) -> bool {
    Authority::try_from(value.as_bytes()).is_ok_and(|authority| {
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port =
            |port: &str| port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
        !authority.host().is_empty() && port.is_some_and(|port| port.is_empty() || is_port(port))
    })
}

/// Makes one line of what HTTP/2 may have sent in several (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let (2.., Ok(joined)) = (lines.len(), HeaderValue::from_bytes(&lines.join(&b"; "[..]))) {
        headers.insert(COOKIE, joined);
    }
}

/// The origin: one server, whichever of its sites a request is for.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    connections: Connections,
    address: Authority,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Connections {
    Http1(Box<Client<HttpConnector, Incoming>>),
    /// One for all requests, made anew where it has ended.
    Http2(Arc<Mutex<Option<SendRequest<Incoming>>>>),
}

impl Upstream {
    pub(crate) fn new(address: Authority, http2: bool, timeout: Duration) -> Self {
        let connections = if http2 {
            Connections::Http2(Arc::default())
        } else {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let mut client = Client::builder(TokioExecutor::new());
            Connections::Http1(Box::new(client.pool_timer(TokioTimer::new()).build(connector)))
        };
        Self { connections, address, timeout }
    }

    async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, BoxError> {
        *request.version_mut() = Version::HTTP_11;
        match &self.connections {
            Connections::Http1(client) => {
                // The client takes a GET of unknown length for one without a body, unless it is told.
                if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
                    request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                // It goes to the one server there is, with the `Host` that it has.
                *request.uri_mut() = target(self.address.clone(), request.uri());
                Ok(client.request(request).await?)
            }
            Connections::Http2(open) => {
                // HTTP/2 says it in the target (RFC 9113 section 8.3.1).
                let host = request.headers_mut().remove(HOST);
                let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                *request.uri_mut() = target(host.unwrap_or(self.address.clone()), request.uri());
                let mut sender = self.connection(open).await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    async fn connection(
        &self,
        open: &Mutex<Option<SendRequest<Incoming>>>,
    ) -> Result<SendRequest<Incoming>, BoxError> {
        let mut open = open.lock().await;
        if let Some(sender) = open.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let port = self.address.port_u16().unwrap_or(80);
        let stream = TcpStream::connect(format!("{}:{port}", self.address.host())).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // An upstream that has gone without a word is found out.
            .keep_alive_interval(Duration::from_secs(10))
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok(open.insert(sender).clone())
    }
}

/// Returns the same target on another server.
fn target(authority: Authority, uri: &Uri) -> Uri {
    let (mut parts, root) = (Uri::default().into_parts(), PathAndQuery::from_static("/"));
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or(root));
    Uri::from_parts(parts).unwrap_or_default()
}

impl Service<Request<Incoming>> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let (upstream, version) = (self.clone(), request.version());
        Box::pin(async move {
            Ok(match tokio::time::timeout(upstream.timeout, upstream.send(request)).await {
                Ok(Ok(mut response)) if is_sound(&response) => {
                    let received = response.version();
                    pass_on(response.headers_mut(), received);
                    *response.version_mut() = version;
                    response.map(|body| TimeoutBody::new(upstream.timeout, body).boxed_unsync())
                }
                Ok(_) => instead(StatusCode::BAD_GATEWAY),
                Err(_) => instead(StatusCode::GATEWAY_TIMEOUT),
            })
        })
    }
}

/// Tells whether a response is one to what was asked, of a length that nobody can mistake (RFC 9112 section 6.1).
fn is_sound(response: &Response<Incoming>) -> bool {
    let codings: Vec<_> = response.headers().get_all(TRANSFER_ENCODING).iter().collect();
    let is_framed = match codings[..] {
        [] => true,
        // Neither another coding, which `TE` did not ask for, nor two lengths.
        [coding] => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !response.headers().contains_key(CONTENT_LENGTH)
        }
        _ => false,
    };
    is_framed && !response.status().is_informational()
}

fn instead(status: StatusCode) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::default());
    *response.status_mut() = status;
    response
}

/// What is said between two neighbours alone (RFC 9110 section 7.6.1), besides what `Connection` names.
const OF_ONE_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Makes a header section that of the next message on the way.
fn pass_on(headers: &mut HeaderMap, received: Version) {
    let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    let names = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    // What frames the message, or says who it is for and who may keep it, is for everybody.
    let named = names
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| !matches!(name.as_str(), "host" | "content-length" | "cache-control" | "vary"));
    for name in named.chain(OF_ONE_CONNECTION) {
        headers.remove(name);
    }
    let protocol = match received {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    if let Ok(via) = HeaderValue::try_from(format!("{protocol} {PSEUDONYM}")) {
        headers.append(VIA, via);
    }
}

const HELP: &str = "\
A caching reverse proxy

Usage: cargo run --example reverse_proxy -- --upstream http://HOST[:PORT] [OPTIONS]

Options:
  --upstream URL        send on what the cache can't answer to this server
  --listen HOST:PORT    listen here; port 0 is any free one [default: 127.0.0.1:8080]
  --upstream-http2      speak HTTP/2 with the upstream, without TLS
  --timeout N           answer 504 after so many seconds without an answer, and cut a body off that
                        stalls for so long [default: 30]
  --capacity N          hold so many bytes [default: 268435456]
  --stale-if-error N    answer with what is stale for so many seconds where the upstream fails
  --share-set-cookie    store responses with Set-Cookie that say explicitly how long they are fresh
  --key                 tell the key of each answer in Cache-Status
  --quiet               do not print requests
  --help                print this help";

/// The command line.
#[derive(Debug)]
struct Args {
    upstream: Authority,
    listen: SocketAddr,
    http2: bool,
    timeout: Duration,
    capacity: u64,
    policy: Policy,
    log: bool,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut upstream = None;
        let mut args = Self {
            upstream: Authority::from_static("unset"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            http2: false,
            timeout: Duration::from_secs(30),
            capacity: 256 << 20,
            policy: Policy::rfc9111().cache_status(true),
            log: true,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("not a number: {text}"));
            match word.as_str() {
                "--upstream" => upstream = Some(authority(&value()?)?),
                "--listen" => {
                    let address = value()?;
                    args.listen = address.parse().map_err(|_| format!("not HOST:PORT: {address}"))?;
                }
                "--upstream-http2" => args.http2 = true,
                "--timeout" => args.timeout = Duration::from_secs(number(value()?)?),
                "--capacity" => args.capacity = number(value()?)?,
                "--stale-if-error" => {
                    let window = Duration::from_secs(number(value()?)?);
                    args.policy = args.policy.stale_if_error(window);
                }
                "--share-set-cookie" => args.policy = args.policy.share_set_cookie(true),
                "--key" => args.policy = args.policy.cache_status_key(true),
                "--quiet" => args.log = false,
                _ => return Err(format!("unknown argument: {word}")),
            }
        }
        args.upstream = upstream.ok_or("--upstream is missing")?;
        Ok(args)
    }
}

/// Reads `http://HOST[:PORT]`, with nothing behind it.
fn authority(url: &str) -> Result<Authority, String> {
    let uri: Uri = url.parse().map_err(|_| format!("not a URL: {url}"))?;
    let is_root = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    match uri.authority() {
        Some(authority) if uri.scheme() == Some(&Scheme::HTTP) && is_root => Ok(authority.clone()),
        _ => Err(format!("not of the form http://HOST[:PORT]: {url}")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", args.listen))?;
    println!("Listening on http://{} for http://{} until Ctrl-C.", listener.local_addr()?, args.upstream);
    let cache = Cache::new(MemoryStore::with_capacity(args.capacity));
    let upstream = Upstream::new(args.upstream, args.http2, args.timeout);
    let inner = SiteCacheLayer::new(&cache).policy(args.policy).layer(upstream);
    serve(listener, Front { inner, log: args.log }, stopped()).await;
    println!("Stopped.");
    cache.shutdown().await;
    Ok(())
}

/// Answers connections until it is told to stop, and those that are there then to the end of their requests.
pub(crate) async fn serve(listener: TcpListener, front: Front, stopped: impl Future<Output = ()>) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    server.http2().timer(TokioTimer::new());
    let (graceful, mut stopped) = (GracefulShutdown::new(), std::pin::pin!(stopped));
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let stream = match connection {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("can't accept a connection: {error}");
                // Out of descriptors, say: some will be free again.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(front.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        // An error is that of a client that has gone, or speaks no HTTP.
        tokio::spawn(async move { drop(connection.await) });
    }
    // Others are refused at once, rather than left to wait.
    drop(listener);
    println!("Answering what is under way …");
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => eprintln!("Some clients were left."),
    }
}

/// Waits for Ctrl-C or, where there is one, SIGTERM.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
