//! How long a response is held fresh here.

use std::time::Duration;

/// How long this cache holds a response or a value fresh.
///
/// Arguments of type `impl Into<Ttl>` also take a [`Duration`], or an `Option<Duration>`: `None` is [`Ttl::Forever`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Ttl;
///
/// assert_eq!(Ttl::from(Duration::from_secs(60)), Ttl::For(Duration::from_secs(60)));
/// assert_eq!(Ttl::from(None), Ttl::Forever);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive] // Later versions may add kinds of lifetimes.
pub enum Ttl {
    /// No TTL of its own: the next setting in the order of precedence applies. For values, that is
    /// [`CacheBuilder::value_ttl`](crate::cache::CacheBuilder::value_ttl).
    #[default]
    Default,
    /// A fixed time. Zero stores nothing. Less than a millisecond counts as zero for responses, as a millisecond
    /// for values.
    For(Duration),
    /// Until it is invalidated or evicted.
    Forever,
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::For(duration)
    }
}

/// `None` is [`Ttl::Forever`].
impl From<Option<Duration>> for Ttl {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Forever, Self::For)
    }
}
