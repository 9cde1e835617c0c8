//! How to test an application: assertions on what the cache did, and a clock that the test moves.

use axum::{Router, body::Body, body::to_bytes, http::Request, http::Response, routing::get};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{error::Error, time::Duration};
use tower::ServiceExt;
use tower_response_cache::testing::{
    assert_hit, assert_miss, assert_not_stored, assert_stored, memory_cache,
};
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

const MINUTE: Duration = Duration::from_secs(60);
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Builds the application. A test passes a cache on a manual clock.
fn app(cache: &Cache) -> Result<Router, Box<dyn Error>> {
    let policy =
        Policy::app().default_ttl(MINUTE).stale_while_revalidate(MINUTE).cache_status(true).build()?;
    let page = get(async || format!("version {}", RUNS.fetch_add(1, Ordering::Relaxed) + 1));
    Ok(Router::new().route("/", page).layer(SiteCacheLayer::new(cache).policy(policy)))
}

/// Sends a request and reads the body to the end, so that the response is stored.
async fn send(app: &Router, cookie: &str) -> Result<Response<String>, Box<dyn Error>> {
    let mut request = Request::get("/");
    if !cookie.is_empty() {
        request = request.header("cookie", cookie);
    }
    let (head, body) = app.clone().oneshot(request.body(Body::empty())?).await?.into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await?.to_vec())?;
    println!("  {body}, {:?}", head.headers["cache-status"]);
    Ok(Response::from_parts(head, body))
}

/// In an application, this is a `#[tokio::test]`.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (cache, clock) = memory_cache();
    let app = app(&cache)?;
    println!("The first response is stored, the second comes from the cache:");
    assert_stored(&send(&app, "").await?);
    assert_hit(&send(&app, "").await?);

    println!("A request with a session is not answered from the cache:");
    assert_not_stored(&send(&app, "sid=1").await?, "cookie");

    println!("A stale response is served once, while a new one is fetched:");
    clock.advance(MINUTE + Duration::from_secs(1));
    assert_eq!(send(&app, "").await?.body(), "version 1");
    cache.wait_idle().await;
    assert_eq!(send(&app, "").await?.body(), "version 3");

    println!("Past the stale window, the handler runs again:");
    clock.advance(MINUTE * 2);
    assert_miss(&send(&app, "").await?);
    Ok(())
}
