//! What a store holds: stored responses, the index of a URL's variants, values and counters.

mod age;
mod checked;
mod client_head;
mod codec;
mod dependencies;
mod form;
mod generation;
mod head;
mod nominated;
mod packing;
mod response;
mod rewritten_headers;
mod scope;
mod use_flag;
mod value;
mod vary_index;
mod weight;
mod wire;

pub(crate) use dependencies::Dependencies;
pub use generation::Generation;
pub(crate) use head::Head;
pub(crate) use nominated::{Nominated, SecretFields, VariantSelection};
pub(crate) use packing::{body_for_storage, headers_for_storage};
pub use response::StoredResponse;
pub use scope::{Dependency, Scope};
pub(crate) use scope::{ExtendOnHost, Kind};
pub use value::{Encoding, StoredValue};
pub use vary_index::VaryIndex;

use bytes::Bytes;
use std::sync::Arc;

/// One stored thing. Cheap to clone.
///
/// A store needs to know no more of it than [`weight`](Entry::weight) and equality, but for
/// counters, which [`Store::increment`](crate::store::Store::increment) reads and writes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry {
    /// A response.
    Response(Arc<StoredResponse>),
    /// Which request fields select among the variants of a URL.
    Index(Arc<VaryIndex>),
    /// A value of the application's own.
    Value(Arc<StoredValue>),
    /// A number that is changed atomically.
    Counter(i64),
}

impl Entry {
    /// Wraps bytes that nothing but their removal invalidates.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Value(Arc::new(StoredValue::raw(bytes.into())))
    }

    /// Returns about how many bytes of memory the entry takes, its bookkeeping included.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self {
            Self::Response(response) => response.weight(),
            Self::Index(index) => weight::ARC as u64 + index.weight(),
            Self::Value(value) => value.weight(),
            Self::Counter(_) => 8,
        }
    }

    /// Returns `true` if two entries are one and the same in memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Response(a), Self::Response(b)) => Arc::ptr_eq(a, b),
            (Self::Index(a), Self::Index(b)) => Arc::ptr_eq(a, b),
            (Self::Value(a), Self::Value(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Returns the bytes of memory that a replica takes besides what it shares with this entry.
    pub(crate) fn replica_weight(&self) -> u64 {
        match self {
            Self::Response(response) => response.weight() - response.body().len() as u64,
            Self::Value(value) => value.weight() - value.bytes().len() as u64,
            Self::Index(_) | Self::Counter(_) => self.weight(),
        }
    }

    /// Returns a copy that shares no reference count with this one, for use by one thread.
    pub(crate) fn replica(&self) -> Self {
        match self {
            Self::Response(response) => Self::Response(Arc::new(response.replica())),
            Self::Index(index) => Self::Index(Arc::new(VaryIndex::clone(index))),
            Self::Value(value) => Self::Value(Arc::new(value.replica())),
            Self::Counter(number) => Self::Counter(*number),
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Response(a), Self::Response(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Index(a), Self::Index(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Value(a), Self::Value(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Counter(a), Self::Counter(b)) => a == b,
            _ => false,
        }
    }
}
