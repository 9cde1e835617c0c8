//! The 304 with which an origin answers a conditional request.

use crate::support::*;
use http::{Response, StatusCode};

pub(crate) fn not_modified(lines: &[(&str, &str)]) -> Response<Body> {
    let mut response = with_lines(lines, "");
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}
