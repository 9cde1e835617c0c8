//! Implementations of axum's traits for types of this crate.

use crate::cache::{Cache, InvalidateOnSuccess};
use crate::marks::{Identified, write_identified, write_never};
use crate::policy::CacheHints;
use axum::extract::{FromRef, FromRequestParts};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::request::Parts;
use std::convert::Infallible;

/// Adds the hints to a response, as [`CacheHints::add_to_response`] does.
impl IntoResponseParts for CacheHints {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if self.never {
            write_never(parts.headers_mut());
        }
        self.add_to(parts.extensions_mut());
        Ok(parts)
    }
}

/// Creates an empty response with the hints.
impl IntoResponse for CacheHints {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// Adds the invalidation to a response, as [`InvalidateOnSuccess::add_to`] does.
impl IntoResponseParts for InvalidateOnSuccess {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        self.add_to(parts.extensions_mut());
        Ok(parts)
    }
}

/// Adds the mark to a response, as [`Identified::add_to_response`] does.
impl IntoResponseParts for Identified {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        write_identified(parts.headers_mut());
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Lets a handler take the cache as an argument, if the state of its router is a [`Cache`] or
/// contains one.
///
/// # Example
/// ```
/// use axum::{Router, extract::{FromRef, Path}, routing::put};
/// use tower_response_cache::{Cache, Invalidation, MemoryStore};
///
/// #[derive(Clone, FromRef)]
/// struct Shop {
///     cache: Cache,
/// }
///
/// async fn save(cache: Cache, Path(slug): Path<String>) {
///     let _ = cache.invalidate(Invalidation::path(format!("/flavors/{slug}"))).await;
/// }
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let app: Router = Router::new().route("/api/flavors/{slug}", put(save)).with_state(Shop { cache });
/// ```
impl<S> FromRequestParts<S> for Cache
where
    S: Send + Sync,
    Self: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_ref(state))
    }
}
