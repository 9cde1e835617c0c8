//! The layers of a site in the right order, from the outermost to the innermost.

use axum::http::{Request, StatusCode};
use axum::{Router, body::Body, body::to_bytes, routing::get};
use std::{error::Error, time::Duration};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{compression::CompressionLayer, trace::TraceLayer};
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, ConditionalGetLayer, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer,
};
use tower_sessions::{Session, SessionManagerLayer};

async fn login(session: Session) -> Result<&'static str, StatusCode> {
    session.insert("name", "Alice").await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok("Hello, Alice")
}

async fn send(app: &Router, path: &str, headers: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    let (head, body) = app.clone().oneshot(request.body(Body::empty())?).await?.into_parts();
    println!("GET {path} {headers:?}: {}", head.status);
    for name in ["cache-status", "content-encoding", "etag"] {
        head.headers.get_all(name).iter().for_each(|value| println!("  {name}: {value:?}"));
    }
    // A response is stored once its body has been read to the end.
    to_bytes(body, usize::MAX).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let policy = || Policy::app().default_ttl(Duration::from_secs(600)).cache_status(true);
    let report = RouteCacheLayer::new(&cache, Duration::from_secs(3600)).policy(policy().build()?);
    let sessions = SessionManagerLayer::new(tower_sessions::MemoryStore::default()).with_name("sid");
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http()) // logs every request
        .layer(ConditionalGetLayer::new()) // makes an ETag of the bytes that clients get
        .layer(CompressionLayer::new()) // compresses hits too, so only plain pages are stored
        .layer(AnonymousOnlyLayer::session_cookie("sid")?) // sessions bypass all inner caches
        .layer(SiteCacheLayer::new(&cache).policy(policy().build()?))
        .layer(sessions); // does not run for a hit of the site cache
    let app = Router::new()
        .route("/", get(async || "Welcome. ".repeat(100)))
        .route("/report", get(async || "42").layer(report))
        .route("/login", get(login))
        .layer(layers);

    send(&app, "/", &[]).await?;
    send(&app, "/", &[("accept-encoding", "gzip")]).await?;
    send(&app, "/", &[("cookie", "sid=1")]).await?;
    send(&app, "/login", &[]).await?;
    send(&app, "/report", &[]).await?;
    send(&app, "/report", &[]).await
}
