//! What an invalidation names, and the generations that decide which entries it kills.

use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A reading of a namespace's invalidation counter.
///
/// The incarnation is drawn at random whenever the counter starts anew, so that a store that lost
/// its counter never takes an old entry for a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation {
    incarnation: u64,
    counter: u64,
}

impl Generation {
    /// Creates a generation of an incarnation.
    #[must_use]
    pub const fn new(incarnation: u64, counter: u64) -> Self {
        Self { incarnation, counter }
    }

    /// Returns the random number that names the life of the counter.
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }

    /// Returns how many invalidations there were in this incarnation.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter
    }
}

/// One thing that an invalidation can name, as a hash seeded per namespace.
///
/// Two names that share a hash, or a bucket of the table it falls into, invalidate each other: that
/// costs a miss, never a stale answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(u64);

impl Scope {
    /// Returns the scope of a path: all its queries, hosts and variants.
    ///
    /// Percent-encoding is undone first, so that `/caf%C3%A9` and `/café` are one scope.
    #[must_use]
    pub fn path(seed: u64, path: &str) -> Self {
        Self::hash(seed, b"path", &percent_decoded(path))
    }

    /// Returns the same scope for a path that is decoded already, whatever characters it has.
    #[must_use]
    pub fn decoded_path(seed: u64, path: &str) -> Self {
        Self::hash(seed, b"path", path.as_bytes())
    }

    fn hash(seed: u64, kind: &[u8], name: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(seed.to_le_bytes());
        hasher.update([kind.len() as u8]);
        hasher.update(kind);
        hasher.update(name);
        let digest = hasher.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// Returns the hash.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

fn percent_decoded(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let hex = |at: usize| bytes.get(at).and_then(|&b| (b as char).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_percent_encoded_form_are_one_scope() {
        assert_eq!(Scope::path(7, "/caf%C3%A9"), Scope::path(7, "/café"));
        assert_eq!(Scope::path(7, "/a%2"), Scope::path(7, "/a%2"));
        assert_ne!(Scope::path(7, "/a"), Scope::path(7, "/b"));
        assert_eq!(Scope::path(7, "/50%2525"), Scope::decoded_path(7, "/50%25"));
    }

    #[test]
    fn a_scope_depends_on_the_seed_so_that_collisions_cannot_be_precomputed() {
        assert_ne!(Scope::path(1, "/a"), Scope::path(2, "/a"));
    }
}
