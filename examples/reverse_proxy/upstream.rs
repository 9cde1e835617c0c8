//! The service behind the cache: the upstream server.

use super::connect::Connector;
use super::failure::Failure;
use super::fields::{PSEUDONYM, pass_on};
use super::interim::{CountingExecutor, Interim};
use super::leg::Leg;
use super::received_body::ReceivedBody;
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
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tower::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response from the upstream, or an empty body.
pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, BoxError>;

/// The origin: one server, for requests with any `Host`.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    connections: Connections,
    connector: Connector,
    address: Authority,
    timeout: Duration,
    /// The permits of the requests in progress.
    places: Arc<Semaphore>,
}

/// The maximum number of concurrent requests to the upstream. Over HTTP/1.1, each has a connection.
pub(crate) const MAX_REQUESTS: usize = 256;

/// The maximum number of idle connections.
const MAX_IDLE: usize = 64;

#[derive(Debug, Clone)]
enum Connections {
    Http1(Box<Client<Connector, Leg>>),
    /// One connection for all requests, replaced after it has ended.
    Http2(Arc<Mutex<Option<SendRequest<Leg>>>>),
}

impl Upstream {
    pub(crate) fn new(address: Authority, http2: bool, timeout: Duration) -> Self {
        // Half of the time limit of a request, so that a slow connection attempt ends first, as a
        // `ConnectionTimeout`.
        let connector = Connector { timeout: timeout / 2, http2 };
        let connections = if http2 {
            Connections::Http2(Arc::default())
        } else {
            let mut client = Client::builder(CountingExecutor);
            // RFC 9112 section 5.1: a proxy removes whitespace between field name and colon from a
            // response.
            client.http1_allow_spaces_after_header_name_in_responses(true);
            client.pool_timer(TokioTimer::new()).pool_max_idle_per_host(MAX_IDLE);
            Connections::Http1(Box::new(client.build(connector.clone())))
        };
        let places = Arc::new(Semaphore::new(MAX_REQUESTS));
        Self { connections, connector, address, timeout, places }
    }

    /// Sets the maximum number of concurrent requests. Further requests wait for a permit, within
    /// the time limit for a connection.
    pub(crate) fn max_requests(mut self, max: usize) -> Self {
        self.places = Arc::new(Semaphore::new(max));
        self
    }

    /// Waits for a permit and sends the request. The caller keeps the returned permit until the
    /// body of the response is read.
    async fn exchange(
        &self,
        request: Request<ReceivedBody>,
    ) -> Result<(Response<Incoming>, Arc<OwnedSemaphorePermit>), BoxError> {
        let place = tokio::time::timeout(self.connector.timeout, Arc::clone(&self.places).acquire_owned());
        let place = Arc::new(place.await.map_err(|_| Failure::ConnectionLimitReached)??);
        let request = request.map(|body| Leg::new(body, self.timeout, Arc::clone(&place)));
        Ok((self.send(request).await?, place))
    }

    async fn send(&self, mut request: Request<Leg>) -> Result<Response<Incoming>, BoxError> {
        *request.version_mut() = Version::HTTP_11;
        match &self.connections {
            Connections::Http1(client) => {
                // Without this field, hyper's client drops the body of a GET if its length is
                // unknown.
                if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
                    request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                let interim = Interim::count(&mut request);
                // The target names the server to connect to. `Host` keeps the client's value.
                *request.uri_mut() = target(self.address.clone(), request.uri());
                let response = client.request(request).await?;
                if interim.is_excessive() { Err(Failure::Protocol.into()) } else { Ok(response) }
            }
            Connections::Http2(open) => {
                // HTTP/2 has the host in the target (RFC 9113 section 8.3.1).
                let host = request.headers_mut().remove(HOST);
                let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                *request.uri_mut() = target(host.unwrap_or(self.address.clone()), request.uri());
                match self.connection_in_time(open).await?.try_send_request(request).await {
                    Ok(response) => Ok(response),
                    // If the error returns the request, the connection ended before the request was
                    // sent.
                    Err(mut error) => match error.take_message() {
                        Some(request) => {
                            Ok(self.connection_in_time(open).await?.send_request(request).await?)
                        }
                        None => Err(error.into_error().into()),
                    },
                }
            }
        }
    }

    /// Returns the open connection, or a new one. The time limit includes the wait for another
    /// request that is connecting.
    async fn connection_in_time(
        &self,
        open: &Mutex<Option<SendRequest<Leg>>>,
    ) -> Result<SendRequest<Leg>, BoxError> {
        let connection = tokio::time::timeout(self.connector.timeout, self.connection(open)).await;
        connection.map_err(|_| Failure::ConnectionTimeout)?
    }

    async fn connection(&self, open: &Mutex<Option<SendRequest<Leg>>>) -> Result<SendRequest<Leg>, BoxError> {
        let mut open = open.lock().await;
        if let Some(sender) = open.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.connector.clone().call(target(self.address.clone(), &Uri::default())).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Detects an upstream that vanished without closing the connection.
            .keep_alive_interval(Duration::from_secs(10))
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        Ok(open.insert(sender).clone())
    }
}

/// Returns an absolute target with this authority, and with the path and query of `uri`.
fn target(authority: Authority, uri: &Uri) -> Uri {
    let (mut parts, root) = (Uri::default().into_parts(), PathAndQuery::from_static("/"));
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or(root));
    Uri::from_parts(parts).unwrap_or_default()
}

impl Service<Request<ReceivedBody>> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReceivedBody>) -> Self::Future {
        let (upstream, version) = (self.clone(), request.version());
        Box::pin(async move {
            Ok(match tokio::time::timeout(upstream.timeout, upstream.exchange(request)).await {
                Ok(Ok((mut response, place))) => match unsound(&response) {
                    Some(failure) => instead(failure),
                    None => {
                        let received = response.version();
                        pass_on(response.headers_mut(), received);
                        if response.status() == StatusCode::NO_CONTENT {
                            // RFC 9110 section 8.6: a 204 has no `Content-Length`. A client might
                            // wait for that many bytes.
                            response.headers_mut().remove(CONTENT_LENGTH);
                        }
                        *response.version_mut() = version;
                        response.map(|body| {
                            Leg::new(ReceivedBody::new(body, received), upstream.timeout, place)
                                .boxed_unsync()
                        })
                    }
                },
                Ok(Err(error)) => instead(Failure::of(&*error)),
                Err(_) => instead(Failure::ResponseTimeout),
            })
        })
    }
}

/// Returns a failure if the response is not final, or if its length is ambiguous (RFC 9112 section
/// 6.1).
fn unsound(response: &Response<Incoming>) -> Option<Failure> {
    let lines = response.headers().get_all(TRANSFER_ENCODING).iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_lowercase()).collect();
    let is_framed = match &lines[..] {
        [] => true,
        [coding] => {
            // Refused:
            // - `Content-Length` in addition to a transfer coding.
            // - A registered coding other than `chunked`, because the proxy does not forward
            //   `Transfer-Encoding`.
            let known = ["chunked", "gzip", "deflate", "compress"];
            let is_plain = !known.iter().any(|known| coding.contains(known));
            !response.headers().contains_key(CONTENT_LENGTH) && (coding == "chunked" || is_plain)
        }
        _ => false,
    };
    match (is_framed, response.status().is_informational()) {
        (false, _) => Some(Failure::ResponseTransferCoding),
        (true, true) => Some(Failure::Protocol),
        (true, false) => None,
    }
}

/// Creates an error response of the proxy. Unlike a 502 from the upstream, it has `Proxy-Status`
/// (RFC 9209).
fn instead(failure: Failure) -> Response<UpstreamBody> {
    let mut response = Response::new(UpstreamBody::default());
    *response.status_mut() = failure.status();
    if let Ok(value) = HeaderValue::try_from(format!("{PSEUDONYM}; error={failure}")) {
        response.headers_mut().insert("proxy-status", value);
    }
    response
}
