//! Spawned tasks keep the tracing span of the request that started them.

use std::future::Future;

/// Attaches the current span to a future.
#[cfg(feature = "tracing")]
pub(in crate::serve) fn in_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(future)
}

/// Returns the future unchanged: there are no spans without the `tracing` feature.
#[cfg(not(feature = "tracing"))]
pub(in crate::serve) fn in_span<F: Future>(future: F) -> F {
    future
}
