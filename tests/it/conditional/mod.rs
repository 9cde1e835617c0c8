//! Preconditions of clients, and the layers that evaluate them.

mod lost_updates;
mod precondition_limits;
mod preconditions;
mod semantics;
mod validators;
mod weak_tags;
