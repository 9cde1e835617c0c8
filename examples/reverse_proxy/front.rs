//! The service in front of the cache. It refuses requests that a proxy must not forward, and
//! determines the host.

use super::fields::{join_cookies, pass_on};
use super::reader::Pieces;
use super::received_body::ReceivedBody;
use super::upstream::{Upstream, UpstreamBody};
use futures::future::BoxFuture;
use http::header::{HOST, MAX_FORWARDS};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::mpsc::SyncSender;
use std::task::{self, Poll};
use tower::{Service, ServiceExt};
use tower_response_cache::response_cache::{ResponseBody, ResponseCache};

#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) inner: ResponseCache<Upstream>,
    /// The queue of the lines to print, one for each request. With `None`, nothing is printed.
    pub(crate) log: Option<SyncSender<String>>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Pieces<ResponseBody<UpstreamBody>>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let inner = self.inner.clone();
        let log = self.log.clone().map(|log| (log, format!("{} {}", request.method(), request.uri())));
        Box::pin(async move {
            let response = match admit(&mut request) {
                Ok(()) => {
                    let received = request.version();
                    inner.oneshot(request.map(|body| ReceivedBody::new(body, received))).await?
                }
                Err(status) => {
                    let mut response = Response::default();
                    *response.status_mut() = status;
                    response
                }
            };
            if let Some((log, target)) = log {
                let status = response.headers().get("cache-status").and_then(|status| status.to_str().ok());
                let status = status.unwrap_or("refused");
                // `try_send` drops the line if the queue is full.
                let _ = log.try_send(format!("{target}: {} {status}", response.status().as_u16()));
            }
            Ok(response.map(Pieces::new))
        })
    }
}

/// Prepares a request for forwarding, or returns the status that refuses it.
fn admit(request: &mut Request<Incoming>) -> Result<(), StatusCode> {
    // RFC 9112 section 3.2: each HTTP/1.1 request has exactly one valid `Host`.
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, others) = (hosts.next(), hosts.next());
    let is_valid = host.is_none_or(is_host);
    if others.is_some() || !is_valid || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(StatusCode::BAD_REQUEST);
    }
    // RFC 9112 section 3.2.4: `*` is for OPTIONS only. This server accepts no schemes other than
    // `http` and `https`.
    let is_asterisk = request.uri().path() == "*" && request.method() != Method::OPTIONS;
    let is_foreign = request.uri().scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https"));
    if is_asterisk || is_foreign {
        return Err(StatusCode::BAD_REQUEST);
    }
    // For CONNECT, the proxy would have to open a tunnel. A response to TRACE would disclose fields
    // that other proxies have added.
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    // RFC 9110 section 7.6.2: a proxy does not forward a request with `Max-Forwards: 0`.
    if request.method() == Method::OPTIONS && request.headers().contains_key(MAX_FORWARDS) {
        let left =
            request.headers().get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
        match left.ok_or(StatusCode::BAD_REQUEST)?.checked_sub(1) {
            Some(left) => drop(request.headers_mut().insert(MAX_FORWARDS, left.into())),
            None => return Err(StatusCode::NO_CONTENT),
        }
    }
    // RFC 9112 section 3.2.2: the host of an absolute-form target replaces `Host`. The target keeps
    // only its path and query.
    if let Some(authority) = request.uri().authority() {
        if request.uri().scheme().is_none() {
            // RFC 9112 section 3.2.3: the authority form is for CONNECT only.
            return Err(StatusCode::BAD_REQUEST);
        }
        // RFC 9110 section 4.2.4: user information is not part of the host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::try_from(host).ok().filter(is_host).ok_or(StatusCode::BAD_REQUEST)?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = request.uri().path_and_query().cloned().map(Uri::from).unwrap_or_default();
    }
    // The fields are removed before the cache reads the request: a field that the upstream does not
    // get must not select a stored response.
    let version = request.version();
    pass_on(request.headers_mut(), version);
    if version == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    Ok(())
}

/// Returns `true` if the value is a host with an optional port (RFC 9110 section 7.2).
fn is_host(value: &HeaderValue) -> bool {
    Authority::try_from(value.as_bytes()).is_ok_and(|authority| {
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port =
            |port: &str| port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
        !authority.host().is_empty() && port.is_some_and(|port| port.is_empty() || is_port(port))
    })
}
