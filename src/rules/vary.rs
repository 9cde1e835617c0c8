//! `Vary`, and the request fields it nominates (RFC 9110 section 12.5.5, RFC 9111 section 4.1).

use super::list::{field_elements, trim};
use bytes::Bytes;
use http::header::{COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What selects among the variants of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// Anything at all: no two requests are alike.
    Any,
    /// These fields, in alphabetical order.
    Fields(Vec<HeaderName>),
}

impl Vary {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        // What is no field name can't be compared, so it may be anything; `*` is meant so.
        let name = |element: &[u8]| HeaderName::from_bytes(element).ok().filter(|name| name.as_str() != "*");
        match field_elements(headers, &VARY).map(name).collect::<Option<Vec<_>>>() {
            Some(mut fields) => {
                fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
                fields.dedup();
                Self::Fields(fields)
            }
            None => Self::Any,
        }
    }
}

/// Returns the value that a request has for a nominated field; `None` if it has none, which differs
/// from an empty one.
pub(crate) fn presented(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    let mut lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes).map(trim);
    let first = lines.next()?;
    // RFC 9110 section 5.3 for all fields but cookies, which are joined as RFC 9113 section 8.2.3 says.
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    let mut value = first.to_vec();
    for line in lines {
        value.extend_from_slice(separator);
        value.extend_from_slice(line);
    }
    Some(value.into())
}

/// Tells whether a request has the same value for a nominated field as the original one had.
pub(crate) fn matches(headers: &HeaderMap, name: &HeaderName, original: Option<&[u8]>) -> bool {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (first, None) => first.map(|line| trim(line.as_bytes())) == original,
        _ => presented(headers, name).as_deref() == original,
    }
}
