//! The sources of a value that `get_or_set` accepts: a plain value, a closure or a future.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::{Future, Ready, ready};

/// A source of a value for [`Cache::get_or_set`](crate::cache::Cache::get_or_set): a plain value, a
/// closure that returns a value, a future, or a closure that returns a future.
///
/// A closure or future runs only if the value is absent. A closure that returns a plain value must
/// not block the thread for long.
///
/// `Marker` is one of four types, one for each kind of source. The compiler always infers the type.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn sum() -> u64 {
///     (1..=100).sum()
/// }
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let minute = Duration::from_secs(60);
/// let (plain, closure) = (cache.get_or_set("a", minute, 5050).await?, cache.get_or_set("b", minute, || 5050).await?);
/// let (future, function) = (cache.get_or_set("c", minute, sum()).await?, cache.get_or_set("d", minute, sum).await?);
/// assert_eq!([plain, closure, future, function], [5050_u64; 4]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a value nor a closure or a future that returns one",
    note = "a value implements `serde::Serialize` and `serde::de::DeserializeOwned`"
)]
pub trait IntoValue<Marker> {
    /// The value.
    type Value;
    /// The future of the value.
    type Future: Future<Output = Self::Value>;

    /// Returns the future that makes the value.
    fn into_value(self) -> Self::Future;
}

/// Marks a plain value as the source.
#[derive(Debug)]
pub enum ByValue {}

/// Marks a closure that returns a value as the source.
#[derive(Debug)]
pub enum ByClosure {}

/// Marks a future as the source.
#[derive(Debug)]
pub enum ByFuture {}

/// Marks a closure that returns a future as the source.
#[derive(Debug)]
pub enum ByAsyncClosure {}

impl<T: Serialize + DeserializeOwned> IntoValue<ByValue> for T {
    type Value = T;
    type Future = Ready<T>;

    fn into_value(self) -> Ready<T> {
        ready(self)
    }
}

impl<F, T> IntoValue<ByClosure> for F
where
    F: FnOnce() -> T,
    T: Serialize + DeserializeOwned,
{
    type Value = T;
    type Future = Ready<T>;

    fn into_value(self) -> Ready<T> {
        ready(self())
    }
}

impl<F: Future> IntoValue<ByFuture> for F {
    type Value = F::Output;
    type Future = F;

    fn into_value(self) -> F {
        self
    }
}

impl<F, Fut> IntoValue<ByAsyncClosure> for F
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    type Value = Fut::Output;
    type Future = Fut;

    fn into_value(self) -> Fut {
        self()
    }
}
