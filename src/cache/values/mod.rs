//! The low-level cache: values of the application, by key.
//!
//! [`Cache`](crate::cache::Cache) has methods for single values; [`Value`] adds tags and a stale
//! window, in which an expired value may still be used.
//!
//! A page or value that is made from a value is a dependent of that value: an invalidation of the
//! value also invalidates the dependent. [`tracking`](crate::cache::tracking) records these
//! dependencies.

mod api;
mod clear;
mod compute;
mod compute_error;
mod counters;
mod encoding;
mod entry_digest;
mod fragment;
mod get_or_set;
mod into_value;
mod many;
mod name;
mod read;
mod state;
mod value;
mod version;
mod write;
mod write_guard;

pub use compute_error::ComputeError;
pub(crate) use entry_digest::EntryDigest;
pub use fragment::Fragment;
pub use into_value::IntoValue;
pub use many::SetItem;
pub(crate) use name::{Name, value_key};
pub use value::Value;
