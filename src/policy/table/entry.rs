//! One entry of a policy table, and the checks of its fields.

use super::duration::{duration, ttl};
use super::fields::{EntryFields, FieldValue, write_place};
use crate::policy::{Policy, Ttl};
use crate::rules::percent::percent_decoded;
use crate::rules::stale::StaleOverrides;
use std::fmt;
use std::time::Duration;

/// One entry of a [`PolicyTable`](super::PolicyTable): the requests to which it applies, and the
/// options that it sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PolicyTableEntry {
    layer: Option<String>,
    path: Option<PathPattern>,
    enabled: Option<bool>,
    dry_run: bool,
    ttl: Option<Ttl>,
    default_ttl: Option<Ttl>,
    client_max_age: Option<Duration>,
    stale: StaleOverrides,
}

/// The paths to which an entry applies: one path, or all paths with a prefix. Paths are compared
/// without percent-encoding, as in invalidations.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PathPattern {
    /// The pattern as the table has it.
    text: String,
    /// The path or the prefix, without percent-encoding.
    decoded: Vec<u8>,
    is_prefix: bool,
}

impl PathPattern {
    fn new(text: String) -> Result<Self, &'static str> {
        check_path(&text)?;
        let prefix = text.strip_suffix('*');
        let decoded = percent_decoded(prefix.unwrap_or(&text)).into_owned();
        Ok(Self { is_prefix: prefix.is_some(), decoded, text })
    }

    /// Returns `true` if the pattern matches a path without percent-encoding.
    fn matches(&self, path: &[u8]) -> bool {
        match self.is_prefix {
            true => path.starts_with(&self.decoded),
            false => path == self.decoded,
        }
    }

    /// Returns `true` if the pattern matches all paths that the other one matches.
    fn covers(&self, other: &Self) -> bool {
        self.matches(&other.decoded) && (self.is_prefix || !other.is_prefix)
    }
}

/// The options that decide keys, or who shares a response. A table must not set them.
const KEY_OPTIONS: [&str; 18] = [
    "name",
    "query",
    "hosts",
    "vary_by",
    "vary_by_part",
    "vary_by_identity",
    "vary_on_headers",
    "vary_on_cookies",
    "ignore_headers",
    "ignore_cookies",
    "ignore_undeclared_cookies",
    "ignore_response_cookies",
    "credential_headers",
    "credential_cookies",
    "strip_unkeyed_inputs",
    "allow_unkeyed_headers",
    "share_set_cookie",
    "key_secret",
];

const FIELDS: &str = "`layer`, `path`, `enabled`, `dry_run`, `ttl`, `default_ttl`, `client_max_age`, \
                      `stale_while_revalidate`, `stale_if_error`";

impl PolicyTableEntry {
    /// Returns the name of the layer to which the entry applies, or `None` if it applies to all.
    pub(super) fn layer(&self) -> Option<&str> {
        self.layer.as_deref()
    }

    /// Returns `true` if the entry applies to requests for a path in a layer. The path is without
    /// percent-encoding.
    pub(super) fn applies(&self, layer: &str, path: &[u8]) -> bool {
        self.layer().is_none_or(|own| own == layer) && self.path.as_ref().is_none_or(|own| own.matches(path))
    }

    /// Returns `true` if the entry applies to all requests to which the other one applies.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covers_layer = self.layer.is_none() || self.layer == other.layer;
        covers_layer
            && match (&self.path, &other.path) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(other)) => own.covers(other),
            }
    }

    /// Returns `Some(true)` if the entry turns the layer on, and `Some(false)` if it turns the
    /// layer off.
    pub(crate) fn enabled(&self) -> Option<bool> {
        self.enabled
    }

    /// Returns `true` if the entry sets `dry_run`: stored responses answer no request.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Returns the lifetime that replaces the lifetime in a response.
    pub(crate) fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }

    /// Replaces the options that the entry sets. None of them enters a key.
    pub(crate) fn apply(&self, policy: &mut Policy) {
        policy.default_ttl = self.default_ttl.unwrap_or(policy.default_ttl);
        policy.client_max_age = self.client_max_age.or(policy.client_max_age);
        policy.stale.while_revalidate = self.stale.while_revalidate.or(policy.stale.while_revalidate);
        policy.stale.if_error = self.stale.if_error.or(policy.stale.if_error);
    }

    /// Sets a field by its name. Returns an error if the name or the value is invalid.
    fn set(&mut self, name: &str, value: FieldValue) -> Result<(), String> {
        let refused = |why: &str| format!("field `{name}`: {why}");
        let flag = |value: &FieldValue| match value {
            FieldValue::Flag(flag) => Ok(*flag),
            _ => Err("expected true or false"),
        };
        match (name, value) {
            ("layer", FieldValue::Text(name)) => self.layer = Some(name),
            ("path", FieldValue::Text(path)) => {
                self.path = Some(PathPattern::new(path).map_err(refused)?);
            }
            ("layer" | "path", _) => return Err(refused("expected a string")),
            ("enabled", value) => self.enabled = Some(flag(&value).map_err(refused)?),
            ("dry_run", value) => self.dry_run = flag(&value).map_err(refused)?,
            ("ttl", value) => self.ttl = Some(ttl(&value).map_err(refused)?),
            ("default_ttl", value) => self.default_ttl = Some(ttl(&value).map_err(refused)?),
            ("client_max_age", value) => self.client_max_age = Some(duration(&value).map_err(refused)?),
            ("stale_while_revalidate", value) => {
                self.stale.while_revalidate = Some(duration(&value).map_err(refused)?);
            }
            ("stale_if_error", value) => self.stale.if_error = Some(duration(&value).map_err(refused)?),
            (name, _) if KEY_OPTIONS.contains(&name) => {
                return Err(refused("would change keys or who shares a response (set it in the policy)"));
            }
            _ => return Err(format!("unknown field `{name}`, expected one of {FIELDS}")),
        }
        Ok(())
    }

    /// Returns the error message if two fields contradict each other.
    fn contradiction(&self) -> Option<&'static str> {
        let sets_time = self.ttl.is_some()
            || self.default_ttl.is_some()
            || self.client_max_age.is_some()
            || self.stale != StaleOverrides::default();
        match self {
            Self { enabled: Some(false), dry_run: true, .. } => {
                Some("field `dry_run` contradicts `enabled` = false")
            }
            Self { enabled: Some(false), .. } if sets_time => {
                Some("field `enabled` = false contradicts the lifetimes, which would have no effect")
            }
            Self { ttl: Some(_), default_ttl: Some(_), .. } => {
                Some("field `default_ttl` contradicts `ttl`, which outranks it")
            }
            // `dry_run` = false is no error: the first matching entry applies, so it can be an
            // exception from a later one.
            _ => None,
        }
    }
}

/// Checks that a pattern is a path with at most one `*`, at its end.
fn check_path(path: &str) -> Result<(), &'static str> {
    let prefix = path.strip_suffix('*').unwrap_or(path);
    if !path.starts_with('/') {
        return Err("expected a path that begins with `/`");
    }
    if prefix.contains('*') {
        return Err("`*` is permitted at the end only");
    }
    if prefix.contains(['?', '#']) {
        return Err("expected a path without query and fragment");
    }
    Ok(())
}

impl TryFrom<EntryFields> for PolicyTableEntry {
    type Error = String;

    fn try_from(EntryFields(fields): EntryFields) -> Result<Self, String> {
        let mut entry = Self::default();
        let mut known: Vec<String> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            if known.contains(&name) {
                return Err(format!("field `{name}` occurs twice"));
            }
            entry.set(&name, value)?;
            known.push(name);
        }
        match entry.contradiction() {
            Some(why) => Err(why.to_owned()),
            None => Ok(entry),
        }
    }
}

/// Writes the layer and the path of the entry.
impl fmt::Display for PolicyTableEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, self.layer.as_deref(), self.path.as_ref().map(|path| path.text.as_str()))
    }
}
