//! Dates in their three formats (RFC 9110 section 5.6.7).

use http::{HeaderMap, HeaderName};
use std::time::SystemTime;

/// Reads a date.
pub(crate) fn parse(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

/// What a field that holds one date says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldDate {
    Absent,
    /// It can't be read, or its lines disagree.
    Invalid,
    At(SystemTime),
}

/// Reads the date in a field.
pub(crate) fn field_date(headers: &HeaderMap, name: &HeaderName) -> FieldDate {
    let mut lines = headers.get_all(name).into_iter();
    let Some(first) = lines.next() else { return FieldDate::Absent };
    if lines.any(|line| line != first) {
        return FieldDate::Invalid;
    }
    parse(first.as_bytes()).map_or(FieldDate::Invalid, FieldDate::At)
}
