//! The directives that layers write: a typed set.

use super::directive::{Argument, Directive, seconds};
use http::HeaderName;
use std::fmt::Write;
use std::time::Duration;

/// Response directives to be written (RFC 9111 section 5.2.2, RFC 5861, RFC 8246), for a
/// `SetCacheControlLayer`.
///
/// Durations are written in whole seconds, at most 2^31 (RFC 9111 section 1.2.2).
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::cache_headers::CacheControl;
///
/// let control = CacheControl::new().public().max_age(Duration::from_secs(3600)).immutable();
/// assert_eq!(control.to_string(), "public, max-age=3600, immutable");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CacheControl(pub(super) Vec<Directive>);

/// RFC 9111 section 1.2.2.
const MOST_SECONDS: u64 = 1 << 31;

impl CacheControl {
    /// Creates an empty set of directives.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: &str, argument: Argument) -> Self {
        self.0.retain(|directive| directive.name != name);
        self.0.push(Directive { name: name.to_owned(), argument });
        self
    }

    fn with_seconds(self, name: &str, duration: Duration) -> Self {
        self.with(name, Argument::Seconds(duration.as_secs().min(MOST_SECONDS)))
    }

    fn with_fields(self, name: &str, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        let fields: Vec<_> = fields.into_iter().map(|field| field.as_str().to_owned()).collect();
        // No name at all is all of the response.
        self.with(name, if fields.is_empty() { Argument::None } else { Argument::Fields(fields) })
    }

    /// Any cache may store the response, even where it otherwise might not.
    pub fn public(self) -> Self {
        self.with("public", Argument::None)
    }

    /// Only the client's own cache may store the response.
    pub fn private(self) -> Self {
        self.with("private", Argument::None)
    }

    /// Only the client's own cache may store these fields.
    pub fn private_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("private", fields)
    }

    /// Every use has to be validated first.
    pub fn no_cache(self) -> Self {
        self.with("no-cache", Argument::None)
    }

    /// These fields must not be used without validation.
    pub fn no_cache_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("no-cache", fields)
    }

    /// Nothing of the exchange may be stored.
    pub fn no_store(self) -> Self {
        self.with("no-store", Argument::None)
    }

    /// The content must not be transformed on its way.
    pub fn no_transform(self) -> Self {
        self.with("no-transform", Argument::None)
    }

    /// Once stale, it must not be used without validation.
    pub fn must_revalidate(self) -> Self {
        self.with("must-revalidate", Argument::None)
    }

    /// The same, for shared caches.
    pub fn proxy_revalidate(self) -> Self {
        self.with("proxy-revalidate", Argument::None)
    }

    /// Only a cache that knows the requirements of the status may store it.
    pub fn must_understand(self) -> Self {
        self.with("must-understand", Argument::None)
    }

    /// It never changes while it is fresh (RFC 8246).
    pub fn immutable(self) -> Self {
        self.with("immutable", Argument::None)
    }

    /// How long it is fresh. Of this and what the response says itself, the shorter is written.
    pub fn max_age(self, lifetime: Duration) -> Self {
        self.with_seconds("max-age", lifetime)
    }

    /// How long it is fresh for shared caches.
    pub fn s_maxage(self, lifetime: Duration) -> Self {
        self.with_seconds("s-maxage", lifetime)
    }

    /// How long it may be used stale while it is revalidated (RFC 5861 section 3).
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.with_seconds("stale-while-revalidate", window)
    }

    /// How long it may be used stale where the origin fails (RFC 5861 section 4).
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.with_seconds("stale-if-error", window)
    }

    pub(super) fn argument(&self, name: &str) -> Option<&Argument> {
        self.0.iter().find(|directive| directive.name == name).map(|directive| &directive.argument)
    }

    /// Returns two directives that contradict each other, if there are any.
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

    /// Returns those that let nobody do more: what an error, or a response for nobody, may be told.
    pub(crate) fn restricting(&self) -> Self {
        let lengthens = |directive: &Directive| {
            matches!(
                directive.name.as_str(),
                "public" | "immutable" | "stale-while-revalidate" | "stale-if-error"
            ) || (matches!(directive.name.as_str(), "max-age" | "s-maxage")
                && seconds(&directive.argument) > 0)
        };
        Self(self.0.iter().filter(|directive| !lengthens(directive)).cloned().collect())
    }

    /// Returns those that let no shared cache do more: what a response for one visitor may be told.
    pub(crate) fn for_one(&self) -> Self {
        self.clone().without(&["public", "s-maxage"])
    }

    /// Tells whether there is no directive.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes directives.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|directive| !names.contains(&directive.name.as_str()));
        self
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
    use super::CacheControl;
    use http::header::COOKIE;
    use std::time::Duration;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn every_directive_is_written_as_its_rfc_names_it() {
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
    fn what_restricts_and_what_is_for_one_visitor_is_told_apart() {
        let all = CacheControl::new().public().max_age(seconds(60)).s_maxage(seconds(60)).must_revalidate();
        assert_eq!(all.restricting().to_string(), "must-revalidate");
        assert_eq!(all.for_one().to_string(), "max-age=60, must-revalidate");
        assert_eq!(
            CacheControl::new().max_age(seconds(0)).no_store().restricting().to_string(),
            "max-age=0, no-store"
        );
    }
}
