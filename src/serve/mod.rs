//! The one state machine that both cache layers run: inspect, look up, collapse or forward, record, respond.

mod decision;
mod forward;
mod future;
mod inspect;
mod lookup;
mod miss;
mod respond;
mod revalidate;
mod service;
mod step;
mod unsafe_method;

pub use future::ResponseFuture;
pub use service::ResponseCache;
pub(crate) use service::{Level, Shared};
