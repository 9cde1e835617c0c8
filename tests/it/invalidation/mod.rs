//! Invalidation by scope, by a write, and over HTTP.

mod concurrent;
pub(crate) mod failures;
mod flights;
mod generations;
mod paths;
mod purge;
mod redirects;
mod rollback;
mod scopes;
mod soft;
mod tags;
mod writes;
