//! The stylesheet and the icon of the site.

use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

type Fields = [(HeaderName, &'static str); 2];

/// Returns the header fields of an asset. Browsers and the cache keep it for an hour.
const fn fields(content_type: &'static str) -> Fields {
    [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=3600")]
}

pub(crate) async fn stylesheet() -> impl IntoResponse {
    (fields("text/css; charset=utf-8"), include_str!("style.css"))
}

pub(crate) async fn icon() -> impl IntoResponse {
    (fields("image/svg+xml"), include_str!("icon.svg"))
}
