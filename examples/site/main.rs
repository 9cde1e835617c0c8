//! An ice-cream shop on SQLite, with a site-wide cache and a longer-lived one for its slow page.
//!
//! It shows what an application has to do for a cache: put the layers around its routes, say which
//! cookies count, mark what is one visitor's own, say what depends on a thing (`Dependents` in `db.rs`), and
//! invalidate that once a write is committed (`save` in `handlers.rs`).
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
//! command changes the price; all pages that show it are made anew, in every language. `--help` lists the options.
//!
//! A change clears the pages that depend on it and no others: of a flavour its page and the lists, of a size the
//! flavours that come in it (the litre: `curl -d extra=12 http://127.0.0.1:3000/sizes/4`), of the notice the front
//! page that has read it (`curl -d text=Closed http://127.0.0.1:3000/notice`).
//!
//! A flavour's page is held for a year here, and yet always current in the browser, which is told
//! `max-age=0` and asks each time whether its copy still stands. Visitors who log in pass the cache by;
//! an analytics cookie (`-b _ga=1`) costs no hit; `-b lang=de` or `-H 'Accept-Language: de'` get a page
//! of their own.
//!
//! Once stale, a page is answered with at once and made anew in the background, and shown on while the
//! database is broken. Here the report is stale after a second:
//!
//! ```console
//! $ cargo run --example site -- --db /tmp/shop.sqlite --ttl 1 --warm
//! $ curl -i http://127.0.0.1:3000/report              # after a second: hit; ttl=-1; detail=stale
//! $ : > /tmp/shop.sqlite-wal; : > /tmp/shop.sqlite    # breaks the database
//! $ curl -i http://127.0.0.1:3000/report              # stale still, with its Age
//! ```
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
mod visitor;

use args::{Args, HELP};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use db::Db;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tower::Layer;
use tower_http::timeout::TimeoutLayer;
use tower_response_cache::cache_headers::AddVaryLayer;
use tower_response_cache::error::ConfigError;
use tower_response_cache::key::{KeyPart, QueryKey};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, ConditionalGetLayer, MemoryStore, NeverCacheLayer, Policy, PreconditionLayer,
    PurgeService, RouteCacheLayer, SiteCacheLayer,
};
use tower_sessions::SessionManagerLayer;

/// What all handlers share.
#[derive(Debug, Clone)]
struct Site {
    db: Db,
    cache: Option<Cache>,
}

/// The layers, from the outside in: conditional requests, `AnonymousOnlyLayer`, site cache, sessions, handlers.
fn app(db: Db, cache: Option<Cache>, ttl: Duration) -> Result<Router, ConfigError> {
    let site = Site { db, cache };
    let mut report = get(handlers::report);
    if let Some(cache) = &site.cache {
        report = report.layer(RouteCacheLayer::new(cache, ttl).policy(policy()?.build()?));
    }

    let sessions = SessionManagerLayer::new(tower_sessions::MemoryStore::default())
        .with_name(visitor::SESSION)
        .with_secure(false);
    let mut app = Router::new()
        .route("/", get(handlers::list))
        .route("/flavours/{slug}", get(handlers::detail))
        .route("/api/flavours", get(handlers::api))
        .merge(one_flavour(site.clone()))
        .route("/report", report)
        .merge(unshared())
        .fallback(handlers::not_found)
        .layer(from_fn(visitor::recognise))
        .layer(sessions);
    app = match &site.cache {
        Some(cache) => {
            let policy = policy()?.default_ttl(Duration::from_secs(600)).build()?;
            app.layer(SiteCacheLayer::new(cache).policy(policy))
        }
        // A cache emits what its pages are keyed by.
        None => app.layer(AddVaryLayer::new(["Accept-Language", "Cookie"])?),
    };

    let anonymous = AnonymousOnlyLayer::builder()
        .credential_cookies([visitor::SESSION])
        .ignore_cookies(["_ga*"])
        .build()?;
    Ok(app.layer(anonymous).layer(ConditionalGetLayer::new()).with_state(site))
}

/// What both caches go by: a page for each language, and none for each campaign that links to it. Nobody
/// waits for a page that is made anew, nor sees an error while there is an old one.
fn policy() -> Result<PolicyBuilder, ConfigError> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    Ok(Policy::app()
        .stale_while_revalidate(DAY)
        .stale_if_error(DAY)
        .refresh_without::<tower_sessions::Session>()
        .etags(true)
        // A login or logout changes no cached page; handlers name what a write changed.
        .invalidate_redirects(false)
        .cache_status(true)
        .query(QueryKey::without_tracking())
        .vary_by_part(KeyPart::language(["en", "de"])?)
        .vary_on_cookies([visitor::LANGUAGE]))
}

/// One flavour, read by anybody and replaced only by who has seen its current version: of two editors
/// who start from the same one, the second is told, before the handler runs. The layer wraps both methods
/// at once, since a write is compared with what a GET returns.
///
/// An editor whose request never arrives keeps another one waiting for five seconds at most, and ends after a minute.
/// What `save` has begun is committed nevertheless: where a database may be that slow, it has to compare versions, too.
fn one_flavour(site: Site) -> Router<Site> {
    let methods = get(handlers::api_one).put(handlers::api_replace).with_state(site);
    let condition = PreconditionLayer::by_get().require_precondition().hold_timeout(Duration::from_secs(5));
    let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60));
    Router::new().route_service("/api/flavours/{slug}", condition.layer(limit.layer(methods)))
}

/// The forms, and what belongs to one visitor: no cache keeps any of it.
fn unshared() -> Router<Site> {
    Router::new()
        .route("/flavours/new", get(handlers::new_form).post(handlers::add))
        .route("/flavours/{slug}/edit", get(handlers::edit_form).post(handlers::edit))
        .route("/sizes", get(handlers::sizes))
        .route("/sizes/{id}", post(handlers::save_size))
        .route("/notice", get(handlers::notice_form).post(handlers::notice))
        .route("/login", get(handlers::login_form).post(handlers::login))
        .route("/logout", post(handlers::logout))
        .route("/account", get(handlers::account))
        .route("/language/{code}", get(handlers::language))
        .layer(NeverCacheLayer::new())
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
    let cache = args.cache.then(|| Cache::new(MemoryStore::with_max_bytes(64 << 20)));
    let mut app = app(Db::open(path)?, cache.clone(), Duration::from_secs(args.ttl))?;
    if let (Some(cache), Some(secret)) = (&cache, args.purge_secret) {
        // Beside the layers. A shop that the public can reach would have it on a listener of its own.
        app = app.route_service("/purge", PurgeService::with_secret(cache, secret)?);
    }

    let address = listener.local_addr()?;
    if let Some(cache) = cache.as_ref().filter(|_| args.warm) {
        let pages = ["/", "/report", "/api/flavours"].map(|path| format!("http://{address}{path}").parse());
        let pages = pages.into_iter().collect::<Result<Vec<_>, _>>()?;
        let warmed = cache.warm(app.clone(), pages).await;
        println!("{} pages are in the cache.", warmed.cached());
    }
    println!("Listening on http://{address} until Ctrl-C. Worth trying, in turn and again:");
    println!("  curl -i http://{address}/flavours/vanilla");
    println!("  curl -i http://{address}/report");
    let fields = "-d name=Vanilla -d price=3.50 -d description=Dearer";
    println!("  curl -i {fields} http://{address}/flavours/vanilla/edit");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    if let Some(cache) = cache {
        // What is being made anew in the background.
        cache.shutdown().await;
    }
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
