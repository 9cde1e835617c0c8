//! What axum's traits need to know of this crate's types.

use crate::policy::CacheHints;
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use std::convert::Infallible;

impl IntoResponseParts for CacheHints {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

impl IntoResponse for CacheHints {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}
