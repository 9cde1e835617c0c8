//! Answers of the service that contradict a stored response.
//!
//! - [`Contradictions`] has answers that should replace a stored response, but are not storable.
//!   The cause may be an unkeyed field of the request: a field that is neither in the key nor
//!   nominated by `Vary`. Therefore the stored response counts as outdated only if two visitors got
//!   such answers.
//! - [`Mismatches`] has the stored responses for which the service sent a 304 about another
//!   representation.

use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::key::{BuildPrehashed, KeyRef};
use crate::rules::exchange_fields::describes_exchange;
use http::header::{DATE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use std::time::Duration;

/// A digest of the unkeyed fields of a request. It is valid only within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnkeyedFieldsDigest(u64);

impl UnkeyedFieldsDigest {
    /// Creates the digest of field lines. It leaves out fields that differ in each request of one
    /// visitor, such as a request ID.
    pub(crate) fn of<'a>(lines: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Self {
        let mut lines: Vec<_> = lines
            .filter(|(name, _)| !describes_exchange(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        lines.sort_unstable();
        let mut bytes = Vec::new();
        for part in lines.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
            bytes.extend(part.len().to_le_bytes());
            bytes.extend(part);
        }
        Self(KeyRef::new(&bytes).process_hash())
    }
}

/// The capacity of each of the two tables, in keys.
const CAPACITY: usize = 8192;

/// The time after which a request with the same unkeyed fields counts as another visitor's.
const SAME_FIELDS_WAIT: Duration = Duration::from_secs(60);

/// The first answer that should have replaced a stored response, but was not storable.
#[derive(Debug, Clone, Copy)]
struct Contradiction {
    /// The time at which the stored response was received. It identifies that response.
    stored: Moment,
    fields: UnkeyedFieldsDigest,
    at: Moment,
}

/// For each key, the first contradiction of its stored response. A hash represents the key.
pub(super) struct Contradictions(Quick<u64, Contradiction, UnitWeighter, BuildPrehashed>);

impl Default for Contradictions {
    fn default() -> Self {
        let (weights, lifecycle) = (UnitWeighter, DefaultLifecycle::default());
        Self(Quick::with(CAPACITY, CAPACITY as u64, weights, BuildPrehashed::default(), lifecycle))
    }
}

impl Contradictions {
    /// Records an answer that contradicts a stored response. `stored` is the time at which that
    /// response was received. Returns `true` if an answer to another visitor has contradicted the
    /// same response before.
    ///
    /// Two requests count as requests of two visitors if their unkeyed fields differ, or if they
    /// are [`SAME_FIELDS_WAIT`] apart.
    pub(super) fn add(
        &self,
        key: KeyRef<'_>,
        stored: Moment,
        fields: UnkeyedFieldsDigest,
        now: Moment,
    ) -> bool {
        let first = self.0.get(&key.process_hash()).filter(|first| first.stored == stored);
        let Some(first) = first else {
            self.0.insert(key.process_hash(), Contradiction { stored, fields, at: now });
            return false;
        };
        first.fields != fields || now >= first.at.after(SAME_FIELDS_WAIT)
    }
}

/// For each key, the last stored response that a 304 did not match (RFC 9111 section 4.3.4). Old
/// keys are evicted.
///
/// Keys are hashed. A response is identified by a hash of `ETag`, `Last-Modified` and `Date`.
pub(super) struct Mismatches(Quick<u64, u64, UnitWeighter, BuildPrehashed>);

impl Default for Mismatches {
    fn default() -> Self {
        let (weights, lifecycle) = (UnitWeighter, DefaultLifecycle::default());
        Self(Quick::with(CAPACITY, CAPACITY as u64, weights, BuildPrehashed::default(), lifecycle))
    }
}

impl Mismatches {
    pub(super) fn add(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.0.insert(key.process_hash(), Self::identity(stored));
    }

    /// Returns `true` if this stored response is the last addition under the key.
    pub(super) fn contains(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.0.get(&key.process_hash()).is_some_and(|known| known == Self::identity(stored))
    }

    fn identity(stored: &StoredResponse) -> u64 {
        let mut bytes = Vec::new();
        for value in [ETAG, LAST_MODIFIED, DATE].iter().filter_map(|name| stored.headers().get(name)) {
            bytes.push(b'\n');
            bytes.extend(value.as_bytes());
        }
        KeyRef::new(&bytes).process_hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Generation, Head};
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn fields(lines: &[(&'static str, &'static str)]) -> UnkeyedFieldsDigest {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        UnkeyedFieldsDigest::of(lines.iter().map(|(name, value)| (name, value)))
    }

    #[test]
    fn digest_ignores_the_order_and_exchange_fields() {
        let one = fields(&[("a", "1"), ("b", "2")]);
        assert_eq!(one, fields(&[("b", "2"), ("x-request-id", "7"), ("a", "1")]));
        assert_ne!(one, fields(&[("a", "1b"), ("b", "2")]));
        assert_ne!(one, fields(&[("a", "2"), ("b", "1")]));
    }

    #[test]
    fn second_visitor_contradicts_and_the_table_is_bounded() {
        let (all, key) = (Contradictions::default(), KeyRef::new(b"k"));
        let (now, one, two) =
            (crate::clock::Clock::system().now(), fields(&[("a", "1")]), fields(&[("a", "2")]));
        assert!(!all.add(key, now, one, now) && !all.add(key, now, one, now) && all.add(key, now, two, now));
        assert!(all.add(key, now, one, now.after(SAME_FIELDS_WAIT)));
        let newer = now.after(Duration::from_secs(1));
        assert!(!all.add(key, newer, two, now) && all.add(key, newer, one, now));
        for number in 0..50_000_u32 {
            all.add(KeyRef::new(&number.to_le_bytes()), now, one, now);
        }
        assert!(all.0.len() <= 2 * CAPACITY, "{}", all.0.len());
    }

    #[test]
    fn mismatch_counts_for_one_response_and_the_table_is_bounded() {
        let (all, key, now) = (Mismatches::default(), KeyRef::new(b"k"), crate::clock::Clock::system().now());
        let stored = |tag: &'static str, date: &'static str| {
            let lines = [(ETAG, tag), (DATE, date)];
            let headers = lines.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            StoredResponse::new(Head::new(StatusCode::OK, headers, Generation::new(1, 0), now), Bytes::new())
        };
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let one = stored("\"a\"", date);
        all.add(key, &one);
        assert!(all.contains(key, &one) && !all.contains(KeyRef::new(b"l"), &one));
        assert!(all.contains(key, &stored("\"a\"", date)));
        assert!(!all.contains(key, &stored("\"b\"", date)));
        assert!(!all.contains(key, &stored("\"a\"", "Sun, 06 Nov 1994 08:49:38 GMT")));
        for number in 0..50_000_u32 {
            all.add(KeyRef::new(&number.to_le_bytes()), &one);
        }
        assert!(all.0.len() <= 2 * CAPACITY, "{}", all.0.len());
    }
}
