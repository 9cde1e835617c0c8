//! How long a response is fresh, and what is served once it is stale.

mod client_lifetimes;
mod clocks;
mod directives;
mod heuristic;
mod hints;
mod lifetimes;
mod only_if_cached;
mod request_directives;
mod stale;
mod warm_up;
