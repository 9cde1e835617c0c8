//! A hyper server without axum: any `tower::Service` of HTTP requests can be cached.
//!
//! `cargo run --example hello_hyper`, then `curl -i http://127.0.0.1:3000/` twice.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::{convert::Infallible, error::Error, time::Duration};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

async fn report(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Response::new(Full::from("42\n")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(256 << 20));
    let policy = Policy::app().default_ttl(Duration::from_secs(600)).cache_status(true).build()?;
    let service = SiteCacheLayer::new(&cache).policy(policy).layer(service_fn(report));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            let connection = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("connection failed: {error}");
            }
        });
    }
}
