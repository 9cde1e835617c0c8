//! The embedded store: keeps entries in the memory of this process, up to a capacity in bytes.

mod builder;
mod inner;
mod memory_store;
mod replicas;
mod slot;
mod turn;

pub use builder::MemoryStoreBuilder;
pub use memory_store::MemoryStore;
