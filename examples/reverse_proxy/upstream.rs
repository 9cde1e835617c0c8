//! What comes behind the cache: the one server that there is.

use super::fields::{PSEUDONYM, pass_on};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tower::Service;
use tower_http::timeout::TimeoutBody;

type BoxError = Box<dyn Error + Send + Sync>;

/// What the upstream sends, or an empty body in its place.
pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, BoxError>;

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
                Ok(Ok(_)) => instead(StatusCode::BAD_GATEWAY, "http_protocol_error"),
                Ok(Err(error)) => instead(StatusCode::BAD_GATEWAY, what_failed(&*error)),
                Err(_) => instead(StatusCode::GATEWAY_TIMEOUT, "http_response_timeout"),
            })
        })
    }
}

/// Tells whether a response is one to what was asked, of a length that nobody can mistake (RFC 9112 section 6.1).
fn is_sound(response: &Response<Incoming>) -> bool {
    let lines = response.headers().get_all(TRANSFER_ENCODING).iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_lowercase()).collect();
    let is_framed = match &lines[..] {
        [] => true,
        [coding] => {
            // Neither two lengths, nor content in a coding that the client would not know of. One that is registered
            // nowhere is content like any other, up to the end of the connection (section 6.3).
            let known = ["chunked", "gzip", "deflate", "compress"];
            let is_plain = !known.iter().any(|known| coding.contains(known));
            !response.headers().contains_key(CONTENT_LENGTH) && (coding == "chunked" || is_plain)
        }
        _ => false,
    };
    is_framed && !response.status().is_informational()
}

/// Returns the word for an error (RFC 9209 section 2.3), by its causes.
fn what_failed(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse() => return "http_protocol_error",
            Some(_) => return "connection_terminated",
            None => cause = error.source(),
        }
    }
    // It came so far as not to be reached.
    "destination_unavailable"
}

/// Answers in place of an upstream that has not, and says so (RFC 9209): a 502 of its own has no such field.
fn instead(status: StatusCode, error: &str) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::default());
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::try_from(format!("{PSEUDONYM}; error={error}")) {
        response.headers_mut().insert("proxy-status", value);
    }
    response
}
