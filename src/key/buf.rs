//! A buffer in which a key is written.

use super::cache_key::KeyRef;
use super::digest::ValueDigest;
use sha2::{Digest, Sha256};

/// The longest key in bytes. Requests with longer keys bypass the cache.
const MAX_KEY_BYTES: usize = 8 * 1024;

/// The longest field value or namespace, in bytes, that enters a key unchanged. A longer one enters
/// as its digest. Of a keyed field, the length prefix of each line counts, too. The URI always
/// enters unchanged.
pub(crate) const MAX_PLAIN_VALUE: usize = 128;

/// The longest key, in bytes, that needs no heap allocation. Most keys are shorter.
const INLINE_BYTES: usize = 256;

/// A key that is written part by part. Each part has a length prefix, so that different parts never
/// have the same bytes.
pub(crate) struct KeyBuf {
    /// The number of bytes written so far.
    length: usize,
    inline: [u8; INLINE_BYTES],
    /// All bytes of the key if it is longer than `inline`; otherwise empty.
    spilled: Vec<u8>,
}

impl KeyBuf {
    pub(crate) fn new() -> Self {
        Self { length: 0, inline: [0; INLINE_BYTES], spilled: Vec::new() }
    }

    /// Appends bytes without a length prefix. Their length must be fixed, or known from the bytes
    /// before them.
    #[inline]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.inline.get_mut(self.length..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.spill(bytes),
        }
        self.length = end;
    }

    /// Appends a number.
    #[inline]
    fn number(&mut self, number: u32) {
        match self.inline.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            Some(room) => *room = number.to_le_bytes(),
            None => self.spill(&number.to_le_bytes()),
        }
        self.length += size_of::<u32>();
    }

    /// Appends bytes on the heap, and moves the inline bytes there first.
    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.inline[..self.length]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    /// Appends one part with its length.
    #[inline]
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u32);
        self.raw(bytes);
    }

    /// Appends the digest of a part. The number before the digest exceeds the length of every part,
    /// so a digest and a part never have the same bytes.
    #[inline]
    pub(crate) fn digest(&mut self, digest: &ValueDigest) {
        self.number(u32::MAX - 1);
        self.raw(digest);
    }

    /// Appends one part, or its digest if the part is longer than [`MAX_PLAIN_VALUE`].
    #[inline]
    pub(crate) fn part_or_digest(&mut self, bytes: &[u8]) {
        match bytes.len() > MAX_PLAIN_VALUE {
            false => self.part(bytes),
            true => self.digest(&Sha256::digest(bytes).into()),
        }
    }

    /// Appends a count, or a part's length. The caller appends the bytes of the part in pieces.
    #[inline]
    pub(crate) fn length(&mut self, length: usize) {
        self.number(length as u32);
    }

    /// Appends an absent part, which differs from an empty one.
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

    /// Appends a list of names, after a label for its kind.
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

    /// Returns `true` if the key exceeds [`MAX_KEY_BYTES`]. The limit keeps long URIs from filling
    /// the store.
    pub(crate) fn is_too_long(&self) -> bool {
        self.length > MAX_KEY_BYTES
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
        #![proptest_config(crate::cases::cases())]

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
}
