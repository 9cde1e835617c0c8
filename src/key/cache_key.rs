//! Finished keys with their hash, borrowed and owned.

use foldhash::quality::RandomState;
use http::{HeaderName, HeaderValue};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// Hashes keys with a seed that is random in each process, so that clients can't choose keys that
/// collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A borrowed key with its hash, as passed to the methods of [`Store`](crate::store::Store).
///
/// The parts of a key are length-prefixed, so different sets of parts have different bytes. A store
/// outside the process must name a key by [its bytes](Self::as_bytes) or their digest:
/// [`process_hash`](Self::process_hash) differs in each process.
///
/// # Example
/// ```
/// use tower_response_cache::store::KeyRef;
///
/// let key = KeyRef::new(b"page");
/// let owned = key.to_key();
/// assert_eq!(owned.as_ref().as_bytes(), b"page");
/// assert_eq!(owned.as_ref().process_hash(), key.process_hash());
/// ```
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    hash: u64,
    bytes: &'a [u8],
    /// The owner of `bytes`, if the key was borrowed from a `CacheKey`. `to_key` then copies no
    /// bytes.
    owned: Option<&'a Arc<[u8]>>,
}

impl<'a> KeyRef<'a> {
    /// Creates a key from any bytes, and computes its hash.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { hash: HASHER.hash_one(bytes), bytes, owned: None }
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Returns a hash of the bytes, which is the same only within this process.
    #[must_use]
    pub fn process_hash(self) -> u64 {
        self.hash
    }

    /// Returns an owned copy. It does not copy the bytes if the key was borrowed from a
    /// [`CacheKey`].
    #[must_use]
    pub fn to_key(self) -> CacheKey {
        let bytes = self.owned.map_or_else(|| self.bytes.into(), Arc::clone);
        CacheKey { hash: self.hash, bytes }
    }
}

impl fmt::Debug for KeyRef<'_> {
    /// Writes the length only: keys contain URLs, which may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRef({} bytes)", self.bytes.len())
    }
}

/// An owned key. Clones share its bytes.
#[derive(Clone)]
pub struct CacheKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl CacheKey {
    /// Returns a borrowed form of the key.
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

/// Returns a hash of a header line, with the random keys of this process.
pub(crate) fn line_hash(name: &HeaderName, value: &HeaderValue) -> u64 {
    HASHER.hash_one((name.as_str().as_bytes(), value.as_bytes()))
}

/// A hasher for maps of keys. It returns the hash that each key carries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one `u64`. Other input needs a usable hash, too.
        self.0 = HASHER.hash_one((self.0, bytes));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(crate) type BuildPrehashed = std::hash::BuildHasherDefault<Prehashed>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_bytes() {
        let key = KeyRef::new(b"secret");
        assert!(!format!("{key:?}{:?}", key.to_key()).contains("secret"));
    }

    #[test]
    fn keys_with_one_hash_differ_by_their_bytes() {
        let a = CacheKey { hash: 1, bytes: b"a".as_slice().into() };
        let b = CacheKey { hash: 1, bytes: b"b".as_slice().into() };
        assert_ne!(a, b);
        assert!(!quick_cache::Equivalent::equivalent(&a.as_ref(), &b));
    }
}
