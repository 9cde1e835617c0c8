//! Conditional requests that the cache sends, and the effects of their responses.

mod freshening;
mod head;
mod late_responses;
mod mismatches;
mod not_modified;
mod unkeyed_fields;
mod without_background;
