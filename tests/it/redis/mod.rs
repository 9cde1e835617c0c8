//! The store in Redis and Valkey, against real servers.

mod authentication;
mod cluster;
mod connecting;
mod contract;
mod faults;
mod memory_limits;
mod round_trips;
mod sentinels;
mod unreadable;
