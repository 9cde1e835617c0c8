//! The integration tests: one binary, a module per area.

mod architecture;
mod bodies;
mod collapse;
mod condition;
mod conditional;
mod cookies;
mod hints;
mod hostile;
mod invalidation;
mod keys;
mod layers;
mod lifetimes;
mod model;
mod patching;
mod readiness;
mod revalidation;
#[cfg(feature = "axum")]
mod servers;
mod sharing;
mod stores;
mod support;
mod variants;
