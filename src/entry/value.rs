//! A value of the application, with its lifetime, its scopes and its dependencies.

use super::weight::{ARC, SHARED};
use super::{Dependency, Generation, Scope, body_for_storage};
use crate::clock::Moment;
use bytes::Bytes;

/// The encoding of a value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The bytes are the value.
    Raw,
    /// MessagePack, with named fields.
    MessagePack,
}

/// A value of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredValue {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
    /// The generation from before the value was made; `None` if no invalidation applies to the
    /// value.
    pub(crate) generation: Option<Generation>,
    pub(crate) scopes: Box<[Scope]>,
    pub(crate) dependencies: Box<[Dependency]>,
    pub(crate) fresh_until: Moment,
}

impl StoredValue {
    /// Creates a value of raw bytes. No invalidation applies to it.
    #[must_use]
    pub(crate) fn raw(bytes: Bytes) -> Self {
        // Copies the bytes if their buffer takes much more memory than the weight counts.
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

    #[must_use]
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

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
