//! Storage: the [`Store`] trait and the stores that come with the crate.

#[cfg(feature = "testing")]
pub mod contract;
mod future;
mod generations;
mod incarnation;
mod local;
mod memory;
mod null;
mod placement;
mod record;
mod store_trait;

pub use crate::entry::{Dependency, Entry, Generation, Scope};
pub(crate) use crate::error::{StoreError, StoreErrorKind};
pub use crate::key::cache_key::{CacheKey, KeyRef};
pub use future::StoreFuture;
pub use generations::{Generations, Strength, Validity};
pub use local::LocalGenerations;
pub use memory::{MemoryStore, MemoryStoreBuilder};
pub use null::NullStore;
pub(crate) use record::RecordGenerations;
pub use store_trait::{InitialCounter, PutMode, Store};
