//! Tags: a handler tags its page with the data that the page shows. One call invalidates all pages
//! with a tag.

use axum::{
    Router, body::Body, body::to_bytes, extract::Path, http::Request, response::IntoResponse, routing::get,
};
use std::{error::Error, time::Duration};
use tower::ServiceExt;
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer};

async fn all() -> impl IntoResponse {
    (CacheHints::new().tags(["flavors"]), "mint, lemon")
}

async fn flavor(Path(name): Path<String>) -> impl IntoResponse {
    (CacheHints::new().tags(["flavors".to_owned(), format!("flavor:{name}")]), name)
}

/// Requests every page, and prints whether it came from the cache.
async fn visit(app: &Router) -> Result<(), Box<dyn Error>> {
    for path in ["/", "/flavors/mint", "/flavors/lemon"] {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
        println!("  GET {path}: {:?}", response.headers()["cache-status"]);
        to_bytes(response.into_body(), usize::MAX).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let policy = Policy::app().default_ttl(Duration::from_secs(600)).cache_status(true).build()?;
    let app = Router::new()
        .route("/", get(all))
        .route("/flavors/{name}", get(flavor))
        .layer(SiteCacheLayer::new(&cache).policy(policy));

    println!("Empty cache:");
    visit(&app).await?;
    println!("Full cache:");
    visit(&app).await?;

    // After a change to one flavor.
    let _ = cache.invalidate(Invalidation::tag("flavor:mint")).await;
    println!("After an invalidation of flavor:mint:");
    visit(&app).await?;

    // After a change to all flavors.
    let _ = cache.invalidate(Invalidation::tag("flavors")).await;
    println!("After an invalidation of flavors:");
    visit(&app).await
}
