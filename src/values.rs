//! The low-level cache: values, counters and fragments that the application stores by key.
//!
//! Pages and values become dependents of the values that they read. If such a value changes, the
//! cache invalidates its dependents.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::{Cache, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let minute = Duration::from_secs(60);
//! let compute = || async { vec!["vanilla".to_owned(), "pistachio".to_owned()] };
//! let top: Vec<String> = cache.get_or_set("top", minute, compute).await?;
//! assert_eq!(cache.get("top").await?, Some(top));
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. Concurrent [`get_or_set`](crate::Cache::get_or_set) calls for one value in one process share
//!    one computation. A follower waits for the leader for up to ten seconds.
//! 2. A page or value depends on every value that was read while it was made. It expires no later
//!    than any of these values. It is invalidated if one of them is set, deleted or invalidated.
//! 3. A value that was deleted, set or invalidated during its computation is returned, but not
//!    stored.
//! 4. Values are stored as MessagePack with named fields. A value that can't be read as the
//!    requested type counts as absent; an event reports it (feature `tracing`).
//! 5. If the store fails, reads and writes return the error. `get_or_set` computes the value
//!    instead.
//! 6. Changes of a counter invalidate nothing: no page depends on a counter.
//!
//! # Caveats
//! - Reads in a task that a handler spawns become dependencies only if the task is wrapped in
//!   [`propagate_dependencies`].
//! - A page or value with more than 1,024 dependencies, or with one in another namespace, is not
//!   stored.
//! - The types of values must implement `serde::Serialize` and `serde::de::DeserializeOwned`.

pub use crate::cache::tracking::{WithDependencies, propagate_dependencies};
pub use crate::cache::values::{ComputeError, Fragment, IntoValue, SetItem, Value};
pub use crate::error::value::ValueError;
