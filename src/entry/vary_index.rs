//! The index of the variants of one URL (RFC 9111 section 4.1).

use crate::clock::Moment;
use crate::key::{CacheKey, KeyRef};
use bytes::Bytes;
use http::HeaderName;

/// The index of a URL whose responses vary: the fields nominated so far, and the variants.
///
/// The index only locates variants: each variant is also matched against the request. Fields are
/// added, but never removed. The number of variants is bounded. The index lives as long as its
/// longest-lived variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaryIndex {
    /// The fields that responses of the URL have nominated in `Vary`, in alphabetical order.
    pub(super) fields: Vec<HeaderName>,
    /// The suffixes of the variants' keys after the key of the URL, oldest first.
    pub(super) variants: Vec<Bytes>,
    /// The moment at which the longest-lived variant expires from the store.
    pub(super) expires: Moment,
}

impl VaryIndex {
    pub(crate) fn new(fields: Vec<HeaderName>, expires: Moment) -> Self {
        Self { fields, variants: Vec::new(), expires }
    }

    /// Returns the nominated fields in alphabetical order.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        &self.fields
    }

    /// Returns the suffixes of the variants' keys, oldest first.
    pub(crate) fn variants(&self) -> &[Bytes] {
        &self.variants
    }

    /// Returns the moment at which the longest-lived variant expires from the store.
    pub(crate) fn expires(&self) -> Moment {
        self.expires
    }

    /// Returns the key of a variant of a URL.
    pub(crate) fn variant_key(url: KeyRef<'_>, variant: &[u8]) -> CacheKey {
        KeyRef::new(&[url.as_bytes(), variant].concat()).to_key()
    }

    /// Returns an index with additional fields, or `None` if this index already has all of them.
    ///
    /// The new index has no variants. A look-up could not find the old variants, because the key of
    /// a variant contains all fields of the index.
    pub(crate) fn widened(&self, more: impl IntoIterator<Item = HeaderName>) -> Option<Self> {
        let mut fields = self.fields.clone();
        fields.extend(more);
        fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        (fields != self.fields).then(|| Self::new(fields, self.expires))
    }

    /// Returns this index with `variant` as the newest one, and without the evicted variants. The
    /// returned index lives at least until `expires`.
    pub(crate) fn with_variant(&self, variant: &[u8], evicted: &[Bytes], expires: Moment) -> Self {
        let mut variants = self.variants.clone();
        variants.retain(|known| known != variant && !evicted.contains(known));
        variants.push(Bytes::copy_from_slice(variant));
        Self { fields: self.fields.clone(), variants, expires: self.expires.max(expires) }
    }

    /// Returns this index with a longer lifetime, or `None` if it already lives until `expires`.
    pub(crate) fn extended(&self, expires: Moment) -> Option<Self> {
        (self.expires < expires).then(|| Self { expires, ..self.clone() })
    }

    pub(crate) fn weight(&self) -> u64 {
        let fields: usize = self.fields.iter().map(|f| size_of::<HeaderName>() + f.as_str().len()).sum();
        let variants: usize = self.variants.iter().map(|v| size_of::<Bytes>() + v.len()).sum();
        (size_of::<Self>() + fields + variants) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use http::header::{ACCEPT, ACCEPT_LANGUAGE};
    use std::time::Duration;

    #[test]
    fn fields_are_added_and_never_removed() {
        let index = VaryIndex::new(vec![ACCEPT], Moment::NEVER).with_variant(b"a", &[], Moment::NEVER);
        assert!(index.widened([]).is_none());
        let wider = index.widened([ACCEPT_LANGUAGE]).expect("a new field");
        assert_eq!((wider.fields(), wider.variants()), (&[ACCEPT, ACCEPT_LANGUAGE][..], &[][..]));
        assert!(wider.widened([ACCEPT]).is_none());
    }

    #[test]
    fn stored_variant_is_the_newest_and_evicted_ones_are_gone() {
        let mut index = VaryIndex::new(vec![ACCEPT], Moment::NEVER);
        for key in [b"a", b"b", b"a"] {
            index = index.with_variant(key, &[], Moment::NEVER);
        }
        assert_eq!(index.variants(), [&b"b"[..], b"a"]);
        let index = index.with_variant(b"c", &[Bytes::from_static(b"b")], Moment::NEVER);
        assert_eq!(index.variants(), [&b"a"[..], b"c"]);
    }

    #[test]
    fn index_lives_as_long_as_its_longest_lived_variant() {
        let now = Clock::manual().0.now();
        let after = |seconds| now.after(Duration::from_secs(seconds));
        let mut index = VaryIndex::new(vec![ACCEPT], after(1));
        for (key, seconds, longest) in [(b"a", 9, 9), (b"b", 5, 9), (b"a", 7, 9), (b"c", 20, 20)] {
            index = index.with_variant(key, &[], after(seconds));
            assert_eq!(index.expires(), after(longest));
        }
        assert!(index.extended(after(20)).is_none());
        assert_eq!(index.extended(Moment::NEVER).expect("longer").expires(), Moment::NEVER);
    }
}
