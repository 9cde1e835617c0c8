//! Whether a response may be stored in a shared cache (RFC 9111 sections 3 and 3.5).

use super::cache_control::{Qualified, ResponseDirectives};
use super::vary::Vary;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};

/// A request and the head of its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a Method,
    /// The request has `Authorization`.
    pub(crate) authorization: bool,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) directives: &'a ResponseDirectives,
    pub(crate) vary: &'a Vary,
}

/// Why a response may not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStorable {
    Method,
    Status,
    Partial,
    NoStore,
    NoCache,
    Private,
    SetCookie,
    VaryAny,
    Authorization,
    ContentLength,
    EventStream,
}

impl NotStorable {
    /// Returns a word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NoStore => "no-store",
            Self::NoCache => "no-cache",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary",
            Self::Authorization => "authorization",
            Self::ContentLength => "content-length",
            Self::EventStream => "event-stream",
        }
    }
}

const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// Tells whether a response may be stored, as far as the exchange itself decides.
pub(crate) fn storable(exchange: &Exchange<'_>) -> Result<(), NotStorable> {
    let Exchange { method, authorization, status, headers, directives, vary } = *exchange;
    let partial = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
    let never = status.is_informational()
        || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE);
    // RFC 9111 section 3.5: with Authorization only what is marked for sharing.
    let shareable = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
    let sets_cookie = headers.contains_key(SET_COOKIE) || headers.contains_key(SET_COOKIE2);
    let refusals = [
        (*method != Method::GET, NotStorable::Method),
        (partial, NotStorable::Partial),
        (never, NotStorable::Status),
        (directives.no_store, NotStorable::NoStore),
        (directives.private == Qualified::All, NotStorable::Private),
        (directives.no_cache == Qualified::All, NotStorable::NoCache),
        (sets_cookie, NotStorable::SetCookie),
        (*vary == Vary::Any, NotStorable::VaryAny),
        (authorization && !shareable, NotStorable::Authorization),
        (is_event_stream(headers), NotStorable::EventStream),
    ];
    match refusals.iter().find(|(refused, _)| *refused) {
        Some((_, why)) => Err(*why),
        None => declared_length(headers).map(drop),
    }
}

/// An event stream has no end to wait for.
fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).into_iter().any(|value| {
        let media_type = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Returns what `Content-Length` says, if its lines agree (RFC 9110 section 8.6).
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, NotStorable> {
    let mut declared = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        let text = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = text.and_then(|text| text.parse::<u64>().ok()).ok_or(NotStorable::ContentLength)?;
        if declared.replace(length).is_some_and(|other| other != length) {
            return Err(NotStorable::ContentLength);
        }
    }
    Ok(declared)
}
