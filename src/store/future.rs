//! What store methods return: a value that is there already, or a boxed future.

use crate::error::StoreError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The future of a [`Store`](super::Store) method; a store inside the process allocates none.
///
/// # Example
/// ```
/// use tower_response_cache::store::StoreFuture;
///
/// let ready = StoreFuture::ready(Ok(1));
/// let later = StoreFuture::new(async { Ok(2) });
/// # let _ = (ready, later);
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct StoreFuture<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T, StoreError>>),
    Boxed(Boxed<T>),
}

// Nothing in it is pinned in place: the boxed future is pinned by its box.
impl<T> Unpin for StoreFuture<T> {}

impl<T> StoreFuture<T> {
    /// Wraps a future.
    pub fn new(future: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Self {
        Self(State::Boxed(Box::pin(future)))
    }

    /// Wraps a result that is there already.
    #[inline]
    pub fn ready(result: Result<T, StoreError>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// Waits for several at a time, and returns their results in order, or the first error among them.
    pub fn all(futures: Vec<Self>) -> StoreFuture<Vec<T>>
    where
        T: Send + 'static,
    {
        let is_ready = |future: &Self| matches!(future.0, State::Ready(_));
        if futures.iter().all(is_ready) {
            return StoreFuture::ready(futures.into_iter().filter_map(|future| future.now().ok()).collect());
        }
        StoreFuture::new(futures_util::future::try_join_all(futures))
    }

    /// Returns the result if it is there already, else the future that brings it.
    pub(crate) fn now(self) -> Result<Result<T, StoreError>, Self> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            state => Err(Self(state)),
        }
    }
}

impl<T> Future for StoreFuture<T> {
    type Output = Result<T, StoreError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                // Polled again after it was ready, which a future may answer with never.
                None => Poll::Pending,
            },
            State::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "StoreFuture::Ready",
            State::Boxed(_) => "StoreFuture::Boxed",
        })
    }
}
