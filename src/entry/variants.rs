//! The variants of one URL: which request fields select among them (RFC 9111 section 4.1).

use crate::rules::vary::{self, Alike};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// A request field that a response nominated in `Vary`, with the original request's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nominated {
    pub(super) name: HeaderName,
    pub(super) original: Option<Bytes>,
}

impl Nominated {
    /// Takes the value of a field from the request that is about to be stored for.
    pub(crate) fn from_request(name: &HeaderName, request: &HeaderMap, alike: Alike) -> Self {
        let original = vary::presented(request, name, alike).map(|value| Bytes::copy_from_slice(&value));
        Self { name: name.clone(), original }
    }

    /// Tells whether a presented request has the same value, absent being a value of its own.
    pub(crate) fn matches(&self, presented: &HeaderMap, alike: Alike) -> bool {
        vary::matches(presented, &self.name, self.original.as_deref(), alike)
    }

    pub(crate) fn name(&self) -> &HeaderName {
        &self.name
    }

    pub(crate) fn weight(&self) -> u64 {
        let value = self.original.as_ref().map_or(0, Bytes::len);
        (size_of::<Self>() + self.name.as_str().len() + value) as u64
    }
}

/// The index kept under a URL whose responses vary: the fields learnt so far, and the variants.
///
/// It only says where to look; each variant is checked against the request on its own. The fields
/// are only ever added to, and the number of variants is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryIndex {
    pub(super) fields: Vec<HeaderName>,
    pub(super) variants: Vec<Bytes>,
}

/// What [`VaryIndex::with_variant`] came to.
pub(crate) struct Indexed {
    pub(crate) index: VaryIndex,
    /// The key of a variant that had to go.
    pub(crate) displaced: Option<Bytes>,
}

impl VaryIndex {
    pub(crate) fn new(fields: Vec<HeaderName>) -> Self {
        Self { fields, variants: Vec::new() }
    }

    /// Returns the fields that select, in alphabetical order.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        &self.fields
    }

    /// Returns the keys of the variants, the oldest first.
    pub(crate) fn variants(&self) -> &[Bytes] {
        &self.variants
    }

    /// Returns this index with more fields, or `None` if it has them all.
    pub(crate) fn widened(&self, more: impl IntoIterator<Item = HeaderName>) -> Option<Self> {
        let mut fields = self.fields.clone();
        fields.extend(more);
        fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        // Keys under fewer fields can't be found any more: they are left to expire.
        (fields != self.fields).then(|| Self { fields, variants: self.variants.clone() })
    }

    /// Returns this index with a variant's key as the newest; the oldest goes when there are too many.
    pub(crate) fn with_variant(&self, key: &[u8], most: usize) -> Option<Indexed> {
        if self.variants.last().is_some_and(|newest| newest == key) {
            return None;
        }
        let mut variants = self.variants.clone();
        variants.retain(|known| known != key);
        variants.push(Bytes::copy_from_slice(key));
        let displaced = (variants.len() > most.max(1)).then(|| variants.remove(0));
        Some(Indexed { index: Self { fields: self.fields.clone(), variants }, displaced })
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
    use http::header::{ACCEPT, ACCEPT_LANGUAGE};

    #[test]
    fn fields_widen_and_never_narrow() {
        let index = VaryIndex::new(vec![ACCEPT]);
        assert!(index.widened([]).is_none());
        let wider = index.widened([ACCEPT_LANGUAGE]).expect("a new field");
        assert_eq!(wider.fields(), [ACCEPT, ACCEPT_LANGUAGE]);
        assert!(wider.widened([ACCEPT]).is_none());
    }

    #[test]
    fn the_oldest_variant_goes_when_there_are_too_many() {
        let mut index = VaryIndex::new(vec![ACCEPT]);
        for key in [b"a", b"b"] {
            index = index.with_variant(key, 2).expect("new").index;
        }
        index = index.with_variant(b"a", 2).expect("moved to the end").index;
        let indexed = index.with_variant(b"c", 2).expect("new");
        assert_eq!(indexed.displaced.as_deref(), Some(&b"b"[..]));
        assert!(indexed.index.with_variant(b"c", 2).is_none(), "nothing to write");
    }
}
