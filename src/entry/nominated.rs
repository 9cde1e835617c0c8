//! The variants of one URL: which request fields select among them (RFC 9111 section 4.1).

use super::Head;
use crate::clock::Moment;
use crate::key::{CacheKey, KeyBuf, KeyRef, LONGEST_VALUE, ValueDigest, ValueDigests};
use crate::rules::vary::{self, VaryMatch};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// A request field that a response nominated in `Vary`, with the original request's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nominated {
    pub(super) name: HeaderName,
    pub(super) original: Option<Bytes>,
    /// `true` if `original` is a digest, because the value is secret or long.
    pub(super) is_digest: bool,
}

/// How the variants of a URL are told apart.
#[derive(Debug, Clone)]
pub(crate) struct VariantSelection {
    alike: VaryMatch,
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

impl VariantSelection {
    pub(crate) fn new(alike: VaryMatch, digests: ValueDigests, is_secret: SecretFields) -> Self {
        Self { alike, digests, is_secret }
    }

    fn is_secret(&self, name: &HeaderName) -> bool {
        (self.is_secret.by_name)(name) || self.is_secret.declared.contains(name)
    }

    /// Returns `true` if a digest represents the value, which is secret or long.
    fn uses_digest(&self, name: &HeaderName, value: &[u8]) -> bool {
        value.len() > LONGEST_VALUE || self.is_secret(name)
    }

    fn digest(&self, name: &HeaderName, value: &[u8]) -> ValueDigest {
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
            let value = vary::presented(presented, name, self.alike);
            match value.as_deref() {
                Some(value) if self.uses_digest(name, value) => buf.digest(&self.digest(name, value)),
                value => buf.optional(value),
            }
        }
    }

    /// Returns the variant key of a response by its own nominated fields, or `None` if it has none. Fields that other
    /// responses of the URL nominated do not count.
    pub(crate) fn response_variant_key(
        &self,
        key: KeyRef<'_>,
        head: &Head,
        request: &HeaderMap,
    ) -> Option<CacheKey> {
        if head.nominated.is_empty() {
            return None;
        }
        let fields: Vec<_> = head.nominated.iter().map(|field| field.name.clone()).collect();
        let mut buf = KeyBuf::new();
        self.write_key(&mut buf, key, &fields, request);
        Some(buf.key().to_key())
    }

    /// Returns `true` if the key of the variant that a request selects is too long.
    pub(crate) fn is_too_long(&self, key: KeyRef<'_>, fields: &[HeaderName], presented: &HeaderMap) -> bool {
        let mut buf = KeyBuf::new();
        self.write_key(&mut buf, key, fields, presented);
        buf.is_too_long()
    }
}

impl Nominated {
    /// Takes the value of a field from the request that is about to be stored for.
    pub(crate) fn from_request(name: &HeaderName, request: &HeaderMap, selection: &VariantSelection) -> Self {
        let value = vary::presented(request, name, selection.alike);
        let is_digest = selection.uses_digest(name, value.as_deref().unwrap_or_default());
        let original = value.map(|value| match is_digest {
            true => Bytes::copy_from_slice(&selection.digest(name, &value)),
            false => Bytes::copy_from_slice(&value),
        });
        Self { name: name.clone(), original, is_digest }
    }

    /// Tells whether a presented request has the same value, absent being a value of its own.
    #[inline]
    pub(crate) fn matches(&self, presented: &HeaderMap, selection: &VariantSelection) -> bool {
        match self.is_digest {
            false => vary::matches(presented, &self.name, self.original.as_deref(), selection.alike),
            true => self.matches_digest(presented, selection),
        }
    }

    #[inline(never)]
    fn matches_digest(&self, presented: &HeaderMap, selection: &VariantSelection) -> bool {
        let value = vary::presented(presented, &self.name, selection.alike);
        let digest = value.map(|value| selection.digest(&self.name, &value));
        digest.as_ref().map(ValueDigest::as_slice) == self.original.as_deref()
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
/// The index only locates variants; each one is checked against the request itself. Fields are only
/// added, the number of variants is bounded, and the index lives as long as its longest-lived variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryIndex {
    pub(super) fields: Vec<HeaderName>,
    /// The suffixes of the variants' keys after the key of the URL, the oldest first.
    pub(super) variants: Vec<Bytes>,
    /// The time at which the longest-lived variant leaves the store.
    pub(super) until: Moment,
}

impl VaryIndex {
    pub(crate) fn new(fields: Vec<HeaderName>, until: Moment) -> Self {
        Self { fields, variants: Vec::new(), until }
    }

    /// Returns the fields that select, in alphabetical order.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        &self.fields
    }

    /// Returns the suffixes of the variants' keys, the oldest first.
    pub(crate) fn variants(&self) -> &[Bytes] {
        &self.variants
    }

    /// Returns when the longest-lived variant leaves the store.
    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// Returns the key of a variant of a URL.
    pub(crate) fn variant_key(url: KeyRef<'_>, variant: &[u8]) -> CacheKey {
        KeyRef::new(&[url.as_bytes(), variant].concat()).to_key()
    }

    /// Returns this index with more fields and no variants, or `None` if it has all fields. No look-up would find
    /// variants of fewer fields.
    pub(crate) fn widened(&self, more: impl IntoIterator<Item = HeaderName>) -> Option<Self> {
        let mut fields = self.fields.clone();
        fields.extend(more);
        fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        (fields != self.fields).then(|| Self::new(fields, self.until))
    }

    /// Returns this index with `variant` as the newest and without the evicted variants. It lives at least until `until`.
    pub(crate) fn with_variant(&self, variant: &[u8], evicted: &[Bytes], until: Moment) -> Self {
        let mut variants = self.variants.clone();
        variants.retain(|known| known != variant && !evicted.contains(known));
        variants.push(Bytes::copy_from_slice(variant));
        Self { fields: self.fields.clone(), variants, until: self.until.max(until) }
    }

    /// Returns this index with a longer lifetime, or `None` if it already lives until `until`.
    pub(crate) fn extended(&self, until: Moment) -> Option<Self> {
        (self.until < until).then(|| Self { until, ..self.clone() })
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
    use crate::Clock;
    use http::HeaderValue;
    use http::header::{ACCEPT, ACCEPT_LANGUAGE};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::time::Duration;

    #[test]
    fn fields_widen_and_never_narrow() {
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
            assert_eq!(index.until(), after(longest));
        }
        assert!(index.extended(after(20)).is_none());
        assert_eq!(index.extended(Moment::NEVER).expect("longer").until(), Moment::NEVER);
    }

    /// Values of `x-secret` are secret.
    fn selection() -> VariantSelection {
        let is_secret = SecretFields { by_name: |name| name == "x-secret", declared: Vec::new() };
        VariantSelection::new(VaryMatch::InBytes, ValueDigests::default(), is_secret)
    }

    fn written(name: &'static str, value: Option<&[u8]>) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        let mut buf = KeyBuf::new();
        selection().write_key(&mut buf, KeyRef::new(b""), &[HeaderName::from_static(name)], &headers);
        buf.as_bytes().to_vec()
    }

    #[test]
    fn long_values_enter_the_key_as_a_digest() {
        for length in [0, 1, LONGEST_VALUE, LONGEST_VALUE + 1, 60_000] {
            let value = vec![b'v'; length];
            let key = written("x-a", Some(&value));
            assert!(key.len() <= 4 + 3 + 4 + LONGEST_VALUE, "{length}: {}", key.len());
            let in_clear = key.ends_with(&value) && length <= LONGEST_VALUE;
            assert_eq!(in_clear, length <= LONGEST_VALUE, "{length}");
        }
    }

    /// A client that knows the digest of a value cannot send it as a value.
    #[test]
    fn no_value_has_the_key_bytes_of_a_digest() {
        for (name, value) in [("x-a", &[b'v'; 1000][..]), ("x-secret", b"s")] {
            let key = written(name, Some(value));
            let digest = selection().digest(&HeaderName::from_static(name), value);
            assert_eq!(key[key.len() - 32..], digest);
            let mut raw = KeyBuf::new();
            raw.part(name.as_bytes());
            raw.part(&digest);
            assert_ne!(raw.as_bytes(), key);
            assert_ne!(written(name, None), key);
        }
    }

    proptest! {
        #[test]
        fn request_selects_only_responses_stored_for_its_value(
            lengths in prop::array::uniform2(prop_oneof![0..4_usize, 126..131_usize, 4000..4003_usize]),
            last in prop::array::uniform2(proptest::sample::select(&b"ab"[..])),
            name in proptest::sample::select(&["x-a", "x-secret"][..]),
        ) {
            let name = HeaderName::from_static(name);
            let request = |at: usize| {
                let mut value = vec![b'v'; lengths[at]];
                value.push(last[at]);
                let mut headers = HeaderMap::new();
                headers.insert(name.clone(), HeaderValue::from_bytes(&value).expect("a value"));
                headers
            };
            let (one, other) = (request(0), request(1));
            let key = |headers: &HeaderMap| {
                let mut buf = KeyBuf::new();
                selection().write_key(&mut buf, KeyRef::new(b"k"), std::slice::from_ref(&name), headers);
                buf.as_bytes().to_vec()
            };
            let stored = Nominated::from_request(&name, &one, &selection());
            prop_assert!(stored.weight() < 300);
            prop_assert!(stored.matches(&one, &selection()));
            prop_assert_eq!(stored.matches(&other, &selection()), one == other);
            prop_assert_eq!(key(&one) == key(&other), one == other);
            prop_assert!(!stored.matches(&HeaderMap::new(), &selection()));
        }
    }
}
