//! The freshness lifetime of a response or a value in this cache.

use std::time::Duration;

/// How long a response or a value is fresh in this cache.
///
/// Arguments of type `impl Into<Ttl>` also take a [`Duration`] or an `Option<Duration>`; `None` is
/// [`Ttl::Forever`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Ttl;
///
/// assert_eq!(Ttl::from(Duration::from_secs(60)), Ttl::For(Duration::from_secs(60)));
/// assert_eq!(Ttl::from(None), Ttl::Forever);
/// ```
#[doc(alias = "timeout")]
#[doc(alias = "lifetime")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive] // Later versions may add kinds of lifetimes.
pub enum Ttl {
    /// Sets no TTL: the next source applies. For a response, see
    /// [Lifetimes](crate::docs::lifetimes#which-lifetime-counts). For a value, the next source is
    /// [`CacheBuilder::value_ttl`](crate::cache::CacheBuilder::value_ttl).
    #[default]
    Default,
    /// A fixed time. With zero, nothing is stored. Less than a millisecond counts as zero for
    /// responses, and as a millisecond for values.
    For(Duration),
    /// No expiry: the entry stays until it is invalidated or evicted.
    Forever,
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::For(duration)
    }
}

/// Converts `None` to [`Ttl::Forever`].
impl From<Option<Duration>> for Ttl {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Forever, Self::For)
    }
}
