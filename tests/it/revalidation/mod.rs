//! Conditional requests of the cache, and what their answers change.

mod freshening;
mod head;
mod late_responses;
mod mismatches;
mod not_modified;
mod unkeyed_fields;
mod without_background;
