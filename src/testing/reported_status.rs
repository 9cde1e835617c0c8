//! The cache status of a response, from its [`CacheStatus`] extension or its `Cache-Status` field.

use crate::rules::list::elements;
use crate::status::{CACHE_STATUS, CacheStatus, NAME, detail_meaning, forward_meaning};
use http::{HeaderMap, Response};
use sfv::{BareItem, Item, Parser};
use std::fmt;

/// The member of `Cache-Status` that the assertions read. It is the member of the layer that
/// handled the request.
#[derive(Debug, Default)]
pub(super) struct ReportedStatus {
    /// The text of the member's parameters.
    text: String,
    pub(super) is_hit: bool,
    pub(super) is_stored: bool,
    pub(super) is_collapsed: bool,
    pub(super) forward: Option<String>,
    pub(super) detail: Option<String>,
}

/// The reason why no status of a cache layer was found in a response.
#[derive(Debug)]
pub(super) enum NotReported {
    Missing,
    /// The field has only members of other caches.
    Foreign(String),
    Unreadable(String),
}

/// The values of `fwd` that count as a miss.
const MISSES: [&str; 4] = ["uri-miss", "vary-miss", "stale", "request"];

/// The `detail` of a layer that left the request to an inner layer. The assertions then read the
/// member of the inner layer.
const LEFT_TO_INNER: &str = "inner-layer";

impl ReportedStatus {
    /// Reads the status from the extension of a response. Without an extension, reads the field.
    pub(super) fn of<B>(response: &Response<B>) -> Result<Self, NotReported> {
        let extension = response.extensions().get::<CacheStatus>();
        match extension.and_then(|status| Self::parse(status.to_value(None).as_bytes())) {
            Some(Member::Own(status)) => Ok(status),
            _ => Self::in_field(response.headers()),
        }
    }

    fn in_field(headers: &HeaderMap) -> Result<Self, NotReported> {
        let lines = || headers.get_all(CACHE_STATUS).iter();
        let (mut inner, mut outer, mut is_readable) = (None, None, true);
        for member in lines().flat_map(|line| elements(line.as_bytes())) {
            match Self::parse(member) {
                Some(Member::Own(status)) if status.detail.as_deref() == Some(LEFT_TO_INNER) => {
                    outer = Some(status);
                }
                Some(Member::Own(status)) => inner = Some(status),
                Some(Member::Foreign) => {}
                None => is_readable = false,
            }
        }
        // Each layer appends its member (RFC 9211 section 2). So in the loop, the member of an
        // outer layer replaces the member of an inner layer.
        inner.or(outer).ok_or_else(|| {
            let text: Vec<_> = lines().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            match (text.is_empty(), is_readable) {
                (true, _) => NotReported::Missing,
                (false, true) => NotReported::Foreign(text.join(", ")),
                (false, false) => NotReported::Unreadable(text.join(", ")),
            }
        })
    }

    /// Parses a member as an item. Returns `None` if the member is malformed (RFC 9651 section
    /// 4.2.3).
    fn parse(member: &[u8]) -> Option<Member> {
        let item: Item = Parser::new(member).parse().ok()?;
        if item.bare_item.as_token().is_none_or(|name| name.as_str() != NAME) {
            return Some(Member::Foreign);
        }
        let text = String::from_utf8_lossy(member);
        let text = text.split_once(';').map_or("", |(_, parameters)| parameters.trim()).to_owned();
        let mut status = Self { text, ..Self::default() };
        for (name, value) in &item.params {
            let is_set = *value == BareItem::Boolean(true);
            match name.as_str() {
                "hit" => status.is_hit = is_set,
                "stored" => status.is_stored = is_set,
                "collapsed" => status.is_collapsed = is_set,
                "fwd" => status.forward = word(value),
                "detail" => status.detail = word(value),
                _ => {}
            }
        }
        Some(Member::Own(status))
    }

    /// Returns the reason why the response is not stored: the value of `detail`. Without a
    /// `detail`, returns the value of `fwd` unless it is one of [`MISSES`].
    pub(super) fn reason(&self) -> Option<&str> {
        self.detail.as_deref().or(self.forward.as_deref().filter(|_| !self.is_miss()))
    }

    /// Returns `true` if the cache looked for a stored response, and forwarded the request because
    /// no stored response could answer it without the service.
    pub(super) fn is_miss(&self) -> bool {
        self.forward.as_deref().is_some_and(|word| MISSES.contains(&word))
    }
}

/// A member of `Cache-Status`: of a layer of this crate, or of another cache.
enum Member {
    Own(ReportedStatus),
    Foreign,
}

/// Returns the text of a token or string.
fn word(value: &BareItem) -> Option<String> {
    let token = value.as_token().map(|token| token.as_str());
    token.or_else(|| Some(value.as_string()?.as_str())).map(str::to_owned)
}

/// Writes how the request was handled, the parameters, and the meanings of `fwd` and `detail`.
impl fmt::Display for ReportedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self { is_hit: true, .. } => "the response is a hit",
            Self { is_collapsed: true, .. } => "the request was collapsed into another one",
            Self { forward: Some(_), .. } => "the request was forwarded",
            _ => "the cache layer generated an error",
        })?;
        write!(f, ": {}", self.text)?;
        if let Some(word) = &self.forward
            && let Some(meaning) = forward_meaning(word)
        {
            write!(f, "\n  fwd={word}: {meaning}")?;
        }
        let is_bypass = self.forward.as_deref() == Some("bypass");
        if let Some(word) = &self.detail
            && let Some(meaning) = detail_meaning(word, is_bypass)
        {
            write!(f, "\n  detail={word}: {meaning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NotReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause =
            "is `cache_status(true)` set in the policy, or is the response from outside the cache layers?";
        match self {
            Self::Missing => write!(f, "the response has no `Cache-Status`: {cause}"),
            Self::Foreign(field) => {
                write!(f, "`Cache-Status` has no member named `{NAME}`: {cause}\n  Cache-Status: {field}")
            }
            Self::Unreadable(field) => {
                write!(f, "`Cache-Status` is malformed (RFC 9211 section 2)\n  Cache-Status: {field}")
            }
        }
    }
}
