//! Statistics: counters of the requests of each layer, and totals of the cache.
//!
//! A layer counts a request in the shard of the current thread, so that threads do not contend for
//! a counter. A [`CacheStats`] is a snapshot of the sums over all shards.

mod cache_counters;
mod cache_stats;
mod layer_counters;
mod layer_names;
mod layer_stats;
#[cfg(feature = "metrics")]
mod metrics_task;
mod path_stats;
mod path_table;
#[cfg(feature = "metrics")]
mod published_metrics;
mod sharded_counters;
mod store_report;

pub(super) use cache_counters::CacheCounters;
pub use cache_stats::CacheStats;
#[cfg(feature = "tracing")]
pub(crate) use layer_counters::Mistake;
pub(crate) use layer_counters::{HitKind, LayerCounters};
pub(crate) use layer_names::LayerIdentity;
pub use layer_stats::LayerStats;
pub use path_stats::PathStats;
pub(crate) use path_stats::is_sampled;
pub(crate) use path_table::PathTable;
pub(crate) use store_report::StoreReport;
