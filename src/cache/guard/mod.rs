//! The guard of a store outside the process. It applies time limits and a circuit breaker to the
//! operations of a cache, and keeps the invalidations that the store has not confirmed.
//!
//! ```text
//! operation ──▶ circuit closed? ──▶ store, within the time limit ──▶ result
//!                  │ no                  │ failure, time-out
//!                  ▼                     ▼
//!             CircuitOpen           counted by the circuit
//!
//! invalidation without confirmation ──▶ undelivered ──▶ retried by a task until the store confirms it
//!                                           └─ meanwhile, look-ups of this process apply it
//! ```

mod breaker;
mod delivery;
mod delivery_attempt;
mod delivery_claim;
mod generations;
mod hidden_entries;
mod store;
mod store_guard;
mod undelivered;

pub use breaker::CircuitState;
pub use delivery::Delivery;
pub(super) use hidden_entries::HiddenEntries;
pub(super) use store_guard::{GuardedOperation, StoreGuard, StoreLimits};
pub(super) use undelivered::QueuePosition;

use self::generations::GuardedGenerations;
use self::store::GuardedStore;
use crate::store::{Generations, Store};
use std::sync::Arc;

/// Returns the store behind its guard. A store inside the process needs no guard.
pub(super) fn guarded_store(guard: &Arc<StoreGuard>) -> Arc<dyn Store> {
    match guard.is_local() {
        true => Arc::clone(guard.unguarded()),
        false => Arc::new(GuardedStore::new(guard)),
    }
}

/// Returns the generations of a namespace behind the guard of their store. The generations of a
/// store inside the process need no guard.
pub(super) fn guarded_generations(
    guard: &Arc<StoreGuard>,
    generations: &Arc<dyn Generations>,
) -> Arc<dyn Generations> {
    match guard.is_local() {
        true => Arc::clone(generations),
        false => Arc::new(GuardedGenerations::new(Arc::clone(generations), guard)),
    }
}
