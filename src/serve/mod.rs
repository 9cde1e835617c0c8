//! The state machine that both cache layers run.
//!
//! ```text
//! request
//!   │ step: inspect the request, write its key, look it up without waiting
//!   ├─ Hit ───────────────────────────────────────────────► respond
//!   ├─ Forward (bypass, HEAD, inner layer) ──► service ───► future: pass the response on
//!   ├─ Unsafe ──► unsafe_method, post ──► service, invalidate, perhaps store ──► respond
//!   └─ Miss
//!        │ collapse: look up, join the flight of the key, wait, look up again
//!        ├─ Answer, Read ─────────────────────────────────► respond
//!        ├─ Refresh ──► respond with a stale response, fetch in the background
//!        ├─ Forward, Refuse, Loop ────────────────────────► service, 504, 508
//!        └─ Fetch
//!             │ fetch: forward one form of the request to the service
//!             ├─ failure: stale-if-error, timeout
//!             ├─ 304: revalidate, variants, mismatch
//!             └─ record: admission decides, the body is recorded while it is sent
//!                  │ held: an outer layer may have to admit the response first
//!                  └─ the complete body is stored; followers get it ──► respond
//! ```

mod action;
mod admission;
mod anonymize;
mod coding;
mod collapse;
mod config;
mod detached;
mod emitted;
mod failure;
mod fetch;
mod forecast;
mod forwarded;
mod forwarded_request;
mod future;
mod head_update;
mod held;
mod inherited;
mod inspect;
mod keyed_inputs;
mod limit;
mod lookup;
mod mark;
mod mismatch;
mod not_reusable;
mod outgoing_head;
mod post;
mod record;
mod reference;
mod refresh;
mod refuse;
mod request_state;
mod respond;
mod revalidate;
mod run;
mod service;
mod span;
mod step;
mod target;
mod unsafe_method;
mod variants;

pub(crate) use config::{LayerConfig, Level};
pub use future::ResponseFuture;
pub(crate) use held::{leave, receive};
pub(crate) use inspect::is_identified;
pub use service::ResponseCache;
