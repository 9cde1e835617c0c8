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

/// Creates an empty response with the invalidation.
impl IntoResponse for InvalidateOnSuccess {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// Marks a response as made for one visitor, as [`Identified::add_to_response`] does.
impl IntoResponseParts for Identified {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        write_identified(parts.headers_mut());
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Lets a handler take the cache as an argument, if the state of the handler's router is a
/// [`Cache`] (`with_state(cache)`) or contains one.
///
/// A state that contains a cache must implement `FromRef`. axum's derive of `FromRef` needs axum's
/// feature `macros`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Invalidation;
    use http::StatusCode;

    #[test]
    fn hints_and_invalidations_convert_into_responses_and_parts() {
        let invalidation = || Invalidation::path("/flavors").on_success();
        let responses = [
            (invalidation().into_response(), StatusCode::OK),
            ((invalidation(), "saved").into_response(), StatusCode::OK),
            ((invalidation(), StatusCode::NO_CONTENT).into_response(), StatusCode::NO_CONTENT),
            ((StatusCode::CREATED, invalidation()).into_response(), StatusCode::CREATED),
        ];
        for (response, status) in responses {
            assert_eq!(response.status(), status);
            assert_eq!(response.extensions().get(), Some(&invalidation()));
        }
        let hints = || CacheHints::new().tags(["flavors"]);
        for response in [hints().into_response(), (hints(), "page").into_response()] {
            assert!(response.extensions().get::<CacheHints>().is_some());
        }
    }
}
