//! The one state machine that both cache layers run: inspect, look up, collapse or forward, record, respond.

mod anonymize;
mod carried;
mod coding;
mod decision;
mod emitted;
mod failure;
mod finish;
mod forward;
mod future;
mod head;
mod held;
mod inherited;
mod inspect;
mod lifetime;
mod limit;
mod lookup;
mod mark;
mod miss;
mod narrow;
mod next;
mod post;
mod refresh;
mod respond;
mod revalidate;
mod sent;
mod service;
mod shared;
mod span;
mod step;
mod target;
mod unsafe_method;

pub use future::ResponseFuture;
pub(crate) use held::{leave, receive};
pub(crate) use inspect::is_identified;
pub use service::ResponseCache;
pub(crate) use shared::{Level, Shared};
