//! The store in Redis and Valkey, against real servers.

mod authentication;
mod cluster;
mod cluster_fail_over;
mod confirmations;
mod connecting;
mod contract;
#[cfg(feature = "tracing")]
mod eviction_policies;
mod faults;
mod memory_limits;
mod messages;
mod network;
mod permissions;
mod read_batches;
mod round_trips;
mod runtimes;
mod sentinels;
#[cfg(feature = "redis-rustls")]
mod tls;
mod unreadable;
mod untrusted_server;
mod values;
