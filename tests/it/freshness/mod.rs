//! Freshness lifetimes, stale responses, and the time that both depend on.

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
