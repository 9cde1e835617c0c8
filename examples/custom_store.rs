//! A `Store` over SQLite: how to write a store, verify it, and cache responses in it.
//!
//! Run it with `cargo run --example custom_store --features testing`.

use axum::{Router, body::Body, body::to_bytes, routing::get};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::spawn_blocking;
use tower::ServiceExt;
use tower_response_cache::clock::Clock;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::store::StoreFuture;
use tower_response_cache::store::contract::Contract;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode};
use tower_response_cache::{Cache, Policy, SiteCacheLayer, Store};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, entry BLOB, expires INTEGER);
    CREATE INDEX IF NOT EXISTS by_expiry ON entries (expires) WHERE expires IS NOT NULL";
const LIVE: &str = "SELECT entry, expires FROM entries WHERE key = ?1 AND (expires IS NULL OR expires > ?2)";
const CLEAR: &str = "DELETE FROM entries WHERE key = ?1 OR expires <= ?2";
const INSERT: &str = "INSERT INTO entries (key, entry, expires) VALUES (?1, ?2, ?3)";

/// A database of entries, which several processes may open. Nothing but expiry limits its size.
#[derive(Debug, Clone)]
struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    clock: Clock,
}

/// An entry and the time of its expiry, in milliseconds since 1970. `None` means that it never
/// expires.
type Row = (Entry, Option<i64>);

/// The change that an operation makes to a row.
enum Change {
    Leave,
    To(Option<Row>),
}

impl SqliteStore {
    fn open(path: &std::path::Path, clock: Clock) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), clock })
    }

    /// Calls `work` with the unexpired row of a key, if there is one, and with the current time.
    /// Then applies the change that `work` returns.
    ///
    /// The look-up, `work` and the change run in one transaction, on a thread that may block.
    fn row<T: Send + 'static>(
        &self,
        key: KeyRef<'_>,
        work: impl FnOnce(Option<Row>, i64) -> (Result<T, StoreErrorKind>, Change) + Send + 'static,
    ) -> StoreFuture<T> {
        let (Self { connection, clock }, key) = (self.clone(), key.as_bytes().to_vec());
        let transact = move || -> rusqlite::Result<_> {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let alone = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let now = clock.wall().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?));
            let found = alone.query_row(LIVE, params![key, now], read).optional()?;
            // A row that can't be decoded counts as absent. Another version of the crate may have
            // written it.
            let row = found.and_then(|(frame, at)| Some((Entry::decode(frame, &clock).ok()?, at)));
            let (answer, change) = work(row, now);
            let Change::To(new) = change else { return Ok(answer) };
            alone.execute(CLEAR, params![key, now])?;
            let insert = |(entry, at): Row| alone.execute(INSERT, params![key, &*entry.encode(&clock), at]);
            let written = new.map_or(Ok(0), insert);
            // If the insert fails, the transaction still commits the removal of the previous entry.
            alone.commit()?;
            written.map(|_| answer)
        };
        StoreFuture::new(async move {
            spawn_blocking(transact).await.map_err(down)?.map_err(down)?.map_err(StoreError::new)
        })
    }
}

impl Store for SqliteStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.row(key, |row, _| (Ok(row.map(|(entry, _)| entry)), Change::Leave))
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.row(key, move |row, now| match mode {
            PutMode::IfAbsent if row.is_some() => (Ok(false), Change::Leave),
            _ => (Ok(ttl != Some(Duration::ZERO)), Change::To(lasting(entry, ttl, now))),
        })
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.row(key, |row, _| (Ok(row.is_some()), Change::To(None)))
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.row(key, move |row, now| {
            let (value, expires) = match (row, initial) {
                (Some((entry, expires)), _) => match entry.as_counter() {
                    Some(value) => (value, expires),
                    None => return (Err(StoreErrorKind::NotANumber), Change::Leave),
                },
                (None, Some(initial)) => (initial.value(), expiry(initial.ttl(), now)),
                (None, None) => return (Err(StoreErrorKind::Missing), Change::Leave),
            };
            match value.checked_add(delta) {
                Some(value) => (Ok(value), Change::To(Some((Entry::counter(value), expires)))),
                None => (Err(StoreErrorKind::Overflow), Change::Leave),
            }
        })
    }

    #[rustfmt::skip]
    fn compare_and_set(
        &self, key: KeyRef<'_>, expected: Option<&Entry>, new: Entry, ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let expected = expected.cloned();
        self.row(key, move |row, now| match row.map(|(entry, _)| entry) == expected {
            true => (Ok(true), Change::To(lasting(new, ttl, now))),
            false => (Ok(false), Change::Leave),
        })
    }
}

/// Returns the row to store for an entry, or `None` if the TTL is zero.
fn lasting(entry: Entry, ttl: Option<Duration>, now: i64) -> Option<Row> {
    (ttl != Some(Duration::ZERO)).then(|| (entry, expiry(ttl, now)))
}

fn expiry(ttl: Option<Duration>, now: i64) -> Option<i64> {
    ttl.map(|ttl| now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)))
}

fn down(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_source(error)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::temp_dir().join(format!("custom-store-{}.sqlite", std::process::id()));
    let ((clock, manual), path) = (Clock::manual(), file.clone());
    let open = move || SqliteStore::open(&path, clock.clone()).expect("a folder to write to");
    Contract::new(open()).time(move |by| manual.advance(by)).restart(open).verify().await;
    println!("The store keeps the contract.");
    for what in ["first", "second, after a restart"] {
        let cache = Cache::new(SqliteStore::open(&file, Clock::system())?);
        let policy = Policy::app().default_ttl(Duration::from_secs(60)).cache_status(true);
        let layer = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy"));
        let app = Router::new().route("/", get(async || "vanilla")).layer(layer);
        let response = app.oneshot(http::Request::new(Body::empty())).await?;
        println!("{what}: {}", response.headers()["cache-status"].to_str()?);
        to_bytes(response.into_body(), usize::MAX).await?;
        cache.shutdown().await;
    }
    Ok(std::fs::remove_file(&file)?)
}
