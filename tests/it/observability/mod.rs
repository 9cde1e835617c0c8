//! What the cache shows of its decisions, and what changes them at run time.

#[cfg(feature = "tracing")]
mod events;
mod explain;
#[cfg(feature = "metrics")]
mod metrics;
mod policy_tables;
mod stats;
mod status_extension;
mod switches;
