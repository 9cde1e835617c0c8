//! A borrowed request head, which predicates and key parts receive.

use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

/// A borrowed request head: a request without its body.
///
/// The functions that a policy calls receive it: see
/// [`bypass_if`](crate::policy::PolicyBuilder::bypass_if) and
/// [`vary_by`](crate::policy::PolicyBuilder::vary_by). It has the fields of
/// [`http::request::Parts`].
///
/// # Example
/// ```
/// use tower_response_cache::key::RequestHead;
///
/// let request = http::Request::get("/admin/users").body(())?;
/// let head = RequestHead::from(&request);
/// assert!(head.uri.path().starts_with("/admin/"));
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive] // Later versions may pass more of a request.
pub struct RequestHead<'a> {
    /// The request method.
    pub method: &'a Method,
    /// The target as this layer sees it. An outer router may have stripped a prefix.
    pub uri: &'a Uri,
    /// The HTTP version.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The extensions that the server and outer layers have added.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    #[inline]
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'a> From<&'a Parts> for RequestHead<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}
