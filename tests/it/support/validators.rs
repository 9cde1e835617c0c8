//! Origins that answer conditional requests.

use crate::support::*;
use http::{Response, StatusCode};

pub(crate) fn not_modified(lines: &[(&str, &str)]) -> Response<Body> {
    let mut response = with_lines(lines, "");
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}
