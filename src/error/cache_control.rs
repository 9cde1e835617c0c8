//! The error for an unparsable `Cache-Control`.

use std::error::Error as StdError;
use std::fmt;

/// The error for a [`CacheControl`](crate::cache_headers::CacheControl) that cannot be parsed.
///
/// It holds the invalid element of the list. Fix that element, or set the directive with a method
/// of `CacheControl` instead.
///
/// # Example
/// ```
/// use tower_response_cache::cache_headers::CacheControl;
///
/// let error = "public, max-age=soon".parse::<CacheControl>().unwrap_err();
/// assert_eq!(error.element(), "max-age=soon");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheControlError {
    element: String,
}

impl CacheControlError {
    pub(crate) fn new(element: &[u8]) -> Self {
        Self { element: String::from_utf8_lossy(element).into_owned() }
    }

    /// Returns the invalid element: the text between two commas of the list.
    #[must_use]
    pub fn element(&self) -> &str {
        &self.element
    }
}

impl fmt::Display for CacheControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid `Cache-Control` directive: {:?}", self.element)
    }
}

impl StdError for CacheControlError {}
