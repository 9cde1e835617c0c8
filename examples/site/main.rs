//! An ice-cream shop on SQLite, with a site-wide cache and a longer-lived one for its slow page.
//!
//! It shows what an application has to do for a cache: put the layers around its routes, mark
//! what is not for everybody `no-store`, and invalidate what a write has changed, once the write
//! is committed (`save` in `handlers.rs`).
//!
//! ```console
//! $ cargo run --release --example site
//! $ curl -i http://127.0.0.1:3000/flavours/vanilla
//! $ curl -i http://127.0.0.1:3000/report
//! $ curl -i -d name=Vanilla -d price=3.50 -d description=Dearer \
//!     http://127.0.0.1:3000/flavours/vanilla/edit
//! ```
//!
//! Ask for a page twice: the second time `Cache-Status` tells of a hit, and `Age` how old it is.
//! `/report` has two such lines: its own cache answers, the site's leaves it alone. The last
//! command changes the price; all pages that show it are made anew. `--help` lists the options.
//!
//! Pages have an `ETag`: send it back with `-H 'If-None-Match: …'` and get a 304. Two editors of one
//! flavour can't overwrite each other, as the second of these shows, which is refused with a 412:
//!
//! ```console
//! $ url=http://127.0.0.1:3000/api/flavours/vanilla
//! $ tag=$(curl -sI $url | tr -d '\r' | sed -n 's/^etag: //ip')
//! $ new='{"name":"Vanilla","description":"Mine","price_cents":400}'
//! $ curl -i -X PUT -H "If-Match: $tag" -H 'Content-Type: application/json' -d "$new" $url
//! $ curl -i -X PUT -H "If-Match: $tag" -H 'Content-Type: application/json' -d "$new" $url
//! ```

mod args;
mod db;
mod forms;
mod handlers;
mod pages;
mod sessions;

use args::{Args, HELP};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::{MethodRouter, get, post};
use db::Db;
use sessions::Sessions;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_response_cache::{
    Cache, ConditionLayer, ConditionalLayer, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer,
};

/// What all handlers share.
#[derive(Debug, Clone)]
struct Site {
    db: Db,
    sessions: Sessions,
    cache: Option<Cache>,
}

fn app(db: Db, cache: Option<Cache>) -> Router {
    let mut report = get(handlers::report);
    if let Some(cache) = &cache {
        let hour = Duration::from_secs(3600);
        let policy = Policy::app().cache_status(true);
        report = report.layer(RouteCacheLayer::new(cache, hour).policy(policy));
    }

    let mut app = Router::new()
        .route("/", get(handlers::list))
        .route("/flavours/{slug}", get(handlers::detail))
        .route("/api/flavours", get(handlers::api))
        .route("/api/flavours/{slug}", one_flavour(&db))
        .route("/report", report)
        .merge(unshared())
        .fallback(handlers::not_found);
    if let Some(cache) = &cache {
        let policy = Policy::app().default_ttl(Duration::from_secs(600)).etags(true).cache_status(true);
        app = app.layer(SiteCacheLayer::new(cache).policy(policy));
    }

    app.layer(ConditionalLayer::new()).with_state(Site { db, sessions: Sessions::default(), cache })
}

/// One flavour, read by anybody and replaced only by who has seen its current version: of two editors
/// who start from the same one, the second is told, before the handler runs.
fn one_flavour(db: &Db) -> MethodRouter<Site> {
    let db = db.clone();
    let condition = ConditionLayer::new()
        .etag(move |request| {
            let (db, slug) =
                (db.clone(), request.uri.path().rsplit('/').next().unwrap_or_default().to_owned());
            async move { Some(db.flavour(slug).await.ok()??.version()) }
        })
        .require_precondition();
    get(handlers::api_one).put(handlers::api_replace).layer(condition)
}

/// The forms, and what belongs to one visitor: no cache keeps any of it.
fn unshared() -> Router<Site> {
    let value = HeaderValue::from_static("no-store");
    let no_store = SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, value);
    Router::new()
        .route("/flavours/new", get(handlers::new_form).post(handlers::add))
        .route("/flavours/{slug}/edit", get(handlers::edit_form).post(handlers::edit))
        .route("/login", get(handlers::login_form).post(handlers::login))
        .route("/logout", post(handlers::logout))
        .route("/account", get(handlers::account))
        .layer(no_store)
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if args.help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", args.port))
        .await
        .map_err(|error| format!("can't listen on port {}: {error}", args.port))?;
    let temporary = TemporaryDb::new();
    let path = args.db.unwrap_or_else(|| temporary.0.clone());
    let cache = args.cache.then(|| Cache::new(MemoryStore::with_capacity(64 << 20)));
    let app = app(Db::open(path)?, cache);

    let address = listener.local_addr()?;
    println!("Listening on http://{address} until Ctrl-C. Worth trying, in turn and again:");
    println!("  curl -i http://{address}/flavours/vanilla");
    println!("  curl -i http://{address}/report");
    let fields = "-d name=Vanilla -d price=3.50 -d description=Dearer";
    println!("  curl -i {fields} http://{address}/flavours/vanilla/edit");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C can't be waited for: {error}");
    }
}

/// A path for a database that goes when this is dropped.
struct TemporaryDb(PathBuf);

impl TemporaryDb {
    fn new() -> Self {
        let name = format!("ice-cream-{}.sqlite", std::process::id());
        let db = Self(std::env::temp_dir().join(name));
        db.remove();
        db
    }

    /// Removes the files there are; what an earlier process left counts as well.
    fn remove(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for TemporaryDb {
    fn drop(&mut self) {
        self.remove();
    }
}
