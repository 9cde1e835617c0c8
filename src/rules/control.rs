//! `CacheControl`: a typed set of `Cache-Control` directives.

use super::cache_control::{RESPONSE_DIRECTIVES, unquoted};
use super::directive::{Argument, Directive, is_token, quoted_if_needed, seconds};
use crate::error::{ConfigError, ConfigErrorKind};
use http::{HeaderName, HeaderValue};
use sfv::{Dictionary, Parser};
use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

/// The directives of a response's `Cache-Control` (RFC 9111 section 5.2.2, RFC 5861, RFC 8246).
///
/// Use it with a [`SetCacheControlLayer`](crate::cache_headers::SetCacheControlLayer), or convert
/// it into a `HeaderValue`. A directive that is set again replaces the old one. Durations are
/// written in whole seconds, at most 2^31 (RFC 9111 section 1.2.2).
///
/// # Parsing
/// [`str::parse`] reads one field value. `TryFrom<&HeaderMap>` reads all lines of `Cache-Control`;
/// without a line, the set is empty. Names are case-insensitive.
///
/// Both parsers are strict. They return an error with the invalid element if:
/// - an element is not a directive,
/// - a lifetime is not a number of seconds,
/// - a directive that takes no argument has one,
/// - a list of field names is not quoted, is empty, or has an invalid name,
/// - an extension directive occurs with two different arguments.
///
/// If a directive that is not an extension occurs twice, the stricter occurrence counts.
///
/// The cache layers do not use these parsers. They read `Cache-Control` leniently: a malformed
/// directive counts as a restriction.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::cache_headers::CacheControl;
///
/// let control = CacheControl::new().public().max_age(Duration::from_secs(3600)).immutable();
/// assert_eq!(control.to_string(), "public, max-age=3600, immutable");
///
/// let parsed: CacheControl = "Public, max-age=60".parse()?;
/// assert_eq!(parsed.get_max_age(), Some(Duration::from_secs(60)));
/// let value: http::HeaderValue = parsed.into();
/// assert_eq!(value, "public, max-age=60");
/// assert_eq!("no-store, max-age=soon".parse::<CacheControl>().unwrap_err().element(), "max-age=soon");
/// # Ok::<_, tower_response_cache::error::CacheControlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CacheControl(pub(super) Vec<Directive>);

/// The largest number of seconds in a directive (RFC 9111 section 1.2.2).
const MAX_DELTA_SECONDS: u64 = 1 << 31;

impl CacheControl {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: &str, argument: Argument) -> Self {
        self.0.retain(|directive| directive.name != name);
        self.0.push(Directive { name: name.to_owned(), argument });
        self
    }

    fn with_seconds(self, name: &str, duration: Duration) -> Self {
        self.with(name, Argument::Seconds(duration.as_secs().min(MAX_DELTA_SECONDS)))
    }

    fn with_fields(self, name: &str, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        let fields: Vec<_> = fields.into_iter().map(|field| field.as_str().to_owned()).collect();
        // Without names, or with `*`, the directive applies to the whole response.
        let is_whole = fields.is_empty() || fields.iter().any(|field| field == "*");
        self.with(name, if is_whole { Argument::None } else { Argument::Fields(fields) })
    }

    /// Any cache may store the response, even if it is otherwise not storable (RFC 9111 section
    /// 5.2.2.9).
    pub fn public(self) -> Self {
        self.with("public", Argument::None)
    }

    /// Only the client's own cache may store the response (RFC 9111 section 5.2.2.7).
    pub fn private(self) -> Self {
        self.with("private", Argument::None)
    }

    /// Only the client's own cache may store these fields. Without names, the whole response is
    /// private.
    pub fn private_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("private", fields)
    }

    /// The response must be validated before each use (RFC 9111 section 5.2.2.4).
    pub fn no_cache(self) -> Self {
        self.with("no-cache", Argument::None)
    }

    /// These fields must not be used without validation. Without names, the whole response must not
    /// be used without validation.
    pub fn no_cache_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("no-cache", fields)
    }

    /// No cache may store the request or the response (RFC 9111 section 5.2.2.5).
    pub fn no_store(self) -> Self {
        self.with("no-store", Argument::None)
    }

    /// No intermediary may transform the content (RFC 9111 section 5.2.2.6).
    pub fn no_transform(self) -> Self {
        self.with("no-transform", Argument::None)
    }

    /// A stale response must not be used without validation (RFC 9111 section 5.2.2.2).
    pub fn must_revalidate(self) -> Self {
        self.with("must-revalidate", Argument::None)
    }

    /// A stale response must not be used by shared caches without validation (RFC 9111 section
    /// 5.2.2.8).
    pub fn proxy_revalidate(self) -> Self {
        self.with("proxy-revalidate", Argument::None)
    }

    /// Only a cache that knows the requirements of the response's status may store it (RFC 9111
    /// section 5.2.2.3).
    pub fn must_understand(self) -> Self {
        self.with("must-understand", Argument::None)
    }

    /// The response does not change while it is fresh (RFC 8246).
    pub fn immutable(self) -> Self {
        self.with("immutable", Argument::None)
    }

    /// Sets the freshness lifetime (RFC 9111 section 5.2.2.1).
    ///
    /// If the response already has a `max-age`,
    /// [`SetCacheControlLayer`](crate::cache_headers::SetCacheControlLayer) writes the shorter one.
    pub fn max_age(self, lifetime: Duration) -> Self {
        self.with_seconds("max-age", lifetime)
    }

    /// Sets the freshness lifetime for shared caches (RFC 9111 section 5.2.2.10).
    pub fn s_maxage(self, lifetime: Duration) -> Self {
        self.with_seconds("s-maxage", lifetime)
    }

    /// Sets how long a stale response may be used while it is revalidated (RFC 5861 section 3).
    #[doc(alias = "SWR")]
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.with_seconds("stale-while-revalidate", window)
    }

    /// Sets how long a stale response may be used if the origin fails (RFC 5861 section 4).
    #[doc(alias = "grace")]
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.with_seconds("stale-if-error", window)
    }

    /// Adds an extension directive (RFC 9111 section 5.2.3). The value is quoted if it is not a
    /// token.
    ///
    /// [`SetCacheControlLayer`](crate::cache_headers::SetCacheControlLayer) writes no extension
    /// directive to an error, a personalized response or a `no-store` response, because the
    /// directive may permit something.
    ///
    /// # Errors
    /// Returns an error if the name is not a token, or if another method sets this directive. Also
    /// returns an error if the value contains other characters than visible ASCII and spaces.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::cache_headers::CacheControl;
    ///
    /// let control = CacheControl::new().private().extension("community", "UCI Irvine")?.extension("x-edge", None)?;
    /// assert_eq!(control.to_string(), "private, community=\"UCI Irvine\", x-edge");
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn extension<'a>(self, name: &str, value: impl Into<Option<&'a str>>) -> Result<Self, ConfigError> {
        let invalid = |text: &str| ConfigError::new(ConfigErrorKind::InvalidDirective, text);
        let lowercase_name = name.to_ascii_lowercase();
        if !is_token(name.as_bytes()) || is_defined(&lowercase_name) {
            return Err(invalid(name));
        }
        let argument = match value.into() {
            Some(value) => Argument::Other(quoted_if_needed(value).ok_or_else(|| invalid(value))?),
            None => Argument::None,
        };
        Ok(self.with(&lowercase_name, argument))
    }

    /// Returns `true` if the set contains a directive, with any argument. The name is
    /// case-insensitive.
    ///
    /// `private` and `no-cache` may name fields: see
    /// [`get_private_fields`](Self::get_private_fields).
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|directive| directive.name.eq_ignore_ascii_case(name))
    }

    /// Returns `true` if the set contains no directive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the lifetime of [`max_age`](Self::max_age).
    #[must_use]
    pub fn get_max_age(&self) -> Option<Duration> {
        self.duration("max-age")
    }

    /// Returns the lifetime of [`s_maxage`](Self::s_maxage).
    #[must_use]
    pub fn get_s_maxage(&self) -> Option<Duration> {
        self.duration("s-maxage")
    }

    /// Returns the window of [`stale_while_revalidate`](Self::stale_while_revalidate).
    #[must_use]
    pub fn get_stale_while_revalidate(&self) -> Option<Duration> {
        self.duration("stale-while-revalidate")
    }

    /// Returns the window of [`stale_if_error`](Self::stale_if_error).
    #[must_use]
    pub fn get_stale_if_error(&self) -> Option<Duration> {
        self.duration("stale-if-error")
    }

    /// Returns the fields that `private` names.
    ///
    /// The iterator is empty if the directive is absent, or applies to the whole response.
    pub fn get_private_fields(&self) -> impl Iterator<Item = &str> {
        self.fields("private")
    }

    /// Returns the fields that `no-cache` names.
    ///
    /// The iterator is empty if the directive is absent, or applies to the whole response.
    pub fn get_no_cache_fields(&self) -> impl Iterator<Item = &str> {
        self.fields("no-cache")
    }

    /// Returns the extension directives: names in lower case, and values without quotes.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, Option<Cow<'_, str>>)> {
        let extensions = self.0.iter().filter(|directive| !is_defined(&directive.name));
        extensions.map(|directive| (directive.name.as_str(), unquoted_argument(&directive.argument)))
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        self.argument(name).map(|argument| Duration::from_secs(seconds(argument)))
    }

    fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = match self.argument(name) {
            Some(Argument::Fields(fields)) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(String::as_str)
    }

    pub(super) fn argument(&self, name: &str) -> Option<&Argument> {
        self.0.iter().find(|directive| directive.name == name).map(|directive| &directive.argument)
    }

    /// Returns the first pair of directives that contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let has =
            |name: &str| self.argument(name).is_some_and(|argument| !matches!(argument, Argument::Fields(_)));
        let lives = |name: &str| matches!(self.argument(name), Some(Argument::Seconds(1..)));
        let pairs = [
            ("public", has("public"), "private", has("private")),
            ("public", has("public"), "no-store", has("no-store")),
            ("no-store", has("no-store"), "max-age", lives("max-age")),
            ("no-store", has("no-store"), "s-maxage", lives("s-maxage")),
            ("no-store", has("no-store"), "immutable", has("immutable")),
        ];
        pairs.iter().find(|(_, a, _, b)| *a && *b).map(|(a, _, b, _)| format!("{a}, {b}"))
    }

    /// Returns `true` if the directives can be written as a structured field (RFC 9213 section
    /// 2.1).
    pub(crate) fn is_structured(&self) -> bool {
        Parser::new(&self.to_string()).parse::<Dictionary>().is_ok()
    }

    /// Returns the directives that permit nothing. Errors and `no-store` responses get only these.
    pub(crate) fn restrictions_only(&self) -> Self {
        let lengthens = |directive: &Directive| {
            matches!(
                directive.name.as_str(),
                "public" | "immutable" | "stale-while-revalidate" | "stale-if-error"
            ) || !is_defined(&directive.name)
                || (matches!(directive.name.as_str(), "max-age" | "s-maxage")
                    && seconds(&directive.argument) > 0)
        };
        Self(self.0.iter().filter(|directive| !lengthens(directive)).cloned().collect())
    }

    /// Returns the directives for personalized responses. Removes the directives that may permit
    /// sharing: `public`, `s-maxage` and all extension directives.
    pub(crate) fn for_one_visitor(&self) -> Self {
        let mut control = self.clone().without(&["public", "s-maxage"]);
        control.0.retain(|directive| is_defined(&directive.name));
        control
    }

    /// Removes the directives with these names.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|directive| !names.contains(&directive.name.as_str()));
        self
    }
}

/// Returns `true` if this crate knows the directive. All others are extension directives.
pub(super) fn is_defined(name: &str) -> bool {
    RESPONSE_DIRECTIVES.contains(&name)
}

/// Returns the value of an extension directive, without quotes.
fn unquoted_argument(argument: &Argument) -> Option<Cow<'_, str>> {
    let Argument::Other(text) = argument else { return None };
    Some(match unquoted(text.as_bytes()) {
        Some(Cow::Owned(text)) => String::from_utf8_lossy(&text).into_owned().into(),
        Some(Cow::Borrowed(_)) | None => text.as_str().into(),
    })
}

impl From<&CacheControl> for HeaderValue {
    fn from(control: &CacheControl) -> Self {
        // Names and arguments are visible ASCII and spaces, so the conversion does not fail.
        Self::from_str(&control.to_string()).unwrap_or_else(|_| Self::from_static("no-store"))
    }
}

impl From<CacheControl> for HeaderValue {
    fn from(control: CacheControl) -> Self {
        Self::from(&control)
    }
}

impl std::fmt::Display for CacheControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Directive { name, argument }) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            match argument {
                Argument::None => {}
                Argument::Seconds(seconds) => write!(f, "={seconds}")?,
                Argument::Fields(fields) => write!(f, "=\"{}\"", fields.join(", "))?,
                Argument::Other(text) => {
                    f.write_char('=')?;
                    f.write_str(text)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CacheControl, ConfigErrorKind};
    use http::header::{COOKIE, HeaderName};
    use std::time::Duration;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn directives_are_written_as_in_the_rfcs() {
        let all = CacheControl::new()
            .private_fields([COOKIE])
            .must_revalidate()
            .proxy_revalidate()
            .must_understand()
            .no_transform()
            .immutable()
            .max_age(Duration::MAX)
            .s_maxage(seconds(1))
            .stale_while_revalidate(seconds(2))
            .stale_if_error(seconds(3));
        assert_eq!(
            all.to_string(),
            "private=\"cookie\", must-revalidate, proxy-revalidate, must-understand, no-transform, immutable, \
             max-age=2147483648, s-maxage=1, stale-while-revalidate=2, stale-if-error=3"
        );
    }

    #[test]
    fn asterisk_among_fields_means_the_whole_response() {
        let fields = || [COOKIE, HeaderName::from_static("*")];
        let control = CacheControl::new().private_fields(fields()).no_cache_fields(fields());
        assert_eq!(control.to_string(), "private, no-cache");
    }

    /// RFC 9111 sections 5.2 and 5.2.3.
    #[test]
    fn extension_is_quoted_only_if_it_is_not_a_token() {
        let table = [
            ("community", Some("UCI"), "community=UCI"),
            ("Community", Some("UCI, Irvine"), "community=\"UCI, Irvine\""),
            ("x", Some(""), "x=\"\""),
            ("x", Some(r#"a "b" \"#), r#"x="a \"b\" \\""#),
            ("x", None, "x"),
        ];
        for (name, value, written) in table {
            let control = CacheControl::new().extension(name, value).expect("valid");
            assert_eq!(control.to_string(), written);
            let (read_name, read) = control.extensions().next().expect("an extension");
            assert_eq!((read_name, read.as_deref()), (name.to_lowercase().as_str(), value), "{written}");
        }
    }

    #[test]
    fn extension_with_an_invalid_name_or_value_is_an_error() {
        let table = [
            ("", None, ""),
            ("a b", None, "a b"),
            ("x=1", None, "x=1"),
            ("Max-Age", Some("60"), "Max-Age"),
            ("no-store", None, "no-store"),
            ("x", Some("a\r\nb: c"), "a\r\nb: c"),
            ("x", Some("\u{e9}"), "\u{e9}"),
        ];
        for (name, value, wrong) in table {
            let error = CacheControl::new().extension(name, value).expect_err("invalid");
            assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidDirective, wrong));
        }
    }

    #[test]
    fn getters_return_the_directives() {
        let control = CacheControl::new()
            .max_age(seconds(1))
            .s_maxage(seconds(2))
            .stale_while_revalidate(seconds(3))
            .stale_if_error(seconds(4))
            .no_cache_fields([COOKIE]);
        let windows = [
            control.get_max_age(),
            control.get_s_maxage(),
            control.get_stale_while_revalidate(),
            control.get_stale_if_error(),
        ];
        assert_eq!(windows, [1, 2, 3, 4].map(|number| Some(seconds(number))));
        assert!(
            control.get_no_cache_fields().eq(["cookie"]) && control.get_private_fields().next().is_none()
        );
        assert!(control.contains("No-Cache") && !control.contains("private") && !control.is_empty());
        assert_eq!((CacheControl::new().get_max_age(), CacheControl::new().is_empty()), (None, true));
    }

    /// RFC 9213 section 2.1.
    #[test]
    fn only_some_extensions_are_valid_in_structured_fields() {
        let table = [
            ("x", Some("abc"), true),
            ("x", Some("15"), true),
            ("x", Some("1 \"2\""), true),
            ("x", None, true),
            ("x", Some("1.2.3"), false),
            ("1x", None, false),
        ];
        for (name, value, expected) in table {
            let control = CacheControl::new().private_fields([COOKIE]).max_age(Duration::MAX);
            let control = control.extension(name, value).expect("valid");
            assert_eq!(control.is_structured(), expected, "{control}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        let table = [
            (CacheControl::new().public().private(), Some("public, private")),
            (CacheControl::new().public().no_store(), Some("public, no-store")),
            (CacheControl::new().no_store().max_age(seconds(1)), Some("no-store, max-age")),
            (CacheControl::new().no_store().max_age(seconds(0)), None),
            (CacheControl::new().public().private_fields([COOKIE]), None),
        ];
        for (control, found) in table {
            assert_eq!(control.contradiction().as_deref(), found, "{control}");
        }
    }

    #[test]
    fn errors_and_personalized_responses_get_fewer_directives() {
        let all = CacheControl::new().public().max_age(seconds(60)).s_maxage(seconds(60)).must_revalidate();
        assert_eq!(all.restrictions_only().to_string(), "must-revalidate");
        assert_eq!(all.for_one_visitor().to_string(), "max-age=60, must-revalidate");
        let community = CacheControl::new().private().extension("community", "UCI").expect("valid");
        assert_eq!(community.for_one_visitor().to_string(), "private");
        assert_eq!(community.restrictions_only().to_string(), "private");
        assert_eq!(
            CacheControl::new().max_age(seconds(0)).no_store().restrictions_only().to_string(),
            "max-age=0, no-store"
        );
    }
}
