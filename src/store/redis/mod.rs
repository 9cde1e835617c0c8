//! A store in Redis or Valkey, and the invalidations in it.

mod builder;
mod cluster_connection;
mod confirmation;
mod connect;
mod error_message;
mod eviction;
mod frame_compression;
mod generations;
mod inner;
mod link;
mod namespace;
mod operations;
mod read_batch;
mod read_queue;
mod recent_entries;
mod reconnect;
mod record_client;
mod record_reply;
mod redis_store;
mod script;
mod tls;
mod value;

pub use builder::RedisStoreBuilder;
pub use redis_store::RedisStore;
