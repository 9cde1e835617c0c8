//! Stores and their entries.

mod bodies;
pub(crate) mod contract;
#[cfg(feature = "testing")]
mod contract_kit;
mod hits;
mod namespaces;
mod null_store;
mod reentrant;
#[cfg(feature = "testing")]
mod resilience;
mod thread_copies;
pub(crate) mod unlocked;
mod wait_idle;
