//! A table of options that an operator changes at run time.

mod duration;
mod entry;
mod fields;

use crate::rules::percent::percent_decoded;
pub(crate) use entry::PolicyTableEntry;
use fields::EntryFields;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::fmt;

/// Options that replace options of policies at run time, by layer name and path.
///
/// A table comes from a configuration file, by serde. [`Cache::set_policy_table`] puts it into
/// effect, without a restart. An entry applies to the requests of one layer, or under one path, or
/// both. For each request and layer, the first entry that matches applies, and no other one.
/// Options that the entry does not set come from the policy of the layer.
///
/// # Format
/// The table has one field, `entries`. The fields of an entry are all optional:
///
/// | field | meaning |
/// |---|---|
/// | `layer` | the [name](super::PolicyBuilder::name) of the layer; `site` and `route` name layers without a name |
/// | `path` | the path that the client requested, such as `/about`; with `*` at its end, all paths with this prefix: `/blog/*`. It may be percent-encoded or not |
/// | `enabled` | `false`: the layer forwards the requests (`detail=disabled`), but fetches in flight still store their responses; `true` turns a layer on that the application has turned off |
/// | `dry_run` | `true`: requests are looked up and missing responses are stored, but the service answers every request |
/// | `ttl` | the lifetime of 200 responses; it replaces the stated lifetime, as in a [`RouteCacheLayer`](crate::RouteCacheLayer) |
/// | `default_ttl` | [`default_ttl`](super::PolicyBuilder::default_ttl) |
/// | `client_max_age` | [`client_max_age`](super::PolicyBuilder::client_max_age) |
/// | `stale_while_revalidate`, `stale_if_error` | the [stale](super::PolicyBuilder::stale_while_revalidate) [windows](super::PolicyBuilder::stale_if_error) |
///
/// A duration is a number of seconds, or a string with a unit: `"500ms"`, `"90s"`, `"10m"`, `"2h"`,
/// `"7d"`. The lifetimes `ttl` and `default_ttl` may also be `"forever"`.
///
/// # Dry run
/// A dry run shows what the cache would do, before visitors depend on it. A request that would be a
/// hit is forwarded, and reports `fwd=bypass; detail=dry-run`. Its response is stored only if the
/// stored response is stale, so lifetimes pass as they do without a dry run. Other requests report
/// the same as always. Requests do not collapse. Requests whose responses may be stored reach the
/// service without their unkeyed inputs, `If-None-Match` and `If-Modified-Since`, as in every fetch.
///
/// # Errors
/// Deserialization fails if a field is unknown, occurs twice or has the wrong type. It also fails
/// if two fields or two entries contradict each other, or if an entry would change keys. The
/// message names the entry and the field. At most 1,024 entries are permitted.
///
/// # Example
/// ```
/// use tower_response_cache::policy::PolicyTable;
///
/// let table = r#"{ "entries": [
///     { "path": "/checkout/*", "enabled": false },
///     { "layer": "blog", "path": "/blog/*", "ttl": "10m", "stale_while_revalidate": "1h" }
/// ] }"#;
/// let table: PolicyTable = serde_json::from_str(table)?;
/// assert_eq!(table.len(), 2);
///
/// let error = serde_json::from_str::<PolicyTable>(r#"{ "entries": [{ "path": "/", "tll": 5 }] }"#);
/// let message = error.unwrap_err().to_string();
/// assert!(message.starts_with("entry 1 (path \"/\"): unknown field `tll`"), "{message}");
/// # Ok::<_, serde_json::Error>(())
/// ```
///
/// [`Cache::set_policy_table`]: crate::Cache::set_policy_table
#[doc(alias = "feature flag")]
#[doc(alias = "runtime configuration")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "pass it to `Cache::set_policy_table`"]
pub struct PolicyTable {
    entries: Vec<PolicyTableEntry>,
}

/// The most entries of a table. The path of a request may be compared with all of them.
const MAX_ENTRIES: usize = 1024;

/// A table whose entries are not checked yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedTable {
    entries: Vec<EntryFields>,
}

impl PolicyTable {
    /// Creates a table without entries, with which every layer follows its policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if the table has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the first entry for a path in a layer, and its number, which counts from 1.
    pub(crate) fn find(&self, layer: &str, path: &str) -> Option<(usize, &PolicyTableEntry)> {
        let path = percent_decoded(path);
        let at = self.entries.iter().position(|entry| entry.applies(layer, &path))?;
        Some((at + 1, &self.entries[at]))
    }

    /// Returns the layer names in the table, each with a description of its entry for messages.
    pub(crate) fn named_layers(&self) -> impl Iterator<Item = (&str, String)> {
        let named = |(at, entry): (usize, &'_ PolicyTableEntry)| format!("entry {} ({entry})", at + 1);
        self.entries
            .iter()
            .enumerate()
            .filter_map(move |(at, entry)| Some((entry.layer()?, named((at, entry)))))
    }

    /// Checks the number of entries, and each entry. An error names the entry, and the field if
    /// only one is invalid.
    fn check(fields: Vec<EntryFields>) -> Result<Self, String> {
        if fields.len() > MAX_ENTRIES {
            return Err(format!("{} entries (at most {MAX_ENTRIES} are permitted)", fields.len()));
        }
        let mut entries: Vec<PolicyTableEntry> = Vec::with_capacity(fields.len());
        for (at, fields) in fields.into_iter().enumerate() {
            let number = at + 1;
            let name = fields.to_string();
            let refuse = |why: &dyn fmt::Display| format!("entry {number} ({name}): {why}");
            let entry = PolicyTableEntry::try_from(fields).map_err(|why| refuse(&why))?;
            if let Some(first) = entries.iter().position(|first| first.covers(&entry)) {
                let why = format!("entry {} applies to all of its requests, so it has no effect", first + 1);
                return Err(refuse(&why));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

impl<'de> Deserialize<'de> for PolicyTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let UncheckedTable { entries } = UncheckedTable::deserialize(deserializer)?;
        Self::check(entries).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
