//! Caches that have stored a response, with and without its encoded variant.

use super::{Answer, Body, call, floor};
use http::{Request, Response};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, Service};
use tower_http::compression::CompressionLayer;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

/// Returns a cache with the option `encode` that has stored the response to the request, in the
/// coding that the request prefers.
pub(crate) fn warm_encoded(
    request: &Request<Body>,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response = Response<ResponseBody<Body>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let mut service = layer(&cache).encode(CompressionLayer::new()).layer(floor(response));
    runtime.block_on(async {
        for _ in 0..3 {
            call(&mut service, request.clone());
            cache.wait_idle().await;
        }
    });
    let response = call(&mut service, request.clone());
    assert!(response.is_hit() && response.headers().contains_key("content-encoding"), "it is encoded");
    service
}

/// Returns a cache without the option that has stored the response to the request.
pub(crate) fn warm_plain(
    request: &Request<Body>,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response = Response<ResponseBody<Body>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let mut service = layer(&cache).layer(floor(response));
    call(&mut service, request.clone());
    assert!(call(&mut service, request.clone()).is_hit(), "it is stored");
    service
}

fn layer(cache: &Cache) -> SiteCacheLayer {
    let policy = Policy::app().default_ttl(Duration::from_secs(600)).build().expect("a policy");
    SiteCacheLayer::new(cache).policy(policy)
}
