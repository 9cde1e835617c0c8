//! Cache keys: unambiguous bytes, compared in full.

mod authority;
mod buf;
pub(crate) mod cache_key;
mod digest;
mod error;
mod forwarded;
mod head;
mod part;
mod policy;
mod query;
mod target;

pub(crate) use authority::canonical_authority;
pub(crate) use buf::{KeyBuf, LONGEST_VALUE};
pub(crate) use cache_key::{BuildPrehashed, Prehashed};
pub(crate) use cache_key::{CacheKey, KeyRef};
pub(crate) use digest::{ValueDigest, ValueDigests};
pub(crate) use error::KeyError;
pub(crate) use forwarded::{ForwardedField, ForwardedFields, prefix_of};
pub use head::RequestHead;
pub use part::KeyPart;
pub(crate) use policy::{KeyPolicy, write_key};
pub use query::QueryKey;
pub(crate) use target::is_same_target;
