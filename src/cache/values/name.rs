//! The name of a value within its namespace.

use crate::key::KeyBuf;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// What a value is known by within its namespace.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Name(Arc<[u8]>);

/// Longer ones are known by a digest.
const LONGEST: usize = 1024;

impl Name {
    pub(super) fn of_key(version: u32, key: &[u8]) -> Self {
        Self::of_parts(version, b"key", [key])
    }

    /// Returns the name of a value that is named later.
    pub(super) fn unnamed() -> Self {
        Self(Arc::default())
    }

    /// Returns a name that no other parts have.
    pub(super) fn of_parts<'a>(version: u32, kind: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut buf = KeyBuf::new();
        buf.part(&version.to_le_bytes());
        buf.part(kind);
        parts.into_iter().for_each(|part| buf.part(part));
        match buf.as_bytes() {
            bytes if bytes.len() > LONGEST => Self(Sha256::digest(bytes).as_slice().into()),
            bytes => Self(bytes.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    /// Shows no bytes: a key may hold what nobody should read in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({} bytes)", self.0.len())
    }
}
