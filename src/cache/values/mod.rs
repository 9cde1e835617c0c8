//! The low-level cache: values of the application's own, by key.
//!
//! A value is read, written and computed through [`Cache`](crate::cache::Cache), or through [`Value`] if it has tags or a stale window. What is
//! made from values depends on them: see [`propagate_dependencies`](crate::values::propagate_dependencies).

mod api;
mod clear;
mod compute;
mod compute_error;
mod counters;
mod encoding;
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
pub use fragment::Fragment;
pub use into_value::IntoValue;
pub use many::SetItem;
pub use value::Value;
