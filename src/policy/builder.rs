//! What builds a policy.

use super::Policy;
use crate::error::{ConfigError, ConfigErrorKind};
use http::HeaderName;

/// Builds a [`Policy`]: made by [`Policy::app`] or [`Policy::rfc9111`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Policy;
///
/// let policy = Policy::app()
///     .default_ttl(Duration::from_secs(600))
///     .ignore_cookies(["_ga*"])
///     .vary_on_headers(["hx-request"])
///     .build()?;
/// # Ok::<_, tower_response_cache::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PolicyBuilder {
    pub(super) policy: Policy,
    /// What is wrong with the options so far.
    pub(super) errors: Vec<ConfigError>,
}

impl From<Policy> for PolicyBuilder {
    /// Begins with the options of a policy.
    fn from(policy: Policy) -> Self {
        Self { policy, errors: Vec::new() }
    }
}

impl PolicyBuilder {
    /// Builds the policy.
    ///
    /// # Errors
    /// If any option can't work; the error [names all](ConfigError::all) that can't.
    pub fn build(self) -> Result<Policy, ConfigError> {
        ConfigError::join(self.errors).map_or(Ok(self.policy), Err)
    }

    /// Notes what is wrong with an option.
    pub(super) fn check(mut self, result: Result<(), ConfigError>) -> Self {
        self.errors.extend(result.err());
        self
    }

    /// Returns the names of fields, and notes those that are none.
    pub(super) fn field_names<N: AsRef<str>>(
        &mut self,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<HeaderName> {
        let mut fields = Vec::new();
        for name in names {
            match HeaderName::try_from(name.as_ref()) {
                Ok(name) => fields.push(name),
                Err(_) => {
                    self.errors.push(ConfigError::new(ConfigErrorKind::InvalidFieldName, name.as_ref()))
                }
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_names_each_wrong_option_once() {
        let builder = Policy::app()
            .hosts(["A"])
            .vary_on_headers(["cookie", "not a name"])
            .ignore_cookies(["a"])
            .vary_on_cookies(["a"])
            .credential_cookies(["b"]);
        let error = builder.build().expect_err("four are wrong");
        let all: Vec<_> = error.all().map(|error| (error.kind(), error.value())).collect();
        let expected = [
            (ConfigErrorKind::InvalidHost, "A"),
            (ConfigErrorKind::InvalidFieldName, "not a name"),
            (ConfigErrorKind::Contradiction, "cookie"),
            (ConfigErrorKind::Contradiction, "a"),
        ];
        assert_eq!(all, expected);
        assert_eq!(error.to_string().matches("; ").count(), 3, "{error}");
        assert!(Policy::rfc9111().vary_on_headers(["x-plan"]).build().is_ok());
    }
}
