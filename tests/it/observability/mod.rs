//! Statistics, events and explanations of a cache, and the options that change at run time.

#[cfg(feature = "tracing")]
mod events;
mod explain;
#[cfg(feature = "inspector")]
mod inspector;
#[cfg(feature = "metrics")]
mod metrics;
mod policy_tables;
mod stats;
mod status_extension;
mod switches;
