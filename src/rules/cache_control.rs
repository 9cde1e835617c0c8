//! `Cache-Control` (RFC 9111 section 5.2), over all field lines.

use super::list::{elements, field_elements, trim};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// The largest number of seconds that counts (RFC 9111 section 1.2.2).
const LARGEST: u32 = 1 << 31;

/// A directive that may name the fields it is about (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Qualified {
    #[default]
    Absent,
    Fields(Vec<HeaderName>),
    All,
}

impl Qualified {
    /// Adds an occurrence. What names no field, or something that is none, is about all of the response.
    fn add(&mut self, argument: Option<&[u8]>) {
        let named: Option<Vec<_>> = argument.and_then(|argument| {
            let text = unquoted(argument)?;
            elements(&text).map(|name| HeaderName::from_bytes(name).ok()).collect()
        });
        *self = match (std::mem::take(self), named) {
            (Self::Absent, Some(fields)) if !fields.is_empty() => Self::Fields(fields),
            (Self::Fields(mut fields), Some(more)) if !more.is_empty() => {
                fields.extend(more);
                Self::Fields(fields)
            }
            _ => Self::All,
        };
    }
}

/// What a response says (RFC 9111 section 5.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: Qualified,
    pub(crate) private: Qualified,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) s_maxage: Option<u32>,
}

impl ResponseDirectives {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for element in field_elements(headers, &CACHE_CONTROL) {
            let (name, argument) = split(element);
            match &*name.to_ascii_lowercase() {
                b"no-store" => directives.no_store = true,
                b"no-cache" => directives.no_cache.add(argument),
                b"private" => directives.private.add(argument),
                // Only the directive itself shares more: with an argument it is something else.
                b"public" => directives.public |= argument.is_none(),
                b"must-revalidate" => directives.must_revalidate = true,
                b"max-age" => least(&mut directives.max_age, argument),
                b"s-maxage" => least(&mut directives.s_maxage, argument),
                _ => {}
            }
        }
        directives
    }
}

/// What a request says (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestDirectives {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) min_fresh: Option<u32>,
}

impl RequestDirectives {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for element in field_elements(headers, &CACHE_CONTROL) {
            let (name, argument) = split(element);
            match &*name.to_ascii_lowercase() {
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                b"max-age" => least(&mut directives.max_age, argument),
                b"min-fresh" => directives.min_fresh = Some(seconds(argument).unwrap_or(LARGEST)),
                _ => {}
            }
        }
        // RFC 9111 section 5.4: for clients that know no Cache-Control.
        if !headers.contains_key(CACHE_CONTROL) {
            directives.no_cache =
                field_elements(headers, &PRAGMA).any(|element| element.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }
}

/// Splits a directive into its name and its argument, if it has one.
fn split(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    match element.iter().position(|&byte| byte == b'=') {
        Some(at) => (trim(&element[..at]), Some(trim(&element[at + 1..]))),
        None => (element, None),
    }
}

/// Keeps the smallest of several; what can't be read counts as zero, so the response as stale
/// (RFC 9111 section 4.2.1).
fn least(place: &mut Option<u32>, argument: Option<&[u8]>) {
    let value = seconds(argument).unwrap_or(0);
    *place = Some(place.map_or(value, |known| known.min(value)));
}

/// Reads delta-seconds; both argument forms are accepted (RFC 9111 section 5.2).
fn seconds(argument: Option<&[u8]>) -> Option<u32> {
    delta_seconds(&unquoted(argument?)?)
}

/// Reads delta-seconds; more than 2^31 counts as 2^31 (RFC 9111 section 1.2.2).
pub(super) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Some(text.iter().fold(0, add).min(LARGEST))
}

/// Returns the text of a token or a quoted string, `None` if a quoted string does not end.
fn unquoted(argument: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inside) = argument.strip_prefix(b"\"") else { return Some(Cow::Borrowed(argument)) };
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    loop {
        match *bytes.next()? {
            b'\\' => text.push(*bytes.next()?),
            b'"' => break,
            byte => text.push(byte),
        }
    }
    bytes.as_slice().is_empty().then_some(Cow::Owned(text))
}
