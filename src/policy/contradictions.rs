//! Names to which contradictory options apply.

use crate::error::{ConfigError, ConfigErrorKind};
use std::fmt;

/// Returns the names that are in both lists.
pub(crate) fn shared<'a, N: PartialEq>(one: &'a [N], other: &'a [N]) -> impl Iterator<Item = &'a N> {
    one.iter().filter(|name| other.contains(name))
}

/// Returns the error for a name to which contradictory options apply.
pub(crate) fn contradiction(name: impl fmt::Display) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Contradiction, name)
}
