//! The internal names of values, and the keys under which the store has them.

use crate::entry::Generation;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The internal name of a value: the version of the application, the kind (`key` or `fragment`),
/// and the parts. The parts are the key, or the name and the inputs of a fragment. Each part is
/// written with its length.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Arc<[u8]>);

/// The most bytes of a name. A longer name is replaced by its SHA-256.
const MAX_PLAIN_NAME: usize = 1024;

impl Name {
    pub(super) fn of_key(version: u32, key: &[u8]) -> Self {
        Self::of_parts(version, b"key", [key])
    }

    /// Returns the empty name, for a [`Fragment`](super::Fragment), which sets the name for each
    /// list of inputs.
    pub(super) fn unnamed() -> Self {
        Self(Arc::default())
    }

    /// Returns the name for a version, a kind and parts. Different inputs have different names.
    pub(crate) fn of_parts<'a>(version: u32, kind: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut buf = KeyBuf::new();
        buf.part(&version.to_le_bytes());
        buf.part(kind);
        parts.into_iter().for_each(|part| buf.part(part));
        match buf.as_bytes() {
            bytes if bytes.len() > MAX_PLAIN_NAME => Self(Sha256::digest(bytes).as_slice().into()),
            bytes => Self(bytes.into()),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns the key of a value in the store.
///
/// The key contains `cleared`, the generation of the last invalidation of everything or of all
/// values. So such an invalidation changes the keys of all values and counters. A counter can be
/// invalidated in this way only, because its entry has no generation.
pub(crate) fn value_key(namespace: &str, name: &Name, cleared: Generation) -> CacheKey {
    let mut buf = KeyBuf::new();
    buf.part(b"tower-response-cache value");
    buf.part_or_digest(namespace.as_bytes());
    buf.raw(&cleared.incarnation().to_le_bytes());
    buf.raw(&cleared.counter().to_le_bytes());
    buf.raw(&cleared.stamp().to_le_bytes());
    buf.raw(name.as_bytes());
    KeyRef::new(buf.as_bytes()).to_key()
}

impl fmt::Debug for Name {
    /// Hides the bytes: a key may hold data that must not appear in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({} bytes)", self.0.len())
    }
}
