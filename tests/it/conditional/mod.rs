//! Preconditions (RFC 9110 section 13), on hits and in the layers that evaluate them.

mod lost_updates;
mod malformed_validators;
mod precondition_limits;
mod preconditions;
mod stored_responses;
mod validators;
mod weak_tags;
