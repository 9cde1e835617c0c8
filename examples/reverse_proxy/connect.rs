//! The connector to the upstream.

use super::failure::Failure;
use super::interim::UpstreamStream;
use super::reader::TimedStream;
use futures::future::BoxFuture;
use http::Uri;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tower::Service;

/// Connects to the upstream within a time limit, or returns the reason of the failure.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) timeout: Duration,
    pub(crate) http2: bool,
}

impl Service<Uri> for Connector {
    type Response = UpstreamStream;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (timeout, http2) = (self.timeout, self.http2);
        Box::pin(async move {
            let connecting = tokio::time::timeout(timeout, connect(&uri)).await;
            let stream = connecting.map_err(|_| Failure::ConnectionTimeout)??;
            Ok(UpstreamStream::new(TimedStream::new(stream, timeout), http2))
        })
    }
}

async fn connect(uri: &Uri) -> Result<TcpStream, Failure> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = lookup_host((host, uri.port_u16().unwrap_or(80))).await;
    let addresses: Vec<_> = found.map_err(|_| Failure::DnsError)?.collect();
    let stream = TcpStream::connect(&addresses[..]).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
