//! The caching rules of HTTP as pure functions (RFC 9110, RFC 9111).
//!
//! The functions use no store and no I/O, with two exceptions. The parser of dates reads the clock,
//! to find the century of a year with two digits (RFC 9110 section 5.6.7). The boundary of a
//! multipart response is random.

pub(crate) mod accept;
pub(crate) mod accept_encoding;
pub(crate) mod by_length;
pub(crate) mod cache_control;
pub(crate) mod client;
pub(crate) mod control;
mod control_parser;
pub(crate) mod date;
mod directive;
pub(crate) mod entity_tag;
pub(crate) mod exchange_fields;
pub(crate) mod frequent_fields;
pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod list;
pub(crate) mod method;
pub(crate) mod patch;
pub(crate) mod percent;
pub(crate) mod position_index;
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
