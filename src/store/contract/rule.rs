//! The sentences of the contract that the kit verifies, and the report about a broken one.

use crate::entry::EntryKind;
use crate::store::{Entry, KeyRef, StoreError};
use std::fmt;

/// A sentence of the contract, and the method that it is about.
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
    GET: "Store::get", "Returns the entry under a key, or None if there is none or it has expired.";
    GET_KEYS: "Store::get", "The full bytes of the key decide, not a hash of them.";
    GET_UNCHANGED: "Store::get", "Entries are handed out as they were put: status, header lines and body bytes are never changed.";
    PUT: "Store::put", "Stores an entry for a time (None is for ever) and returns whether the mode let it.";
    PUT_ZERO: "Store::put", "A zero ttl stores nothing, removes what was there (unless the mode is PutMode::IfAbsent) and returns false.";
    PUT_LONG: "Store::put", "A ttl that is too long for the store is for ever.";
    PUT_TOO_LARGE: "Store::put", "Whenever this fails, or the entry is too large, the entry that was there before must be gone: old data must not outlive a write of new data.";
    PUT_IF_ABSENT: "Store::put", "IfAbsent is atomic: of many concurrent calls on an absent key one returns true.";
    PUT_EXPIRES: "Store::put", "Time to live is counted from the put; an expired entry is absent for every method.";
    REMOVE: "Store::remove", "Removes an entry and returns whether there was one that had not expired.";
    INCREMENT: "Store::increment", "Adds to a counter atomically and returns its new value.";
    INCREMENT_TTL: "Store::increment", "The time to live stays as it is.";
    INCREMENT_MISSING: "Store::increment", "Fails with StoreErrorKind::Missing if there is no counter and no initial.";
    INCREMENT_NOT_A_NUMBER: "Store::increment", "Fails with StoreErrorKind::NotANumber if the entry is not a counter.";
    INCREMENT_OVERFLOW: "Store::increment", "Fails with StoreErrorKind::Overflow past the range of i64, and leaves the counter unchanged.";
    COMPARE: "Store::compare_and_set", "Puts new if what is stored equals expected (None is absent), atomically, and returns whether it did.";
    COMPARE_ZERO: "Store::compare_and_set", "With a zero ttl, what is stored is removed instead.";
    GET_MANY: "Store::get_many", "Returns the entries under several keys, in their order.";
    PUT_MANY: "Store::put_many", "Stores several entries, whatever was there before, and returns whether each was stored.";
    REMOVE_MANY: "Store::remove_many", "Removes several entries and returns of each whether there was one.";
    TOUCH: "Store::touch", "Sets how long an entry lives from now on (None is for ever) and returns whether there is one that has not expired.";
    TOUCH_ZERO: "Store::touch", "A zero ttl removes it.";
    SHARED: "Store::generations", "Returns the invalidations of a namespace, shared by all who ask for the same one.";
    APART: "Store::generations", "An invalidation in one namespace leaves the other namespaces alone.";
    CURRENT: "Generations::current", "Returns the generation that entries made from now on carry.";
    GROWS: "Generations::current", "The counter only grows, and a generation becomes current no sooner than the invalidation that led to it can be seen by every check: who reads a generation and then finds an entry valid may go on taking it for valid while that generation is current.";
    CLEARED: "Generations::cleared", "Returns the generation of the last time that Scope::EVERYTHING or Scope::VALUES was invalidated (Strength::Hard), or the first one of the incarnation: counters, which carry no generation themselves, have it in their keys.";
    VALID: "Generations::check", "An entry is valid if it carries the generation that was current before the work that made it began, and no later advance named a scope of it.";
    EVERYTHING: "Generations::check", "Scope::EVERYTHING is always among the scopes.";
    AHEAD: "Generations::check", "An entry of another incarnation, or ahead of the counter, is never valid.";
    FUTURE: "Generations::check", "An entry whose incarnation begins more than ten years from now is invalid, and begins no new incarnation.";
    WENT_BACK: "Generations::check", "That is noticed by a process that has seen a later generation, and through an entry that was made after a lost invalidation; the store begins a new incarnation then.";
    OVERTAKEN: "Generations::check", "A generation with another stamp than the kept one is of a history that was lost: its entry is invalid, and a new incarnation begins.";
    LOST: "Generations::check", "Nothing a store evicts may make it valid again: a store that lost the counter begins a new incarnation, under which every older entry is invalid.";
    ADVANCE: "Generations::advance", "Once advance has returned, no check on any machine may call an older entry of these scopes valid.";
    SOFT: "Generations::advance", "Entries are stale: their stale windows still serve.";
    NOT_UNDONE: "Generations::advance", "This never undoes a Hard one.";
    DEPEND: "Generations::depend", "Notes that something is about to be made from a value, and returns the current generation: before the value is read.";
    WRITTEN: "Generations::written", "Invalidates what was made from a value that was written or removed just now, where depend was ever called for it; else nothing is advanced, so that values nobody depends on cost nothing.";
    WRITTEN_SINCE: "Generations::written", "Returns the generation as of which what is made from the new value counts, or None if somebody else has written it since since, a generation that was current before the write.";
}

impl Rule {
    /// Verifies that a call returned what it has to.
    pub(super) fn returned<T: PartialEq + Show>(self, call: impl fmt::Display, found: T, expected: T) {
        let both = [found, expected];
        if both[0] != both[1] {
            self.broken(&format!("{call} returned {}, expected {}", both[0].shown(), both[1].shown()));
        }
    }

    /// Verifies a number that several calls lead to.
    pub(super) fn is<T: PartialEq + Show>(self, what: impl fmt::Display, found: T, expected: T) {
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

/// What a report shows of a value, in one line.
pub(super) trait Show {
    fn shown(&self) -> String;
}

impl<T: fmt::Debug> Show for T {
    fn shown(&self) -> String {
        let all = format!("{self:?}");
        match all.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}... ({} characters)", &all[..end], all.chars().count()),
            None => all,
        }
    }
}

/// The most characters of a value that are shown.
const MOST: usize = 120;

/// An entry as a report shows it.
#[derive(PartialEq)]
pub(super) struct Shown(pub(super) Option<Entry>);

impl fmt::Debug for Shown {
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

/// Shows a key: its first bytes, and its length if it is long.
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

    /// Returns the documentation of a source file as plain text, on one line.
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
    fn every_rule_is_a_sentence_of_the_documentation() {
        let docs = plain(include_str!("../store_trait.rs")) + &plain(include_str!("../generations.rs"));
        for rule in ALL {
            assert!(docs.contains(rule.sentence), "{rule:?}");
        }
    }

    #[test]
    fn a_long_value_is_shown_in_part() {
        let shown = Shown(Some(Entry::raw(vec![0; 100_000]))).shown();
        assert!(shown.starts_with("a value of 100000 bytes: ") && shown.len() < 200, "{shown}");
        assert_eq!(Shown(None).shown(), "no entry");
        assert_eq!(key(KeyRef::new(b"a\0b")), "a\\x00b");
        assert!(key(KeyRef::new(&[b'k'; 4096])).ends_with("kkk... (4096 bytes)"));
    }
}
