//! HTTP's caching rules as pure functions (RFC 9110, RFC 9111): no I/O, no clock, no store.

pub(crate) mod accept;
pub(crate) mod cache_control;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod date;
pub(crate) mod entity_tag;
pub(crate) mod exchange_fields;
pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod list;
pub(crate) mod method;
pub(crate) mod patch;
pub(crate) mod preconditions;
pub(crate) mod range;
pub(crate) mod selection;
pub(crate) mod stale;
pub(crate) mod storability;
pub(crate) mod strip;
pub(crate) mod targeted;
pub(crate) mod update;
pub(crate) mod vary;

#[cfg(test)]
mod samples;
