//! Cache keys: unambiguous bytes, compared in full.

mod authority;
mod digest;
mod forwarded;
mod head;
mod part;
mod policy;
mod query;
mod target;

pub(crate) use authority::canonical_authority;
pub(crate) use digest::{ValueDigest, ValueDigests};
pub(crate) use forwarded::{ForwardedField, ForwardedFields, prefix_of};
pub use head::RequestHead;
pub use part::KeyPart;
pub(crate) use policy::{KeyError, KeyPolicy, write_key};
pub use query::QueryKey;
pub(crate) use target::is_same_target;

use foldhash::quality::RandomState;
use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// Seeded once per process, so that nobody outside can choose keys that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A borrowed key with its hash: what [`Store`](crate::Store) methods are called with.
///
/// Its parts are length-prefixed, so no two different sets of parts have the same bytes. The hash
/// is seeded per process: a store outside the process names a key by a digest of its bytes.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    hash: u64,
    bytes: &'a [u8],
    /// The same bytes where they are owned already, so that owning them once more takes no copy.
    owned: Option<&'a Arc<[u8]>>,
}

impl<'a> KeyRef<'a> {
    /// Creates a key of any bytes.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { hash: HASHER.hash_one(bytes), bytes, owned: None }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Returns a hash of the bytes that is the same only within this process.
    #[must_use]
    pub fn process_hash(self) -> u64 {
        self.hash
    }

    /// Returns an owned copy.
    #[must_use]
    pub fn to_key(self) -> CacheKey {
        let bytes = self.owned.map_or_else(|| self.bytes.into(), Arc::clone);
        CacheKey { hash: self.hash, bytes }
    }
}

impl fmt::Debug for KeyRef<'_> {
    /// Shows no bytes: a key may hold what nobody should read in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRef({} bytes)", self.bytes.len())
    }
}

/// An owned key. Cheap to clone.
#[derive(Clone)]
pub struct CacheKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl CacheKey {
    /// Returns the key, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, bytes: &self.bytes, owned: Some(&self.bytes) }
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl quick_cache::Equivalent<CacheKey> for KeyRef<'_> {
    fn equivalent(&self, key: &CacheKey) -> bool {
        self.hash == key.hash && *self.bytes == *key.bytes
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({} bytes)", self.bytes.len())
    }
}

/// Passes on the hash that a key already has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one u64; anything else still has to give a usable hash.
        self.0 = HASHER.hash_one((self.0, bytes));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(crate) type BuildPrehashed = std::hash::BuildHasherDefault<Prehashed>;

/// Longer keys are not used.
const MOST_BYTES: usize = 8 * 1024;

/// The longest part chosen by a client, in bytes, that enters a key in clear. A longer one enters as its digest.
pub(crate) const LONGEST_VALUE: usize = 128;

/// Room for a key on the stack; the common key needs no allocation.
const INLINE: usize = 256;

/// A key being written, part by part.
pub(crate) struct KeyBuf {
    length: usize,
    inline: [u8; INLINE],
    spilled: Vec<u8>,
}

impl KeyBuf {
    pub(crate) fn new() -> Self {
        Self { length: 0, inline: [0; INLINE], spilled: Vec::new() }
    }

    /// Appends bytes that are unambiguous already.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.inline.get_mut(self.length..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.spill(bytes),
        }
        self.length = end;
    }

    /// Appends a number: a length, mostly.
    #[inline]
    fn number(&mut self, number: u32) {
        match self.inline.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            Some(room) => *room = number.to_le_bytes(),
            None => self.spill(&number.to_le_bytes()),
        }
        self.length += size_of::<u32>();
    }

    /// Appends where the stack has no more room; from then on everything is on the heap.
    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.inline[..self.length]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    /// Appends one part.
    #[inline]
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u32);
        self.raw(bytes);
    }

    /// Appends the digest of a part, with a prefix that no part has.
    #[inline]
    pub(crate) fn digest(&mut self, digest: &ValueDigest) {
        self.number(u32::MAX - 1);
        self.raw(digest);
    }

    /// Appends one part, or its digest if the part is longer than [`LONGEST_VALUE`].
    #[inline]
    pub(crate) fn part_or_digest(&mut self, bytes: &[u8]) {
        match bytes.len() > LONGEST_VALUE {
            false => self.part(bytes),
            true => self.digest(&Sha256::digest(bytes).into()),
        }
    }

    /// Appends the length of a part whose bytes follow in pieces.
    #[inline]
    pub(crate) fn length(&mut self, length: usize) {
        self.number(length as u32);
    }

    /// Appends a part that is absent, which differs from one that is empty.
    #[inline]
    pub(crate) fn absent(&mut self) {
        self.number(u32::MAX);
    }

    #[inline]
    pub(crate) fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.part(bytes),
            None => self.absent(),
        }
    }

    /// Appends a list, and what it is.
    pub(crate) fn named<N: AsRef<str>>(&mut self, kind: &[u8], names: &[N]) {
        self.part(kind);
        self.length(names.len());
        for name in names {
            self.part(name.as_ref().as_bytes());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Tells whether the key is one that is not used, so that long URIs can't fill the memory.
    pub(crate) fn is_too_long(&self) -> bool {
        self.length > MOST_BYTES
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.length] } else { &self.spilled }
    }

    #[inline]
    pub(crate) fn key(&self) -> KeyRef<'_> {
        KeyRef::new(self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(parts: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut buf = KeyBuf::new();
        for part in parts {
            buf.optional(part.as_deref());
        }
        buf.as_bytes().to_vec()
    }

    proptest! {
        #[test]
        fn different_parts_never_make_the_same_key(
            a in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..6)), 0..5),
            b in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..6)), 0..5),
        ) {
            prop_assert_eq!(a == b, written(&a) == written(&b));
        }

        #[test]
        fn a_long_key_is_written_like_a_short_one(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
            let mut buf = KeyBuf::new();
            let mut expected = Vec::new();
            for part in &parts {
                buf.part(part);
                expected.extend((part.len() as u32).to_le_bytes());
                expected.extend(part);
            }
            prop_assert_eq!(buf.as_bytes(), &expected[..]);
            prop_assert_eq!(buf.len(), expected.len());
        }
    }

    #[test]
    fn neither_form_of_a_key_shows_its_bytes_in_a_log() {
        let key = KeyRef::new(b"secret");
        assert!(!format!("{key:?}{:?}", key.to_key()).contains("secret"));
    }

    #[test]
    fn keys_with_the_same_hash_are_told_apart_by_their_bytes() {
        let a = CacheKey { hash: 1, bytes: b"a".as_slice().into() };
        let b = CacheKey { hash: 1, bytes: b"b".as_slice().into() };
        assert_ne!(a, b);
        assert!(!quick_cache::Equivalent::equivalent(&a.as_ref(), &b));
    }
}
