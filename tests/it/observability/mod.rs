//! What the cache shows of its decisions, and what changes them at run time.

mod explain;
mod policy_tables;
mod stats;
mod status_extension;
mod switches;
