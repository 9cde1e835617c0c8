//! Range requests: answered from the cache, and forwarded.

mod hits;
mod misses;
