//! The entries of a store: stored responses, indexes of a URL's variants, values and counters.

mod age;
mod client_head;
mod codec;
mod dependencies;
mod encoded_variants;
mod encoding_progress;
mod form;
mod generation;
mod head;
mod last_valid_generation;
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
pub(crate) use encoded_variants::EncodedVariant;
pub(crate) use encoding_progress::EncodingClaim;
pub use generation::Generation;
pub(crate) use head::Head;
pub(crate) use nominated::{NominatedField, SecretFields, VariantSelection};
pub(crate) use packing::{body_for_storage, headers_for_storage, headers_for_storage_with};
pub(crate) use response::StoredResponse;
pub use scope::{Dependency, Scope};
pub(crate) use scope::{ExtendOnHost, Kind};
pub(crate) use value::{Encoding, StoredValue};
pub(crate) use vary_index::VaryIndex;

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// An entry of a store: a stored response, an index of a URL's variants, a value or a counter.
///
/// A store treats entries as opaque. It compares them with `==`, measures them with
/// [`weight`](Entry::weight), and reads counters with [`as_counter`](Entry::as_counter). A store
/// outside the process keeps the bytes of [`encode`](Entry::encode). Cloning an entry copies no
/// body.
#[derive(Clone)]
pub struct Entry(pub(crate) EntryKind);

/// The contents of an entry.
#[derive(Debug, Clone)]
pub(crate) enum EntryKind {
    Response(Arc<StoredResponse>),
    Index(Arc<VaryIndex>),
    Value(Arc<StoredValue>),
    Counter(i64),
}

impl Entry {
    /// Creates an entry of raw bytes. No invalidation applies to it.
    ///
    /// The bytes are copied if something else shares their buffer, or if much of the buffer is
    /// unused. So the entry does not keep a much larger buffer in memory.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self(EntryKind::Value(Arc::new(StoredValue::raw(bytes.into()))))
    }

    /// Creates a counter with a number.
    #[must_use]
    pub const fn counter(number: i64) -> Self {
        Self(EntryKind::Counter(number))
    }

    /// Returns the number of a counter, or `None` for other entries.
    ///
    /// Use it to implement [`Store::increment`](crate::store::Store::increment).
    #[must_use]
    pub const fn as_counter(&self) -> Option<i64> {
        match self.0 {
            EntryKind::Counter(number) => Some(number),
            _ => None,
        }
    }

    /// Returns the bytes of an entry of raw bytes (see [`raw`](Entry::raw)), or `None` for other
    /// entries.
    #[must_use]
    pub fn as_raw(&self) -> Option<&Bytes> {
        match &self.0 {
            EntryKind::Value(value) if value.encoding() == Encoding::Raw => Some(value.bytes()),
            _ => None,
        }
    }

    /// Returns the approximate memory use of the entry in bytes, including its bookkeeping.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match &self.0 {
            EntryKind::Response(response) => response.weight(),
            EntryKind::Index(index) => weight::ARC as u64 + index.weight(),
            EntryKind::Value(value) => value.weight(),
            EntryKind::Counter(_) => 8,
        }
    }

    /// Returns `true` if two entries share one allocation, and `false` for counters.
    pub(crate) fn shares_allocation(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (EntryKind::Response(a), EntryKind::Response(b)) => Arc::ptr_eq(a, b),
            (EntryKind::Index(a), EntryKind::Index(b)) => Arc::ptr_eq(a, b),
            (EntryKind::Value(a), EntryKind::Value(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Returns the memory use of a [`replica`](Self::replica) in bytes, without the body bytes that
    /// it shares with this entry.
    pub(crate) fn replica_weight(&self) -> u64 {
        match &self.0 {
            EntryKind::Response(response) => response.weight() - response.body().len() as u64,
            EntryKind::Value(value) => value.weight() - value.bytes().len() as u64,
            EntryKind::Index(_) | EntryKind::Counter(_) => self.weight(),
        }
    }

    /// Returns a copy for one thread. The copy shares no reference count with this entry, so that
    /// threads which read the same entry do not contend.
    pub(crate) fn replica(&self) -> Self {
        Self(match &self.0 {
            EntryKind::Response(response) => EntryKind::Response(Arc::new(response.replica())),
            EntryKind::Index(index) => EntryKind::Index(Arc::new(VaryIndex::clone(index))),
            EntryKind::Value(value) => EntryKind::Value(Arc::new(value.replica())),
            EntryKind::Counter(number) => EntryKind::Counter(*number),
        })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (EntryKind::Response(a), EntryKind::Response(b)) => Arc::ptr_eq(a, b) || a == b,
            (EntryKind::Index(a), EntryKind::Index(b)) => Arc::ptr_eq(a, b) || a == b,
            (EntryKind::Value(a), EntryKind::Value(b)) => Arc::ptr_eq(a, b) || a == b,
            (EntryKind::Counter(a), EntryKind::Counter(b)) => a == b,
            _ => false,
        }
    }
}
