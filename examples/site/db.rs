//! The shop's database: flavors, their sizes, and orders.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tower_response_cache::invalidation::Dependents;
use tower_response_cache::precondition::EntityTag;

const CONNECTIONS: usize = 4;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Serialize)]
pub(crate) struct Flavour {
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price_cents: u32,
}

impl Flavour {
    /// Returns the entity tag of this version. It changes with every column.
    pub(crate) fn version(&self) -> EntityTag {
        let Self { slug, name, description, price_cents } = self;
        EntityTag::strong(format!("{slug:?} {name:?} {description:?} {price_cents}"))
    }
}

/// The pages that depend on a flavor: its own, and the lists.
impl Dependents for Flavour {
    fn paths(&self) -> Vec<String> {
        vec![format!("/flavours/{}", self.slug), format!("/api/flavours/{}", self.slug)]
    }

    fn tags(&self) -> Vec<String> {
        vec!["flavours".to_owned()]
    }
}

#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// From `flavour_with_sizes`, the price of a flavor in this size. From `sizes`, the extra price
    /// compared with the smallest size.
    pub(crate) price_cents: u32,
}

impl Size {
    /// Returns the tag of the pages that show the price of a flavor in this size.
    pub(crate) fn tag(&self) -> String {
        format!("size:{}", self.id)
    }
}

impl Dependents for Size {
    fn tags(&self) -> Vec<String> {
        vec![self.tag(), "sales".to_owned()]
    }
}

/// One line of the report.
#[derive(Debug)]
pub(crate) struct Sales {
    pub(crate) flavour: String,
    pub(crate) orders: u32,
    pub(crate) portions: u32,
    pub(crate) revenue_cents: i64,
}

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Db(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Db {
    /// Opens a database. Creates the tables and rows of a new database.
    pub(crate) fn open(path: PathBuf) -> rusqlite::Result<Self> {
        let mut connection = connect(&path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        fill(&mut connection)?;
        Ok(Self(Arc::new(Pool {
            path,
            idle: Mutex::new(vec![connection]),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
        })))
    }

    pub(crate) async fn flavours(&self) -> Result<Vec<Flavour>> {
        self.run(|connection| {
            connection
                .prepare_cached("SELECT slug, name, description, price_cents FROM flavours ORDER BY name")?
                .query_map([], read_flavour)?
                .collect()
        })
        .await
    }

    pub(crate) async fn flavour(&self, slug: String) -> Result<Option<Flavour>> {
        self.run(move |connection| find(connection, &slug)).await
    }

    /// Returns a flavor and its sizes from one snapshot.
    pub(crate) async fn flavour_with_sizes(&self, slug: String) -> Result<Option<(Flavour, Vec<Size>)>> {
        self.run(move |connection| {
            let snapshot = connection.transaction()?;
            let Some(flavour) = find(&snapshot, &slug)? else {
                return Ok(None);
            };
            let sizes = sizes_of(&snapshot, &slug)?;
            Ok(Some((flavour, sizes)))
        })
        .await
    }

    /// Adds a flavor in every size. Returns the flavor, or `None` if its slug is taken.
    pub(crate) async fn add(&self, flavour: Flavour) -> Result<Option<Flavour>> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let added = transaction.execute(
                "INSERT INTO flavours (slug, name, description, price_cents)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (slug) DO NOTHING",
                params![flavour.slug, flavour.name, flavour.description, flavour.price_cents],
            )?;
            if added == 0 {
                return Ok(None);
            }
            transaction.execute(
                "INSERT INTO flavour_sizes (flavour_id, size_id) SELECT ?1, id FROM sizes",
                [transaction.last_insert_rowid()],
            )?;
            transaction.commit()?;
            Ok(Some(flavour))
        })
        .await
    }

    /// Changes all columns of a flavor except its slug. Returns the flavor, or `None` if it does
    /// not exist.
    pub(crate) async fn update(&self, flavour: Flavour) -> Result<Option<Flavour>> {
        self.run(move |connection| {
            let changed = connection.execute(
                "UPDATE flavours SET name = ?2, description = ?3, price_cents = ?4 WHERE slug = ?1",
                params![flavour.slug, flavour.name, flavour.description, flavour.price_cents],
            )?;
            Ok((changed > 0).then_some(flavour))
        })
        .await
    }

    /// Returns the sizes with their extra prices.
    pub(crate) async fn sizes(&self) -> Result<Vec<Size>> {
        self.run(|connection| {
            connection
                .prepare_cached("SELECT id, name, extra_cents FROM sizes ORDER BY id")?
                .query_map([], read_size)?
                .collect()
        })
        .await
    }

    /// Changes the extra price of a size. Returns the size, or `None` if the size does not exist.
    pub(crate) async fn update_size(&self, id: u32, extra_cents: u32) -> Result<Option<Size>> {
        self.run(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE sizes SET extra_cents = ?2 WHERE id = ?1 RETURNING id, name, extra_cents",
                )?
                .query_row([id, extra_cents], read_size)
                .optional()
        })
        .await
    }

    /// Sums up all orders. This is slow, and worth a cache.
    pub(crate) async fn sales(&self) -> Result<Vec<Sales>> {
        self.run(|connection| {
            connection
                .prepare_cached(
                    "SELECT f.name, count(o.id), sum(o.quantity),
                            sum(o.quantity * (f.price_cents + s.extra_cents)) AS revenue
                     FROM orders o
                     JOIN flavours f ON f.id = o.flavour_id
                     JOIN sizes s ON s.id = o.size_id
                     GROUP BY f.id ORDER BY revenue DESC",
                )?
                .query_map([], read_sales)?
                .collect()
        })
        .await
    }

    /// Runs a query on a thread that may block, with a connection from the pool.
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let pool = Arc::clone(&self.0);
        let permit = Arc::clone(&pool.permits).acquire_owned().await?;
        let result = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = pool.take()?;
            let result = query(&mut connection);
            pool.idle().push(connection);
            result
        });
        Ok(result.await??)
    }
}

impl Pool {
    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle().pop();
        idle.map_or_else(|| connect(&self.path), Ok)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection with a minimal page cache, so that the example shows the effect of the
/// response cache.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "cache_size", 8)?;
    Ok(connection)
}

/// Creates the tables and their rows, unless an earlier run has created them.
fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "user_version", 1)?;
    }
    transaction.commit()
}

fn find(connection: &Connection, slug: &str) -> rusqlite::Result<Option<Flavour>> {
    connection
        .prepare_cached("SELECT slug, name, description, price_cents FROM flavours WHERE slug = ?1")?
        .query_row([slug], read_flavour)
        .optional()
}

fn sizes_of(connection: &Connection, slug: &str) -> rusqlite::Result<Vec<Size>> {
    connection
        .prepare_cached(
            "SELECT s.id, s.name, f.price_cents + s.extra_cents
             FROM flavours f
             JOIN flavour_sizes fs ON fs.flavour_id = f.id
             JOIN sizes s ON s.id = fs.size_id
             WHERE f.slug = ?1 ORDER BY s.id",
        )?
        .query_map([slug], read_size)?
        .collect()
}

fn read_flavour(row: &Row<'_>) -> rusqlite::Result<Flavour> {
    Ok(Flavour { slug: row.get(0)?, name: row.get(1)?, description: row.get(2)?, price_cents: row.get(3)? })
}

fn read_size(row: &Row<'_>) -> rusqlite::Result<Size> {
    Ok(Size { id: row.get(0)?, name: row.get(1)?, price_cents: row.get(2)? })
}

fn read_sales(row: &Row<'_>) -> rusqlite::Result<Sales> {
    Ok(Sales { flavour: row.get(0)?, orders: row.get(1)?, portions: row.get(2)?, revenue_cents: row.get(3)? })
}
