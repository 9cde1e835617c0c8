//! A slow page, and a write that invalidates it.

use axum::routing::{get, post};
use axum::{Router, http::StatusCode, response::IntoResponse};
use std::{error::Error, time::Duration};
use tower_response_cache::{Cache, Invalidation, MemoryStore, Policy, SiteCacheLayer};

async fn report() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "42\n"
}

async fn update() -> impl IntoResponse {
    (Invalidation::path("/report").on_success(), StatusCode::NO_CONTENT)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(256 << 20));
    let policy = Policy::app().default_ttl(Duration::from_secs(600)).cache_status(true).build()?;
    let app = Router::new()
        .route("/report", get(report))
        .route("/data", post(update))
        .layer(SiteCacheLayer::new(&cache).policy(policy));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
