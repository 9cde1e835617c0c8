//! The embedded store: keeps entries in the memory of this process, up to a capacity in bytes.

mod builder;
mod inner;
mod key_write_lock;
mod memory_store;
mod replicas;
mod slot;

pub use builder::MemoryStoreBuilder;
pub use memory_store::MemoryStore;
