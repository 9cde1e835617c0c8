//! Parts of the key that the user computes, and some ready-made ones.

use super::head::RequestHead;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::rules::accept;
use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName};
use std::fmt;
use std::sync::Arc;

type Part = dyn Fn(RequestHead<'_>) -> Option<String> + Send + Sync;

/// A part of the key, computed from the request: a tenant, a plan, a bucket of an experiment, the
/// language that is negotiated.
///
/// The method needs no part of its own: GET and HEAD share what a GET has brought, all others pass.
///
/// # Example
/// ```
/// use tower_response_cache::Policy;
/// use tower_response_cache::key::KeyPart;
///
/// let policy = Policy::app()
///     .vary_by_part(KeyPart::language(["en", "de"])?)
///     .vary_by_part(KeyPart::encoding(["br", "gzip"])?)
///     .vary_by_part(KeyPart::new("plan", |request| {
///         Some(request.headers.get("x-plan")?.to_str().ok()?.to_owned())
///     }));
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyPart {
    name: String,
    part: Arc<Part>,
    replaces: Option<HeaderName>,
    /// Whether the values are a few that the site itself has.
    is_fixed: bool,
}

impl KeyPart {
    /// Creates a part.
    ///
    /// `name` says what the part is, the same in every process. `None` differs from an empty part. Only a digest of the
    /// value enters the key, since it may say who the sender is; see
    /// [`key_secret`](crate::cache::CacheBuilder::key_secret) if values may be guessed. The ready-made parts enter as they are.
    pub fn new(
        name: impl Into<String>,
        part: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), part: Arc::new(part), replaces: None, is_fixed: false }
    }

    /// Makes the part stand for a request field: a request that fills the cache has the part's value in
    /// it, or none, and a response that names it in `Vary` has no variants for it.
    ///
    /// So what the handler sees is what the key says, however many spellings clients have for it.
    pub fn replacing(mut self, field: HeaderName) -> Self {
        self.replaces = Some(field);
        self
    }

    /// The language that a request prefers among those that the site has, as in `en` or `pt-BR`; the
    /// first one where it has no word on any. It stands for `Accept-Language` (RFC 9110 section 12.5.4).
    ///
    /// # Errors
    /// If there is none, or one that is no language tag.
    pub fn language<N: Into<String>>(offered: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let plain = |tag: &str| {
            tag.split('-')
                .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        Self::negotiated("language", offered, plain, ACCEPT_LANGUAGE, |headers, offered| {
            accept::language(headers, offered)
        })
    }

    /// The media type that a request prefers among those that the site has, as in `text/html`; the first
    /// one where it has no word on any. It stands for `Accept` (RFC 9110 section 12.5.1).
    ///
    /// # Errors
    /// If there is none, or one that is no media type.
    pub fn format<N: Into<String>>(offered: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
        };
        let plain = move |name: &str| name.split_once('/').is_some_and(|(kind, of)| token(kind) && token(of));
        Self::negotiated("format", offered, plain, ACCEPT, |headers, offered| {
            accept::format(headers, offered)
        })
    }

    /// The content coding that a request prefers among those that the site has, as in `br` or `gzip`, in
    /// the site's own order of preference; `identity` where it wants none of them. It stands for
    /// `Accept-Encoding` (RFC 9110 section 12.5.3).
    ///
    /// # Errors
    /// If there is none, or one that is no content coding.
    pub fn encoding<N: Into<String>>(offered: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let plain = |name: &str| {
            !name.is_empty()
                && name != "identity"
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        Self::negotiated("encoding", offered, plain, ACCEPT_ENCODING, |headers, offered| {
            // Behind those that are offered comes `identity`.
            accept::encoding(headers, &offered[..offered.len() - 1]).unwrap_or(offered.len() - 1)
        })
    }

    fn negotiated<N: Into<String>>(
        kind: &str,
        offered: impl IntoIterator<Item = N>,
        plain: impl Fn(&str) -> bool,
        field: HeaderName,
        choose: fn(&HeaderMap, &[String]) -> usize,
    ) -> Result<Self, ConfigError> {
        let mut offered: Vec<String> = offered.into_iter().map(Into::into).collect();
        let again =
            |at: usize, one: &String| offered[..at].iter().any(|other| other.eq_ignore_ascii_case(one));
        let wrong = offered.iter().enumerate().find(|(at, one)| !plain(one) || again(*at, one));
        if let Some((_, wrong)) = wrong {
            return Err(ConfigError::new(ConfigErrorKind::InvalidAlternative, wrong));
        }
        if offered.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::InvalidAlternative, ""));
        }
        if field == ACCEPT_ENCODING {
            offered.push("identity".to_owned());
        }
        let name = format!("{kind}: {}", offered.join(", "));
        let part = move |request: RequestHead<'_>| offered.get(choose(request.headers, &offered)).cloned();
        Ok(Self { is_fixed: true, ..Self::new(name, part).replacing(field) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Returns by what parts are sorted.
    pub(crate) fn sorting(&self) -> (&str, Option<&str>) {
        (&self.name, self.replaces.as_ref().map(HeaderName::as_str))
    }

    /// Returns the field that it stands for.
    pub(crate) fn replaced(&self) -> Option<&HeaderName> {
        self.replaces.as_ref()
    }

    /// Computes it.
    pub(super) fn of(&self, request: RequestHead<'_>) -> Option<String> {
        (self.part)(request)
    }
}

impl fmt::Debug for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPart").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: &KeyPart, name: &'static str, value: &'static str) -> Option<String> {
        let request = http::Request::get("/").header(name, value).body(()).expect("a request");
        part.of((&request).into())
    }

    #[test]
    fn what_is_negotiated_is_one_of_what_is_offered_and_the_first_by_default() {
        let language = KeyPart::language(["en", "de"]).expect("valid");
        assert_eq!(of(&language, "accept-language", "de-AT").as_deref(), Some("de"));
        assert_eq!(of(&language, "accept-language", "ja").as_deref(), Some("en"));
        let format = KeyPart::format(["text/html", "application/json"]).expect("valid");
        assert_eq!(of(&format, "accept", "application/*").as_deref(), Some("application/json"));
        assert_eq!(of(&format, "accept", "image/png").as_deref(), Some("text/html"));
        let encoding = KeyPart::encoding(["gzip"]).expect("valid");
        assert_eq!(of(&encoding, "accept-encoding", "deflate, gzip;q=0.9").as_deref(), Some("gzip"));
        assert_eq!(of(&encoding, "x-nothing", "").as_deref(), Some("identity"));
    }

    #[test]
    fn what_can_not_be_negotiated_is_refused_with_its_name() {
        for wrong in ["", "de_AT", "de, en"] {
            let error = KeyPart::language(["en", wrong]).expect_err(wrong);
            assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidAlternative, wrong));
        }
        for wrong in ["text/html; charset=utf-8", "html", "/", "a/b/c", ""] {
            assert!(KeyPart::format([wrong]).is_err(), "{wrong}");
        }
        assert!(KeyPart::encoding([""; 0]).is_err() && KeyPart::encoding(["identity"]).is_err());
        assert!(KeyPart::language(["en", "EN"]).is_err() && KeyPart::language(["en-"]).is_err());
    }
}
