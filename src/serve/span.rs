//! What is spawned keeps the span of the request that led to it.

use std::future::Future;

#[cfg(feature = "tracing")]
pub(in crate::serve) fn in_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(future)
}

#[cfg(not(feature = "tracing"))]
pub(in crate::serve) fn in_span<F: Future>(future: F) -> F {
    future
}
