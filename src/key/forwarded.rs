//! Forwarded fields: the target that a client requested, as proxies report it.
//!
//! The key contains the values of these fields in canonical form, without client addresses. So
//! requests that differ only in client addresses or in spelling share an entry. On a fetch, the
//! handler sees the canonical values.

mod element;
mod spelling;

use super::authority::canonical_authority;
use super::error::KeyError;
use super::query::QueryKey;
use crate::rules::list::field_elements;
use element::Element;
use http::{HeaderMap, HeaderName, Uri};
pub(crate) use spelling::prefix_of;
use spelling::{host_of, port, scheme, url_text};
use std::borrow::Cow;

/// A field in which a proxy reports the requested target. Frameworks build URLs from it, or route
/// by it.
///
/// The number of a field is its index in [`ALL`](Self::ALL), and its bit in [`ForwardedFields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedField {
    Forwarded,
    XForwardedHost,
    XForwardedProto,
    XForwardedPrefix,
    XForwardedScheme,
    XForwardedPort,
    XHost,
    XOriginalUrl,
    XRewriteUrl,
}

const NAMES: [HeaderName; 9] = [
    http::header::FORWARDED,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// The set of forwarded fields of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ForwardedFields(u16);

impl ForwardedFields {
    pub(crate) fn insert(&mut self, field: ForwardedField) {
        self.0 |= 1 << field as u16;
    }

    /// Returns the forwarded fields of a header section. Ignored fields do not count.
    pub(crate) fn of(headers: &HeaderMap, ignored: &[HeaderName]) -> Self {
        let mut fields = Self::default();
        for field in ForwardedField::ALL {
            if headers.contains_key(field.name()) && !ignored.contains(field.name()) {
                fields.insert(field);
            }
        }
        fields
    }

    #[inline]
    pub(crate) fn contains(self, field: ForwardedField) -> bool {
        self.0 & (1 << field as u16) != 0
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = ForwardedField> {
        ForwardedField::ALL.into_iter().filter(move |field| self.contains(*field))
    }
}

impl ForwardedField {
    /// All fields, each at the index of its number.
    pub(crate) const ALL: [Self; 9] = [
        Self::Forwarded,
        Self::XForwardedHost,
        Self::XForwardedProto,
        Self::XForwardedPrefix,
        Self::XForwardedScheme,
        Self::XForwardedPort,
        Self::XHost,
        Self::XOriginalUrl,
        Self::XRewriteUrl,
    ];

    pub(crate) fn name(self) -> &'static HeaderName {
        static STATIC_NAMES: [HeaderName; 9] = NAMES;
        &STATIC_NAMES[self as usize]
    }

    /// Returns the field with a name, if it is a forwarded field.
    pub(crate) fn from_name(name: &HeaderName) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Returns the canonical value of all lines of the field, or `None` if they name no part of the
    /// target.
    ///
    /// # Errors
    /// Fails if an element of the field can't be read.
    pub(crate) fn canonical<'h>(
        self,
        headers: &'h HeaderMap,
        query: &QueryKey,
    ) -> Result<Option<Cow<'h, str>>, KeyError> {
        if let Some(plain) = self.common_value(headers) {
            return Ok(Some(Cow::Borrowed(plain)));
        }
        let canonical = match self {
            Self::Forwarded => Element::list(headers),
            Self::XForwardedHost | Self::XHost => {
                let scheme = scheme_of(headers);
                self.canonical_list(headers, |host| canonical_authority(host, scheme.as_deref()))
            }
            Self::XForwardedProto | Self::XForwardedScheme => self.canonical_list(headers, scheme),
            Self::XForwardedPort => self.canonical_list(headers, port),
            Self::XForwardedPrefix => self.canonical_list(headers, prefix_of),
            Self::XOriginalUrl | Self::XRewriteUrl => self.url(headers).map(|uri| url_text(&uri, query)),
        };
        let canonical = canonical.ok_or(KeyError::Forwarded)?;
        Ok((!canonical.is_empty()).then_some(Cow::Owned(canonical)))
    }

    /// Returns the value without a copy if it is one line with a frequent canonical value, such as
    /// `https`.
    fn common_value(self, headers: &HeaderMap) -> Option<&str> {
        let mut lines = headers.get_all(self.name()).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let is_plain = match self {
            Self::XForwardedProto | Self::XForwardedScheme => line == "https" || line == "http",
            Self::XForwardedPort => line == "443" || line == "80",
            Self::XForwardedHost | Self::XHost => {
                let name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
                let mut labels = line.as_bytes().split(|byte| *byte == b'.');
                labels.all(|label| !label.is_empty() && label.iter().all(name))
            }
            _ => false,
        };
        if is_plain { line.to_str().ok() } else { None }
    }

    /// Returns the canonical elements of all lines.
    ///
    /// Returns `None` if there is no element, or if an element can't be read.
    fn canonical_list(self, headers: &HeaderMap, one: impl Fn(&[u8]) -> Option<String>) -> Option<String> {
        let elements: Option<Vec<_>> = field_elements(headers, self.name()).map(one).collect();
        let mut elements = elements.filter(|elements| !elements.is_empty())?;
        elements.retain(|element| !element.is_empty());
        Some(elements.join(", "))
    }

    /// Returns the URL, if the field has exactly one line that can be read.
    pub(crate) fn url(self, headers: &HeaderMap) -> Option<Uri> {
        let mut lines = headers.get_all(self.name()).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let uri = Uri::try_from(line.as_bytes()).ok()?;
        let is_absolute = uri.scheme().is_some() && uri.authority().is_some();
        // The other forms of a target, such as `*`, name no page.
        let is_read = uri.path().starts_with('/') && (is_absolute || line.as_bytes().starts_with(b"/"));
        (is_read && (!is_absolute || host_of(&uri).is_some())).then_some(uri)
    }

    /// Returns the canonical hosts that the field names. A host that can't be read is `None`.
    pub(crate) fn hosts(self, headers: &HeaderMap) -> Vec<Option<String>> {
        match self {
            Self::XForwardedHost | Self::XHost => {
                field_elements(headers, self.name()).map(|host| canonical_authority(host, None)).collect()
            }
            Self::Forwarded => field_elements(headers, self.name())
                .filter_map(|element| Element::read(element).map_or(Some(None), |read| read.host.map(Some)))
                .collect(),
            Self::XOriginalUrl | Self::XRewriteUrl => {
                let uri = self.url(headers).filter(|uri| uri.authority().is_some());
                uri.iter().map(host_of).collect()
            }
            Self::XForwardedProto
            | Self::XForwardedPrefix
            | Self::XForwardedScheme
            | Self::XForwardedPort => Vec::new(),
        }
    }
}

/// Returns the scheme of `X-Forwarded-Proto`, if it has exactly one element.
fn scheme_of(headers: &HeaderMap) -> Option<String> {
    let mut schemes = field_elements(headers, ForwardedField::XForwardedProto.name());
    match (schemes.next(), schemes.next()) {
        (Some(one), None) => scheme(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
