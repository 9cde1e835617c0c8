//! How long a response is held fresh here.

use std::time::Duration;

/// How long this cache holds a response fresh.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Ttl;
///
/// assert_eq!(Ttl::from(Duration::from_secs(60)), Ttl::For(Duration::from_secs(60)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ttl {
    /// Nothing is said here: the next in the order of precedence decides.
    #[default]
    Default,
    /// For a time; zero, or less than a millisecond, is not at all.
    For(Duration),
    /// Until it is invalidated or evicted.
    Forever,
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::For(duration)
    }
}
