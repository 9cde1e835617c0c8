//! Properties that hold for random input.

mod fetch_vs_invalidate;
mod fetch_vs_invalidate_threads;
mod random_failures;
mod random_requests;
mod soak;
