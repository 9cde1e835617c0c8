//! Responses of a cache layer: from the store, from the service, or made by the layer itself.

#[cfg(feature = "tracing")]
mod answer_event;
mod answer_report;
mod empty;
mod forecast;
mod held;
mod hit;
#[cfg(feature = "tracing")]
mod mistakes;
mod outgoing_head;

use crate::body::ResponseBody;
use crate::cache::AnswerDependencies;
pub(super) use answer_report::AnswerReport;
pub(super) use empty::{empty, loop_head};
pub(super) use forecast::Forecast;
pub(super) use held::{HeldAdmission, HeldStatus, correct_status};
pub(crate) use held::{receive, send_and_refuse_rest};
pub(super) use hit::{Hit, with_ttl};
use http::Response;
pub(super) use outgoing_head::{OutgoingHead, client_cache_control, rewrite_cache_control};

/// An answer, and the dependencies that a page made from it inherits.
pub(super) type Answered<B, E> = (Result<Response<ResponseBody<B>>, E>, AnswerDependencies);
