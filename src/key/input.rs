//! The inputs of a key, as `Cache::explain` shows them.

use super::buf::MAX_PLAIN_VALUE;
use super::policy::KeyPolicy;
use http::HeaderMap;
use std::fmt;

/// An input of a request that is part of its key, as
/// [`Cache::explain`](crate::cache::Cache::explain) shows it.
///
/// # Security
/// The values of credentials, of keyed cookies, of computed parts and of identities are shown as
/// the beginning of their digest only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInput {
    name: String,
    value: Option<String>,
    is_digest: bool,
}

/// The most characters of a value that are shown.
const MAX_SHOWN_CHARS: usize = 512;

impl KeyInput {
    /// Creates an input whose value is shown.
    pub(crate) fn plain(name: impl Into<String>, value: Option<&str>) -> Self {
        let shown = |value: &str| value.chars().take(MAX_SHOWN_CHARS).collect();
        Self { name: name.into(), value: value.map(shown), is_digest: false }
    }

    /// Creates an input that is shown as the beginning of a digest.
    pub(crate) fn digest(name: impl Into<String>, digest: Option<&[u8]>) -> Self {
        let shown =
            |digest: &[u8]| digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { name: name.into(), value: digest.map(shown), is_digest: true }
    }

    /// Returns the kind of the input and its name, such as `path`, `header accept-language` or
    /// `cookie lang`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value, or the beginning of its digest. Returns `None` if the request has no such
    /// input.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Returns `true` if [`value`](Self::value) is the beginning of a digest.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.is_digest
    }
}

/// Writes the name and the value, such as `path "/flavors"`.
impl fmt::Display for KeyInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.is_digest) {
            (None, _) => write!(f, "{} absent", self.name),
            (Some(digest), true) => write!(f, "{} #{digest}", self.name),
            (Some(value), false) => write!(f, "{} {value:?}", self.name),
        }
    }
}

impl KeyPolicy {
    /// Returns the keyed request fields and the computed parts of a request.
    pub(crate) fn inputs(&self, request: &HeaderMap, parts: &[Option<String>]) -> Vec<KeyInput> {
        let fields = self.headers.iter().map(|name| {
            let label = format!("header {name}");
            let lines = request.get_all(name);
            let values: Vec<_> =
                lines.iter().map(|line| line.as_bytes().escape_ascii().to_string()).collect();
            let is_long = values.iter().map(String::len).sum::<usize>() > MAX_PLAIN_VALUE;
            match values.as_slice() {
                [] => KeyInput::plain(label, None),
                _ if is_long || self.secrets.contains(name) => {
                    KeyInput::digest(label, Some(self.digest(name, &lines).as_slice()))
                }
                values => KeyInput::plain(label, Some(&values.join(", "))),
            }
        });
        let parts = self.vary_by.iter().zip(parts).map(|(part, value)| {
            let label = format!("vary_by {}", part.name());
            match value {
                Some(value) if !part.is_fixed() => {
                    let digest = self.digests.digest(part.name().as_bytes(), value.as_bytes());
                    KeyInput::digest(label, Some(digest.as_slice()))
                }
                value => KeyInput::plain(label, value.as_deref()),
            }
        });
        fields.chain(parts).collect()
    }
}
