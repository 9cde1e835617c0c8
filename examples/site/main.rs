//! An ice-cream shop on SQLite, with a site-wide cache and a longer-lived cache for its slow page.
//!
//! The example shows what an application does for its cache:
//! 1. Add the layers around the routes, and declare which cookies count (this file).
//! 2. Mark the responses that belong to one visitor (`visitor.rs`).
//! 3. Name the pages that depend on a model (`Dependents` in `db.rs`).
//! 4. Invalidate these pages after a write is committed (`save` in `handlers.rs`).
//!
//! ```console
//! $ cargo run --release --example site
//! $ curl -i http://127.0.0.1:3000/flavours/vanilla
//! $ curl -i http://127.0.0.1:3000/report
//! $ curl -i -d name=Vanilla -d price=3.50 -d description=Dearer \
//!     http://127.0.0.1:3000/flavours/vanilla/edit
//! ```
//!
//! `README.md` in this directory is a walk-through with curl: hits, writes, preconditions,
//! dependencies, languages, sessions, stale pages, a policy table, metrics and the inspector. `--help`
//! lists the options.

mod args;
mod assets;
mod db;
mod forms;
mod handlers;
#[cfg(feature = "inspector")]
mod inspector;
mod pages;
mod policy_file;
#[cfg(feature = "metrics")]
mod prometheus;
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

/// The state of all handlers.
#[derive(Debug, Clone)]
struct Site {
    db: Db,
    cache: Option<Cache>,
}

/// Builds the application. Its layers, from the outermost to the innermost, are: conditional
/// requests, `AnonymousOnlyLayer`, site cache, sessions.
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
        .route("/style.css", get(assets::stylesheet))
        .route("/icon.svg", get(assets::icon))
        .fallback(handlers::not_found)
        .layer(from_fn(visitor::recognise))
        .layer(sessions);
    app = match &site.cache {
        Some(cache) => {
            let policy = policy()?.default_ttl(Duration::from_secs(600)).build()?;
            app.layer(SiteCacheLayer::new(cache).policy(policy))
        }
        // Pages depend on these fields. With a cache, the cache layer adds them to `Vary`, because
        // they are keyed.
        None => app.layer(AddVaryLayer::new(["Accept-Language", "Cookie"])?),
    };

    let anonymous = AnonymousOnlyLayer::builder()
        .credential_cookies([visitor::SESSION])
        .ignore_cookies(["_ga*"])
        .build()?;
    Ok(app.layer(anonymous).layer(ConditionalGetLayer::new()).with_state(site))
}

/// Returns the options of both cache layers. Each language has its own pages, and campaign
/// parameters do not enter the key. Stale pages are served during a background refresh and after an
/// error.
fn policy() -> Result<PolicyBuilder, ConfigError> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    Ok(Policy::app()
        .stale_while_revalidate(DAY)
        .stale_if_error(DAY)
        .refresh_without::<tower_sessions::Session>()
        .etags(true)
        // By default, a redirect after a POST invalidates its target. A login or logout changes no
        // stored page, and other writes invalidate the pages that they change.
        .invalidate_redirects(false)
        .cache_status(true)
        .query(QueryKey::without_tracking())
        .vary_by_part(KeyPart::language(["en", "de"])?)
        .vary_on_cookies([visitor::LANGUAGE]))
}

/// Serves one flavor of the API. A PUT needs the current version in `If-Match`: of two editors who
/// start from one version, the second gets a 412 before the handler runs. `PreconditionLayer` wraps
/// both methods together, because it compares `If-Match` with the `ETag` of a GET.
///
/// A PUT whose body never arrives blocks the next editor for at most five seconds, and is cut off
/// after a minute. A write that [`handlers::save`] has begun is committed even after that. If your
/// database can be that slow, also compare the version in the write itself.
fn one_flavour(site: Site) -> Router<Site> {
    let methods = get(handlers::api_one).put(handlers::api_replace).with_state(site);
    let condition = PreconditionLayer::by_get().require_precondition().hold_timeout(Duration::from_secs(5));
    let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60));
    Router::new().route_service("/api/flavours/{slug}", condition.layer(limit.layer(methods)))
}

/// Serves the forms and the pages of one visitor. No cache stores them.
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
    let cache = match (args.cache, args.redis) {
        (true, Some(url)) => Some(shared_cache(url).await?),
        (true, None) => Some(Cache::builder(MemoryStore::with_max_bytes(64 << 20)).top_paths(50).build()?),
        (false, _) => None,
    };
    let mut app = app(Db::open(path)?, cache.clone(), Duration::from_secs(args.ttl))?;
    if let Some(cache) = &cache {
        app = app.merge(operator_routes(cache, args.purge_secret)?);
        if let Some(path) = args.policy {
            policy_file::watch(cache.clone(), path)?;
        }
    }

    let address = listener.local_addr()?;
    if let Some(cache) = cache.as_ref().filter(|_| args.warm) {
        let pages = ["/", "/report", "/api/flavours"].map(|path| format!("http://{address}{path}").parse());
        let pages = pages.into_iter().collect::<Result<Vec<_>, _>>()?;
        let warmed = cache.warm(app.clone(), pages).await;
        println!("{} pages are in the cache.", warmed.cached());
    }
    println!("Listening on http://{address} until Ctrl-C. Try each of these twice:");
    println!("  curl -i http://{address}/flavours/vanilla");
    println!("  curl -i http://{address}/report");
    let fields = "-d name=Vanilla -d price=3.50 -d description=Dearer";
    println!("  curl -i {fields} http://{address}/flavours/vanilla/edit");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    if let Some(cache) = cache {
        // Waits for background refreshes.
        cache.shutdown().await;
    }
    Ok(())
}

/// Returns the routes for operators. They are outside the cache layers. A public shop serves them
/// on a separate listener.
fn operator_routes(cache: &Cache, purge_secret: Option<String>) -> Result<Router, Box<dyn Error>> {
    let mut routes = Router::new();
    if let Some(secret) = purge_secret {
        routes = routes.route_service("/purge", PurgeService::with_secret(cache, secret)?);
    }
    #[cfg(feature = "inspector")]
    {
        let (inspector, password) = inspector::routes(cache)?;
        routes = routes.merge(inspector);
        println!("The inspector is at /_cache. Its user is operator, and the password is {password}");
    }
    #[cfg(feature = "metrics")]
    {
        routes = routes.merge(prometheus::route(cache)?);
    }
    #[cfg(not(all(feature = "inspector", feature = "metrics")))]
    println!("With `--features inspector,metrics`, the shop also serves /_cache and /metrics.");
    Ok(routes)
}

/// Returns a cache that all processes with the same server share.
#[cfg(feature = "redis")]
async fn shared_cache(url: String) -> Result<Cache, Box<dyn Error>> {
    use tower_response_cache::store::RedisStore;
    Ok(Cache::new(RedisStore::connect(url).await?))
}

#[cfg(not(feature = "redis"))]
async fn shared_cache(_: String) -> Result<Cache, Box<dyn Error>> {
    Err("--redis needs the feature: cargo run --example site --features redis -- --redis …".into())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("can't wait for Ctrl-C: {error}");
    }
}

/// The path of a database that is removed on drop.
struct TemporaryDb(PathBuf);

impl TemporaryDb {
    fn new() -> Self {
        let name = format!("ice-cream-{}.sqlite", std::process::id());
        let db = Self(std::env::temp_dir().join(name));
        db.remove();
        db
    }

    /// Removes the files of the database, including files that an earlier process has left.
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
