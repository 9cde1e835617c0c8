//! Invalidation on request, for scripts and back ends.
//!
//! # Example
//! ```
//! use tower_response_cache::{Cache, MemoryStore, PurgeService};
//!
//! let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
//! let service = PurgeService::with_secret(&cache, "a-long-random-secret")?;
//! # let _ = service;
//! # Ok::<_, tower_response_cache::error::ConfigError>(())
//! ```
//!
//! # Rules
//! 1. A request without the secret, or rejected by the predicate, learns nothing and invalidates nothing.
//! 2. The response is sent once the invalidation has taken effect.
//!
//! # Where the service belongs
//! On a path or a port that clients of the site do not reach.

pub use crate::layer::PurgeService;
