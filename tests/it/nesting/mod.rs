//! Layers inside other layers.

mod admission;
mod auto_traits;
mod cache_headers;
mod header_functions;
mod held_responses;
#[cfg(feature = "axum")]
mod layer_orders;
mod layers;
mod marks;
mod readiness;
#[cfg(feature = "axum")]
mod servers;
mod services;
#[cfg(feature = "axum")]
mod tower_http;
