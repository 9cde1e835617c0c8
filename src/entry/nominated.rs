//! Nominated fields: the request fields that select a variant (RFC 9111 section 4.1).
//!
//! A response nominates fields in `Vary`. The original request is the one that the response
//! answered first. A presented request is one for which the cache looks for a stored response.

use crate::key::{CacheKey, KeyBuf, KeyInput, KeyRef, MAX_PLAIN_VALUE, ValueDigest, ValueDigests};
use crate::rules::vary::{self, VaryMatch};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// A request field that a response nominated in `Vary`, with the original request's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NominatedField {
    pub(super) name: HeaderName,
    pub(super) original: Option<Bytes>,
    /// `true` if `original` is a digest, because the value is secret or long.
    pub(super) is_digest: bool,
}

/// The rules that distinguish the variants of a URL.
#[derive(Debug, Clone)]
pub(crate) struct VariantSelection {
    vary_match: VaryMatch,
    digests: ValueDigests,
    /// The fields whose values are secret.
    is_secret: SecretFields,
}

/// The fields whose values are secret: by name, or declared by the user.
#[derive(Debug, Clone)]
pub(crate) struct SecretFields {
    pub(crate) by_name: fn(&HeaderName) -> bool,
    pub(crate) declared: Vec<HeaderName>,
}

impl VariantSelection {
    pub(crate) fn new(vary_match: VaryMatch, digests: ValueDigests, is_secret: SecretFields) -> Self {
        Self { vary_match, digests, is_secret }
    }

    fn is_secret(&self, name: &HeaderName) -> bool {
        (self.is_secret.by_name)(name) || self.is_secret.declared.contains(name)
    }

    /// Returns `true` if a digest replaces the value, because the value is secret or long.
    fn uses_digest(&self, name: &HeaderName, value: &[u8]) -> bool {
        value.len() > MAX_PLAIN_VALUE || self.is_secret(name)
    }

    fn digest(&self, name: &HeaderName, value: &[u8]) -> ValueDigest {
        self.digests.digest(name.as_str().as_bytes(), value)
    }

    /// Writes the key of the variant that a request selects: the key of the URL, and the name and
    /// value of each of the `fields`.
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
            let value = vary::field_value(presented, name, self.vary_match);
            match value.as_deref() {
                Some(value) if self.uses_digest(name, value) => buf.digest(&self.digest(name, value)),
                value => buf.optional(value),
            }
        }
    }

    /// Returns the variant key of a response, made from `nominated`: the fields that the response
    /// itself nominates. Returns `None` if the response nominates no field.
    pub(crate) fn response_variant_key(
        &self,
        key: KeyRef<'_>,
        nominated: &[NominatedField],
        request: &HeaderMap,
    ) -> Option<CacheKey> {
        if nominated.is_empty() {
            return None;
        }
        let fields: Vec<_> = nominated.iter().map(|field| field.name.clone()).collect();
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

impl NominatedField {
    /// Creates a nominated field with the value in the original request.
    pub(crate) fn from_request(name: &HeaderName, request: &HeaderMap, selection: &VariantSelection) -> Self {
        let value = vary::field_value(request, name, selection.vary_match);
        let is_digest = selection.uses_digest(name, value.as_deref().unwrap_or_default());
        let original = value.map(|value| match is_digest {
            true => Bytes::copy_from_slice(&selection.digest(name, &value)),
            false => Bytes::copy_from_slice(&value),
        });
        Self { name: name.clone(), original, is_digest }
    }

    /// Returns `true` if the field has the same value in the presented request as in the original
    /// one. An absent field matches only an absent field.
    #[inline]
    pub(crate) fn matches(&self, presented: &HeaderMap, selection: &VariantSelection) -> bool {
        match self.is_digest {
            false => vary::matches(presented, &self.name, self.original.as_deref(), selection.vary_match),
            true => self.matches_digest(presented, selection),
        }
    }

    #[inline(never)]
    fn matches_digest(&self, presented: &HeaderMap, selection: &VariantSelection) -> bool {
        let value = vary::field_value(presented, &self.name, selection.vary_match);
        let digest = value.map(|value| selection.digest(&self.name, &value));
        digest.as_ref().map(ValueDigest::as_slice) == self.original.as_deref()
    }

    pub(crate) fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Returns the field with the value in the original request, as an explanation shows it: of a
    /// secret or long value, only the beginning of its digest.
    pub(crate) fn shown(&self) -> KeyInput {
        let label = format!("header {}", self.name);
        match (self.original.as_deref(), self.is_digest) {
            (Some(digest), true) => KeyInput::digest(label, Some(digest)),
            (value, _) => {
                KeyInput::plain(label, value.map(|value| value.escape_ascii().to_string()).as_deref())
            }
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        let value = self.original.as_ref().map_or(0, Bytes::len);
        (size_of::<Self>() + self.name.as_str().len() + value) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    /// Returns rules under which the values of `x-secret` are secret.
    fn selection() -> VariantSelection {
        let is_secret = SecretFields { by_name: |name| name == "x-secret", declared: Vec::new() };
        VariantSelection::new(VaryMatch::Exact, ValueDigests::default(), is_secret)
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
        for length in [0, 1, MAX_PLAIN_VALUE, MAX_PLAIN_VALUE + 1, 60_000] {
            let value = vec![b'v'; length];
            let key = written("x-a", Some(&value));
            assert!(key.len() <= 4 + 3 + 4 + MAX_PLAIN_VALUE, "{length}: {}", key.len());
            let in_clear = key.ends_with(&value) && length <= MAX_PLAIN_VALUE;
            assert_eq!(in_clear, length <= MAX_PLAIN_VALUE, "{length}");
        }
    }

    /// A client that knows the digest of a secret value must not reach the variant by sending the
    /// digest itself as the value.
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
        #![proptest_config(crate::cases::cases())]

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
            let stored = NominatedField::from_request(&name, &one, &selection());
            prop_assert!(stored.weight() < 300);
            prop_assert!(stored.matches(&one, &selection()));
            prop_assert_eq!(stored.matches(&other, &selection()), one == other);
            prop_assert_eq!(key(&one) == key(&other), one == other);
            prop_assert!(!stored.matches(&HeaderMap::new(), &selection()));
        }
    }
}
