//! Marks that nested layers of this crate put on requests and responses, to inform each other.

mod field;
mod held_admissions;
mod layer_position;
mod outer_context;
pub(crate) mod response_marks;
mod target_names;
mod verdict;

pub(crate) use field::{receive, remove_from_request, send};
#[cfg(feature = "axum")]
pub(crate) use field::{write_identified, write_never};
pub(crate) use held_admissions::HeldAdmissions;
pub(crate) use layer_position::LayerPosition;
pub(crate) use outer_context::{LAYER_ID_LENGTH, LayerId, OuterContext, has_outer_cache_layer, is_outermost};
pub(crate) use response_marks::Identified;
pub(crate) use response_marks::{FromIdentified, HandledByInner, is_handled_by_inner, restrictions};
pub(crate) use target_names::{LazyTargetNames, TargetNames};
pub(crate) use verdict::{Decider, PendingVerdict, Verdict};
