//! The sentences of the contract that the kit verifies, and the report if a store breaks one of
//! them.

use crate::entry::EntryKind;
use crate::store::{Entry, KeyRef, StoreError};
use std::fmt;

/// A rule of the contract: a sentence of the docs, and the method to which it applies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    method: &'static str,
    sentence: &'static str,
}

macro_rules! rules {
    ($($name:ident: $method:literal, $sentence:literal;)*) => {
        $(pub(super) const $name: Rule = Rule { method: $method, sentence: $sentence };)*
        #[cfg(test)]
        const ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    GET: "Store::get", "Returns the entry under a key, or None if it is absent or has expired.";
    GET_KEYS: "Store::get", "Keys are compared by their full bytes, not by a hash.";
    GET_UNCHANGED: "Store::get", "Entries are returned exactly as they were put: a store never changes status, header lines or body bytes.";
    GET_AT: "Store::get_at", "Returns the entry under a key, and the generation of a namespace if both are read in one round trip.";
    READ: "Store::get_at", "The generation is the one that was current after the entry was read, for Generations::check_at.";
    PEEK: "Store::peek", "Returns the same entry as get, for diagnosis.";
    PUT: "Store::put", "Stores an entry and returns true if it was stored.";
    PUT_ZERO: "Store::put", "A zero ttl stores nothing and returns false; it also removes the old entry, unless the mode is PutMode::IfAbsent.";
    PUT_LONG: "Store::put", "A ttl that is too long for the store counts as None.";
    PUT_TOO_LARGE: "Store::put", "If the put fails, or the entry is too large, the old entry must be gone: old data must not outlive a write of new data.";
    PUT_IF_ABSENT: "Store::put", "IfAbsent is atomic: of many concurrent calls for an absent key, exactly one returns true.";
    PUT_EXPIRES: "Store::put", "The time to live counts from the put, and an expired entry is absent for every method.";
    REMOVE: "Store::remove", "Removes an entry and returns true if it was present and had not expired.";
    INCREMENT: "Store::increment", "Adds to a counter atomically and returns its new value.";
    INCREMENT_TTL: "Store::increment", "An increment does not change the time to live of an existing counter.";
    INCREMENT_MISSING: "Store::increment", "Fails with StoreErrorKind::Missing if there is no counter and initial is None.";
    INCREMENT_NOT_A_NUMBER: "Store::increment", "Fails with StoreErrorKind::NotANumber if the entry is not a counter.";
    INCREMENT_OVERFLOW: "Store::increment", "Fails with StoreErrorKind::Overflow if the sum is outside the range of i64; the counter keeps its value.";
    COMPARE: "Store::compare_and_set", "Stores new atomically if the current entry equals expected. An expected of None equals an absent key. Returns true if the call took effect.";
    COMPARE_ZERO: "Store::compare_and_set", "With a zero ttl, removes the current entry instead of replacing it.";
    GET_MANY: "Store::get_many", "Returns the entries under several keys, in the order of the keys.";
    GET_MANY_AT: "Store::get_many_at", "Returns the entries under several keys, and the generation of a namespace if all of them are read in one round trip.";
    PUT_MANY: "Store::put_many", "Stores several entries, replaces old ones, and returns true for each entry that was stored.";
    REMOVE_MANY: "Store::remove_many", "Removes several entries and returns true for each key that had an unexpired one.";
    TOUCH: "Store::touch", "Sets the remaining time to live of an entry (None: it never expires) and returns true if it is present and has not expired.";
    TOUCH_ZERO: "Store::touch", "A zero ttl removes the entry.";
    SHARED: "Store::generations", "Returns the invalidations of a namespace, shared by all callers that pass the same name.";
    APART: "Store::generations", "An invalidation in one namespace does not affect other namespaces.";
    CURRENT: "Generations::current", "Returns the generation that entries made from now on carry.";
    GROWS: "Generations::current", "The counter only grows, and a generation becomes current only when every check can see the invalidation that led to it.";
    CLEARED: "Generations::cleared", "Returns the generation of the last hard invalidation of Scope::EVERYTHING or Scope::VALUES, or the first generation of the incarnation if there was none.";
    KNOWN_CLEARED: "Generations::known_cleared", "Returns what this process knows of cleared, without a request; None if it keeps no copy of the invalidations.";
    CLEARED_AT: "Generations::cleared_at", "Returns the same as cleared, no older than the generation read, which Store::get_at returned.";
    CHECK_AT: "Generations::check_at", "Returns the same as check, for an entry that Store::get_at returned together with the generation read.";
    VALID: "Generations::check", "An entry is valid if it carries the generation that was current before the work that made it began, and no later advance named one of its scopes.";
    EVERYTHING: "Generations::check", "Every entry has Scope::EVERYTHING, even if the scope is not among scopes.";
    AHEAD: "Generations::check", "An entry of another incarnation, or ahead of the counter, is never valid.";
    FUTURE: "Generations::check", "An entry whose incarnation begins more than ten years from now is invalid, and does not start a new incarnation.";
    WENT_BACK: "Generations::check", "The loss is noticed by a process that has seen a later generation, and by a check of an entry that was made after a lost invalidation; the store then begins a new incarnation.";
    OVERTAKEN: "Generations::check", "A generation whose stamp differs from the kept one belongs to a lost history: its entry is invalid, and a new incarnation begins.";
    LOST: "Generations::check", "No eviction may make an invalid entry valid again: a store that lost the counter begins a new incarnation, in which every older entry is invalid.";
    ADVANCE: "Generations::advance", "After advance has returned, no check on any machine may find an older entry of these scopes valid.";
    SOFT: "Generations::advance", "Entries become stale, and may still be served within their stale windows.";
    NOT_UNDONE: "Generations::advance", "A soft invalidation never undoes a Hard one.";
    DEPEND: "Generations::depend", "Records that an entry is about to be made from a value, and returns the current generation.";
    WRITTEN: "Generations::written", "Invalidates the dependents of a value that was just written or removed. If depend was never called for the value, nothing is advanced, so that values without dependents cost nothing.";
    WRITTEN_SINCE: "Generations::written", "Returns the generation that dependencies on the new value carry, or None if another writer has written the value after since.";
}

impl Rule {
    /// Verifies that a call returned the expected value.
    pub(super) fn returned<T: PartialEq + ShowValue>(self, call: impl fmt::Display, found: T, expected: T) {
        let both = [found, expected];
        if both[0] != both[1] {
            self.broken(&format!("{call} returned {}, expected {}", both[0].shown(), both[1].shown()));
        }
    }

    /// Verifies a value that the kit derives from several calls.
    pub(super) fn is<T: PartialEq + ShowValue>(self, what: impl fmt::Display, found: T, expected: T) {
        let both = [found, expected];
        if both[0] != both[1] {
            self.broken(&format!("{what} is {}, expected {}", both[0].shown(), both[1].shown()));
        }
    }

    /// Returns the result of a call, which must not fail.
    pub(super) fn ok<T>(self, call: impl fmt::Display, result: Result<T, StoreError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.broken(&format!("{call} failed: {error} ({:?})", error.kind())),
        }
    }

    /// Reports that the store breaks the rule.
    pub(super) fn broken(self, seen: &str) -> ! {
        panic!("`{}` breaks the contract\n  rule: {}\n  seen: {seen}", self.method, self.sentence)
    }
}

/// Formats a value for a report, on one line.
pub(super) trait ShowValue {
    fn shown(&self) -> String;
}

impl<T: fmt::Debug> ShowValue for T {
    fn shown(&self) -> String {
        let all = format!("{self:?}");
        match all.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => format!("{}... ({} characters)", &all[..end], all.chars().count()),
            None => all,
        }
    }
}

/// The most characters of a value that a report shows.
const MAX_SHOWN_CHARS: usize = 120;

/// An entry as a report shows it.
#[derive(PartialEq)]
pub(super) struct ShownEntry(pub(super) Option<Entry>);

impl fmt::Debug for ShownEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("no entry"),
            Some(Entry(EntryKind::Counter(number))) => write!(f, "the counter {number}"),
            Some(Entry(EntryKind::Value(value))) => {
                write!(f, "a value of {} bytes: {:?}", value.bytes().len(), value.bytes())
            }
            Some(other) => write!(f, "{other:?}"),
        }
    }
}

/// Returns a key as text. Of a long key, returns the first bytes and the length.
pub(super) fn key(key: KeyRef<'_>) -> String {
    let bytes = key.as_bytes();
    match bytes.len() > 64 {
        true => format!("{}... ({} bytes)", bytes[..32].escape_ascii(), bytes.len()),
        false => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the doc comments of a source file as plain text, on one line and without links.
    fn plain(source: &str) -> String {
        let docs = source.lines().filter_map(|line| line.trim().strip_prefix("///"));
        let text = docs.map(str::trim).collect::<Vec<_>>().join(" ").replace('`', "");
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("](") {
            plain.push_str(before);
            rest = after.split_once(')').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        plain.replace(['[', ']'], "")
    }

    #[test]
    fn every_rule_quotes_the_documentation() {
        let docs = plain(include_str!("../store_trait.rs")) + &plain(include_str!("../generations.rs"));
        for rule in ALL {
            assert!(docs.contains(rule.sentence), "{rule:?}");
        }
    }

    #[test]
    fn reports_truncate_long_values_and_keys() {
        let shown = ShownEntry(Some(Entry::raw(vec![0; 100_000]))).shown();
        assert!(shown.starts_with("a value of 100000 bytes: ") && shown.len() < 200, "{shown}");
        assert_eq!(ShownEntry(None).shown(), "no entry");
        assert_eq!(key(KeyRef::new(b"a\0b")), "a\\x00b");
        assert!(key(KeyRef::new(&[b'k'; 4096])).ends_with("kkk... (4096 bytes)"));
    }
}
