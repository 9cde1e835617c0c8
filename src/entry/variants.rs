//! The variants of one URL: which request fields select among them (RFC 9111 section 4.1).

use crate::key::{KeyBuf, KeyRef, ValueDigests};
use crate::rules::vary::{self, Alike};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// A request field that a response nominated in `Vary`, with the original request's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nominated {
    pub(super) name: HeaderName,
    pub(super) original: Option<Bytes>,
    /// Whether that is a digest of the value, since that is a secret.
    pub(super) is_digest: bool,
}

/// How the variants of a URL are told apart.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    alike: Alike,
    digests: ValueDigests,
    /// Tells whether the values of a field are secret.
    is_secret: SecretFields,
}

/// Tells of a field by its name, and of the declared ones.
#[derive(Debug, Clone)]
pub(crate) struct SecretFields {
    pub(crate) by_name: fn(&HeaderName) -> bool,
    pub(crate) declared: Vec<HeaderName>,
}

impl Selection {
    pub(crate) fn new(alike: Alike, digests: ValueDigests, is_secret: SecretFields) -> Self {
        Self { alike, digests, is_secret }
    }

    fn is_secret(&self, name: &HeaderName) -> bool {
        (self.is_secret.by_name)(name) || self.is_secret.declared.contains(name)
    }

    fn digest(&self, name: &HeaderName, value: &[u8]) -> [u8; 32] {
        self.digests.digest(name.as_str().as_bytes(), value)
    }

    /// Writes the key of the variant of a URL that a request selects.
    pub(crate) fn write_key(
        &self,
        buf: &mut KeyBuf,
        key: KeyRef<'_>,
        fields: &[HeaderName],
        presented: &HeaderMap,
    ) {
        buf.raw(key.as_bytes());
        for name in fields {
            buf.part(name.as_str().as_bytes());
            match vary::presented(presented, name, self.alike) {
                Some(value) if self.is_secret(name) => buf.part(&self.digest(name, &value)),
                value => buf.optional(value.as_deref()),
            }
        }
    }
}

impl Nominated {
    /// Takes the value of a field from the request that is about to be stored for.
    pub(crate) fn from_request(name: &HeaderName, request: &HeaderMap, selection: &Selection) -> Self {
        let is_digest = selection.is_secret(name);
        let original = vary::presented(request, name, selection.alike).map(|value| match is_digest {
            true => Bytes::copy_from_slice(&selection.digest(name, &value)),
            false => Bytes::copy_from_slice(&value),
        });
        Self { name: name.clone(), original, is_digest }
    }

    /// Tells whether a presented request has the same value, absent being a value of its own.
    #[inline]
    pub(crate) fn matches(&self, presented: &HeaderMap, selection: &Selection) -> bool {
        match self.is_digest {
            false => vary::matches(presented, &self.name, self.original.as_deref(), selection.alike),
            true => self.matches_digest(presented, selection),
        }
    }

    #[inline(never)]
    fn matches_digest(&self, presented: &HeaderMap, selection: &Selection) -> bool {
        let value = vary::presented(presented, &self.name, selection.alike);
        let digest = value.map(|value| selection.digest(&self.name, &value));
        digest.as_ref().map(<[u8; 32]>::as_slice) == self.original.as_deref()
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
