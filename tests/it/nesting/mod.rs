//! Layers inside of other layers.

mod admission;
mod cache_headers;
mod held_responses;
mod layers;
mod marks;
#[cfg(feature = "axum")]
mod orders;
mod readiness;
#[cfg(feature = "axum")]
mod servers;
#[cfg(feature = "axum")]
mod tower_http;
