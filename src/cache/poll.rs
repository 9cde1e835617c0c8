//! Futures over a store inside the process, which never wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Returns what a future is ready with at its first poll, without a box or a task.
///
/// For futures over a store inside the process, which never wait. Taken by reference, since they
/// are too large to be moved for nothing.
pub(crate) fn poll_now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
