//! Conditional requests of the cache, and what their answers change.

pub(crate) mod corners;
mod freshening;
mod mismatches;
mod not_modified;
mod overtaking;
mod provoked;
mod unconfirmed;
