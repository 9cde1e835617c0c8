//! The embedded store: bounded in bytes, inside the process, the default.

mod builder;
mod inner;
mod memory_store;
mod replicas;
mod slot;
mod turn;

pub use builder::MemoryStoreBuilder;
pub use memory_store::MemoryStore;
