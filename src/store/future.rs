//! The future type of store methods: a ready result, or a boxed future.

use crate::error::StoreError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The future of a [`Store`](super::Store) method: a ready result, or a boxed future.
///
/// A store inside the process returns [`ready`](Self::ready) results, which allocate nothing. A
/// store that waits for a backend returns a boxed future, created by [`new`](Self::new). Store
/// methods borrow their arguments, but the future must not borrow them: copy keys into the future.
///
/// # Example
/// ```
/// use tower_response_cache::store::StoreFuture;
///
/// # futures::executor::block_on(async {
/// let ready = StoreFuture::ready(Ok(1));
/// let later = StoreFuture::new(async { Ok(2) });
/// assert_eq!(StoreFuture::all(vec![ready, later]).await?, [1, 2]);
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct StoreFuture<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T, StoreError>>),
    Boxed(Boxed<T>),
}

// A move of a `StoreFuture` does not move the boxed future, which the box pins.
impl<T> Unpin for StoreFuture<T> {}

impl<T> StoreFuture<T> {
    /// Boxes a future.
    pub fn new(future: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Self {
        Self(State::Boxed(Box::pin(future)))
    }

    /// Wraps a ready result, without an allocation.
    #[inline]
    pub fn ready(result: Result<T, StoreError>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// Awaits several futures concurrently.
    ///
    /// Returns the values in the order of the futures, or the first error. After an error, the
    /// other futures are dropped.
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

    /// Returns the result if it is ready. Otherwise returns the future unchanged, as `Err`.
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
                // A poll after the completion. `Future` permits any result.
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
