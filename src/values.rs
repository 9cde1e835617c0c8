//! The low-level cache: values, counters and computations of your own, and the pages that are made from them.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::{Cache, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let minute = Duration::from_secs(60);
//! let top: Vec<String> = cache.get_or_set("top", minute, || async { vec!["vanilla".to_owned()] }).await?;
//! assert_eq!(cache.get("top").await?, Some(top));
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. Concurrent `get_or_set` calls for one value in one process share one computation.
//! 2. A page or value depends on the values that it was made from: it is invalidated when they change.
//! 3. A value that can't be read as the requested type counts as absent, and an event reports it.
//!
//! # Caveats
//! Reads in a task that a handler spawns become no dependencies, unless the task is wrapped in
//! [`propagate_dependencies`].

pub use crate::cache::tracking::{WithDependencies, propagate_dependencies};
pub use crate::cache::values::{ComputeError, Fragment, IntoValue, SetItem, Value};
pub use crate::error::value::ValueError;
