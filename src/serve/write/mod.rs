//! Writes: requests with unsafe methods, and their invalidations.

mod post;
mod reference;
mod unsafe_method;
mod written;

pub(super) use unsafe_method::forward;
