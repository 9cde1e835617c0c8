//! Parts of the key that are computed from the request, by the user or by content negotiation.

use super::head::RequestHead;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::rules::accept;
use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName};
use std::fmt;
use std::sync::Arc;

type PartFunction = dyn Fn(RequestHead<'_>) -> Option<String> + Send + Sync;

/// A part of the key that is computed from the request, such as a tenant, a plan, an experiment or
/// a negotiated language.
///
/// Add it to a policy by [`vary_by_part`](crate::policy::PolicyBuilder::vary_by_part). The request
/// method needs no part: GET and HEAD share a key, and requests with other methods bypass the
/// cache.
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
///     }))
///     .build()?;
/// # let _ = policy;
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[doc(alias = "cache key")]
#[doc(alias = "variant")]
#[derive(Clone)]
#[must_use]
pub struct KeyPart {
    name: String,
    part: Arc<PartFunction>,
    replaces: Option<HeaderName>,
    /// Whether the site lists all possible values. Such values identify no visitor, so they enter
    /// the key without a digest.
    is_fixed: bool,
}

impl KeyPart {
    /// Creates a part that a function computes.
    ///
    /// `name` identifies the part, and must be the same in every process. The key for `None`
    /// differs from the key for an empty value.
    ///
    /// Only a digest of the value enters the key, since the value may identify a visitor. Set a
    /// [`key_secret`](crate::cache::CacheBuilder::key_secret) if values can be guessed. The values
    /// of the ready-made parts enter without a digest.
    ///
    /// The function must return the same value for the same request.
    ///
    /// The function must not depend on a field that
    /// [`stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate) removes
    /// from background requests. Otherwise, a response that was made without the field would be
    /// stored under a key that depends on the field.
    pub fn new(
        name: impl Into<String>,
        part: impl Fn(RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), part: Arc::new(part), replaces: None, is_fixed: false }
    }

    /// Makes the part replace a request field.
    ///
    /// On a fetch, the handler sees the value of the part in this field, or no field for `None`. A
    /// response that names the field in `Vary` has no variants by this field. So all requests for
    /// which the part has the same value share a stored response, however they spell the field.
    ///
    /// # Example
    /// ```
    /// use http::header::ACCEPT;
    /// use tower_response_cache::key::KeyPart;
    ///
    /// let part = KeyPart::new("json", |request| {
    ///     let accept = request.headers.get(ACCEPT)?.to_str().ok()?;
    ///     accept.contains("json").then(|| "application/json".to_owned())
    /// })
    /// .replacing(ACCEPT);
    /// # let _ = part;
    /// ```
    pub fn replacing(mut self, field: HeaderName) -> Self {
        self.replaces = Some(field);
        self
    }

    /// Creates a part with the offered language that a request prefers. It replaces
    /// `Accept-Language` (RFC 9110 section 12.5.4).
    ///
    /// `offered` are language tags such as `en` or `pt-BR`. Of languages with equal weight, the
    /// part is the language that the request names first. If the request accepts no offered
    /// language, the part is the first offered one that the request does not exclude with `q=0`. If
    /// it excludes all of them, the part is the first offered one.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::key::KeyPart;
    ///
    /// let part = KeyPart::language(["en", "pt-BR"])?;
    /// # let _ = part;
    /// assert!(KeyPart::language(["pt_BR"]).is_err());
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If `offered` is empty, or has an invalid or repeated language tag.
    #[doc(alias = "Accept-Language")]
    #[doc(alias = "i18n")]
    pub fn language<N: Into<String>>(offered: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let plain = |tag: &str| {
            tag.split('-')
                .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        Self::negotiated("language", offered, plain, ACCEPT_LANGUAGE, |headers, offered| {
            accept::language(headers, offered)
        })
    }

    /// Creates a part with the offered media type that a request prefers. It replaces `Accept` (RFC
    /// 9110 section 12.5.1).
    ///
    /// `offered` are media types without parameters, such as `text/html`. Of types with equal
    /// weight, the part is the first offered one. If the request accepts no offered type, the part
    /// is the first offered one that the request does not exclude with `q=0`. If it excludes all of
    /// them, the part is the first offered one.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::key::KeyPart;
    ///
    /// let part = KeyPart::format(["text/html", "application/json"])?;
    /// # let _ = part;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If `offered` is empty, or has an invalid or repeated media type.
    #[doc(alias = "Accept")]
    #[doc(alias = "content negotiation")]
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

    /// Creates a part with the offered content coding that a request prefers. It replaces
    /// `Accept-Encoding` (RFC 9110 section 12.5.3).
    ///
    /// `offered` are content codings such as `br` or `gzip`, in the site's order of preference. Of
    /// codings with equal weight, the part is the first offered one. If the request accepts none of
    /// them, or prefers `identity`, the part is `identity`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::key::KeyPart;
    ///
    /// let part = KeyPart::encoding(["br", "gzip"])?;
    /// # let _ = part;
    /// assert!(KeyPart::encoding(["identity"]).is_err(), "always offered");
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If `offered` is empty, names `identity`, or has an invalid or repeated content coding.
    #[doc(alias = "Accept-Encoding")]
    #[doc(alias = "compression")]
    pub fn encoding<N: Into<String>>(offered: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let plain = |name: &str| {
            !name.is_empty()
                && name != "identity"
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        Self::negotiated("encoding", offered, plain, ACCEPT_ENCODING, |headers, offered| {
            // `negotiated` appends `identity`.
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

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Returns the key by which parts are sorted, so that the order of calls does not change cache
    /// keys.
    pub(crate) fn sort_key(&self) -> (&str, Option<&str>) {
        (&self.name, self.replaces.as_ref().map(HeaderName::as_str))
    }

    /// Returns the field that the part replaces.
    pub(crate) fn replaced_field(&self) -> Option<&HeaderName> {
        self.replaces.as_ref()
    }

    /// Computes the value for a request.
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
    fn negotiation_picks_an_offered_value_or_the_default() {
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
    fn invalid_offers_are_refused_with_their_name() {
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
