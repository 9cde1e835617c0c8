//! A value of the application's own, with what decides whether it may be used.

use super::weight::{ARC, SHARED};
use super::{Dependency, Generation, Scope, body_for_storage};
use crate::clock::Moment;
use bytes::Bytes;

/// How the bytes of a value are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they are.
    Raw,
    /// As MessagePack, with named fields.
    MessagePack,
}

/// A value of the application's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredValue {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
    /// What was current before it was made; absent where nothing invalidates it.
    pub(crate) generation: Option<Generation>,
    pub(crate) scopes: Box<[Scope]>,
    pub(crate) dependencies: Box<[Dependency]>,
    pub(crate) fresh_until: Moment,
}

impl StoredValue {
    /// Wraps bytes that nothing but their removal invalidates.
    #[must_use]
    pub(crate) fn raw(bytes: Bytes) -> Self {
        // Not the buffer that they may be a slice of.
        let (bytes, _) = body_for_storage(bytes);
        Self {
            bytes,
            encoding: Encoding::Raw,
            generation: None,
            scopes: Box::default(),
            dependencies: Box::default(),
            fresh_until: Moment::NEVER,
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns how they are to be read.
    #[must_use]
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns a copy that shares no reference count with this one.
    pub(crate) fn replica(&self) -> Self {
        Self { bytes: Bytes::from_owner(self.bytes.clone()), ..self.clone() }
    }

    pub(crate) fn weight(&self) -> u64 {
        let named = size_of_val(&*self.scopes) + size_of_val(&*self.dependencies);
        (ARC + size_of::<Self>() + self.bytes.len() + SHARED + named) as u64
    }
}
