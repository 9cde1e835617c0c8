//! Stores, and what they hold.

mod bodies;
pub(crate) mod contract;
mod namespaces;
mod null_store;
mod reentrant;
mod thread_copies;
pub(crate) mod unlocked;
