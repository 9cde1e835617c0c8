//! Personal pages from the cache: one entry for each user, and none that two users share.

use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Body, body::to_bytes, http::StatusCode, http::header::COOKIE, routing::get};
use std::{error::Error, time::Duration};
use tower::ServiceExt;
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

#[derive(Clone)]
struct User(&'static str);

/// Simulates a session lookup. This layer is outside the cache, so a visitor whose session has
/// ended gets a 401 instead of a stored page.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let user = match request.headers().get(COOKIE).map(|cookie| cookie.as_bytes()) {
        Some(b"sid=1") => User("alice"),
        Some(b"sid=2") => User("bob"),
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

async fn orders(Extension(User(name)): Extension<User>) -> String {
    format!("orders of {name}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let policy = Policy::app()
        .default_ttl(Duration::from_secs(600))
        .vary_by_identity("user", |request| Some(request.extensions.get::<User>()?.0.to_owned()))
        .cache_status(true)
        .build()?;
    let app = Router::new()
        .route("/orders", get(orders))
        .layer(SiteCacheLayer::new(&cache).policy(policy))
        .layer(from_fn(authenticate));

    for cookie in ["sid=1", "sid=1", "sid=2", "sid=2", "sid=3"] {
        let request = Request::get("/orders").header(COOKIE, cookie).body(Body::empty())?;
        let (head, body) = app.clone().oneshot(request).await?.into_parts();
        let body = to_bytes(body, usize::MAX).await?;
        println!("{cookie}: {} {:?}", head.status, String::from_utf8_lossy(&body));
        for name in ["cache-status", "cache-control"] {
            head.headers.get(name).iter().for_each(|value| println!("  {name}: {value:?}"));
        }
    }
    Ok(())
}
