//! How long a response is fresh, and what is served once it is stale.

mod client_lifetimes;
mod clocks;
mod directives;
mod hints;
mod lifetimes;
mod rfc9111;
mod stale;
mod warm;
