//! Marks on requests and responses, with which nested layers of this crate inform each other.

mod edge;
mod field;
mod holds;
mod outer_context;
pub(crate) mod response_marks;
mod verdict;

pub(crate) use edge::Edge;
pub(crate) use field::{receive, remove_from_request, send};
#[cfg(feature = "axum")]
pub(crate) use field::{write_identified, write_never};
pub(crate) use holds::Holds;
pub(crate) use outer_context::{LayerId, OuterContext, PREFIX, is_outermost, was_announced};
pub(crate) use response_marks::Identified;
pub(crate) use response_marks::{FromIdentified, HandledByInner, restrictions};
pub(crate) use verdict::{Decider, PendingVerdict, Verdict};
