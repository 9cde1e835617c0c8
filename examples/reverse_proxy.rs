//! A caching reverse proxy: hyper on both sides, and between them a cache that follows RFC 9111.
//!
//! ```console
//! $ cargo run --release --example reverse_proxy -- \
//!     --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080
//! $ curl -i http://127.0.0.1:8080/    # Cache-Status: tower-response-cache; fwd=uri-miss; …
//! $ curl -i http://127.0.0.1:8080/    # Cache-Status: tower-response-cache; hit; ttl=…
//! ```
//!
//! Clients speak HTTP/1.1 or HTTP/2 without TLS. The upstream speaks HTTP/1.1 or, with
//! `--upstream-http2`, HTTP/2. A request goes through three services:
//!
//! 1. [`Front`] refuses requests that a proxy must not forward, determines the host, and removes
//!    connection-specific fields.
//! 2. The cache answers requests from stored responses.
//! 3. [`Upstream`] forwards the other requests over pooled connections, with the client's `Host`,
//!    and refuses invalid responses.
//!
//! If the upstream can't be reached or its response is invalid, clients get a 502. If the upstream
//! is too slow, they get a 504. With `--stale-if-error`, they get a stored stale response instead,
//! if there is one. `Cache-Status` reports whether a response was stored or came from the cache.
//! `Proxy-Status` marks an error response that the proxy made, and states the reason. Responses to
//! requests that [`Front`] refuses have neither field.
//!
//! Limits keep one client or upstream from using up the resources of the others. An HTTP/2
//! connection has at most 32 concurrent requests. The upstream has at most 256
//! (`--upstream-requests`). The proxy drops an HTTP/1.1 connection or an HTTP/2 stream whose client
//! reads nothing for ten seconds. It drops an upstream connection with more than 100 interim
//! responses to one request. Each client connection needs a file descriptor (`ulimit -n`).
//!
//! `--help` lists the options. On Ctrl-C or SIGTERM, the proxy stops accepting connections and
//! finishes the requests in progress. It ends after `--timeout` and five more seconds at the
//! latest.

#[path = "reverse_proxy/connect.rs"]
mod connect;
#[path = "reverse_proxy/failure.rs"]
mod failure;
#[path = "reverse_proxy/fields.rs"]
mod fields;
#[path = "reverse_proxy/front.rs"]
mod front;
#[path = "reverse_proxy/interim.rs"]
mod interim;
#[path = "reverse_proxy/leg.rs"]
mod leg;
#[path = "reverse_proxy/reader.rs"]
mod reader;
#[path = "reverse_proxy/received_body.rs"]
mod received_body;
#[path = "reverse_proxy/upstream.rs"]
mod upstream;

pub(crate) use front::Front;
pub(crate) use upstream::Upstream;

use reader::{StreamExecutor, TimedStream};
use upstream::MAX_REQUESTS;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::Layer;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

const HELP: &str = "\
A caching reverse proxy

Usage: cargo run --example reverse_proxy -- --upstream http://HOST[:PORT] [OPTIONS]

Options:
  --upstream URL        forward requests that the cache can't answer to this server
  --listen HOST:PORT    listen here; port 0 is any free one [default: 127.0.0.1:8080]
  --upstream-http2      speak HTTP/2 with the upstream, without TLS
  --timeout N           answer 504 after N seconds without a response, and abort a body that stalls
                        for N seconds; connecting may take half of it [default: 30]
  --upstream-requests N forward at most N requests at a time; others wait, or are answered with
                        503 [default: 256]
  --capacity N          store at most N bytes, 1048576 or more [default: 268435456]
  --stale-if-error N    serve stale responses for N seconds if the upstream fails
  --share-set-cookie    store responses with Set-Cookie that have an explicit freshness lifetime
  --key                 report the key of each response in Cache-Status
  --quiet               do not print requests
  --help                print this help";

/// The command line.
#[derive(Debug)]
struct Args {
    upstream: Authority,
    listen: String,
    http2: bool,
    timeout: Duration,
    requests: usize,
    capacity: u64,
    policy: PolicyBuilder,
    log: bool,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut upstream = None;
        let mut args = Self {
            upstream: Authority::from_static("unset"),
            listen: String::from("127.0.0.1:8080"),
            http2: false,
            timeout: Duration::from_secs(30),
            requests: MAX_REQUESTS,
            capacity: 256 << 20,
            policy: Policy::rfc9111().cache_status(true),
            log: true,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("not a number: {text}"));
            match word.as_str() {
                "--upstream" => upstream = Some(authority(&value()?)?),
                "--listen" => args.listen = value()?,
                "--upstream-http2" => args.http2 = true,
                "--timeout" => args.timeout = Duration::from_secs(number(value()?)?),
                "--upstream-requests" => {
                    let requests = usize::try_from(number(value()?)?).unwrap_or(usize::MAX);
                    args.requests = requests.clamp(1, Semaphore::MAX_PERMITS);
                }
                "--capacity" => {
                    args.capacity = number(value()?)?;
                    if args.capacity < 1 << 20 {
                        return Err("--capacity is 1048576 bytes at least".into());
                    }
                }
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

/// Parses `http://HOST[:PORT]`, without a path, a query or user information.
fn authority(url: &str) -> Result<Authority, String> {
    let uri: Uri = url.parse().map_err(|_| format!("not a URL: {url}"))?;
    let is_root = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    match uri.authority() {
        Some(authority)
            if uri.scheme() == Some(&Scheme::HTTP) && is_root && !authority.as_str().contains('@') =>
        {
            Ok(authority.clone())
        }
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

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(&args.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", args.listen))?;
    let stopped = stopped();
    say(&format!(
        "Listening on http://{} for http://{} until Ctrl-C.",
        listener.local_addr()?,
        args.upstream
    ));
    let cache = Cache::new(MemoryStore::with_max_bytes(args.capacity));
    let upstream = Upstream::new(args.upstream, args.http2, args.timeout).max_requests(args.requests);
    let inner = SiteCacheLayer::new(&cache).policy(args.policy.build().expect("a policy")).layer(upstream);
    let front = Front { inner, log: args.log.then(printer) };
    serve(listener, front, stopped, args.timeout + Duration::from_secs(5)).await;
    eprintln!("Stopped.");
    cache.shutdown().await;
    Ok(())
}

/// Prints a line, and ignores a closed output.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints lines in a separate thread, because the reader of the output may be slow. Drops lines
/// while a thousand are waiting.
fn printer() -> SyncSender<String> {
    let (sender, lines) = sync_channel::<String>(1000);
    std::thread::spawn(move || lines.iter().for_each(|line| say(&line)));
    sender
}

/// How long a client may take to send a request head, and the interval of HTTP/2 keep-alive pings.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may leave sent parts of a response unread. Until then, its request keeps an
/// upstream permit.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of client connections. Others wait to be accepted.
const MOST_CONNECTIONS: usize = 10_000;

/// The maximum number of concurrent requests on one HTTP/2 connection. Further requests are refused
/// without being processed.
const MAX_STREAMS: u32 = 32;

/// The maximum number of bytes that are buffered for one HTTP/2 stream.
const MAX_BUFFERED: usize = 64 << 10;

/// Serves connections until `stopped` is ready, then finishes the requests in progress within the
/// `grace` time.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    stopped: impl Future<Output = ()>,
    grace: Duration,
) {
    serve_readers(listener, front, stopped, grace, STALL_TIMEOUT).await;
}

/// Serves connections as [`serve`] does, but with this `stall_timeout` in place of
/// [`STALL_TIMEOUT`].
pub(crate) async fn serve_readers(
    listener: TcpListener,
    front: Front,
    stopped: impl Future<Output = ()>,
    grace: Duration,
    stall_timeout: Duration,
) {
    let mut server = auto::Builder::new(StreamExecutor { stall_timeout });
    server.http1().timer(TokioTimer::new()).header_read_timeout(CLIENT_TIMEOUT);
    let mut http2 = server.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(CLIENT_TIMEOUT);
    http2.max_concurrent_streams(MAX_STREAMS).max_send_buf_size(MAX_BUFFERED);
    let (graceful, mut stopped) = (GracefulShutdown::new(), std::pin::pin!(stopped));
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (closing, open) = watch::channel(());
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (connection, place) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stopped => break,
        };
        let stream = match connection {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("can't accept a connection: {error}");
                // The process may be out of file descriptors. Connections that end in this pause
                // free some.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (server, service) = (server.clone(), TowerToHyperService::new(front.clone()));
        let (watcher, mut open) = (graceful.watcher(), open.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut first = [0];
            // hyper detects the HTTP version from the first bytes, and would wait for them without
            // a time limit.
            tokio::select! {
                spoken = tokio::time::timeout(CLIENT_TIMEOUT, stream.peek(&mut first)) => {
                    if spoken.is_err() {
                        return;
                    }
                }
                _ = open.changed() => return,
            }
            let connection = server
                .serve_connection(TokioIo::new(TimedStream::new(stream, stall_timeout)), service)
                .into_owned();
            // An error means that the client disconnected or does not speak HTTP.
            drop(watcher.watch(connection).await);
        });
    }
    // The drop of `listener` refuses new connections. The drop of `closing` ends connections on
    // which the client has sent nothing.
    drop((listener, closing));
    // Printed to stderr, because stdout may be full of unread lines.
    eprintln!("Finishing the requests in progress …");
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(grace) => eprintln!("Some requests were aborted."),
    }
}

/// Registers for Ctrl-C and SIGTERM in this call, not at the first poll. Returns a future that is
/// ready after either signal.
#[cfg(unix)]
fn stopped() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let mut signals: Vec<_> = signals.into_iter().flatten().collect();
        futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn stopped() {
    let _ = tokio::signal::ctrl_c().await;
}
