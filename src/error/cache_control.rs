//! A `Cache-Control` that can't be read.

use std::error::Error as StdError;
use std::fmt;

/// The error of a `Cache-Control` that can't be parsed, with the invalid element.
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

    /// Returns the invalid element, the text between two commas.
    #[must_use]
    pub fn element(&self) -> &str {
        &self.element
    }
}

impl fmt::Display for CacheControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a `Cache-Control` directive: {:?}", self.element)
    }
}

impl StdError for CacheControlError {}
