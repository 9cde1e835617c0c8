//! The state machine that both cache layers run.
//!
//! ```text
//! request
//!   │ service, classify: inspect the request, write its key, look it up without waiting
//!   ├─ Hit ───────────────────────────────────────────────► respond
//!   ├─ Forward (bypass, HEAD, inner layer) ──► service ───► future: pass the response on
//!   ├─ Unsafe ──► write ──► service, invalidate, perhaps store ──► respond
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
//!                  │ hold: an outer layer may have to admit the response first
//!                  └─ the complete body is stored; followers get it ──► respond
//! ```
//!
//! A module may import modules above it in this table, and none below:
//!
//! | module | content |
//! |---|---|
//! | `deadline`, `span`, `keyed_fields` | limits in time; spans of tasks; `Vary` for clients |
//! | `config` | what a layer and all its services share |
//! | `nesting` | the marks of outer layers on requests |
//! | `request` | what matters of a request, its key, and what of it is forwarded |
//! | `lookup` | may this stored response be used now? |
//! | `respond` | the heads of answers, `Cache-Status`, admissions that wait for outer layers |
//! | `admission` | may this response be stored, and for how long? |
//! | `changes` | what a response has changed |
//! | `fetch` | the call of the service, and what becomes of its answer |
//! | `collapse` | one call for all that wait |
//! | `write` | unsafe methods |
//! | `future` | the response future |
//! | `classify`, `refuse`, `run`, `service` | the way of a request through all of these |

mod admission;
mod changes;
mod classify;
mod collapse;
mod config;
mod deadline;
mod fetch;
mod future;
mod keyed_fields;
mod lookup;
mod nesting;
mod refuse;
mod request;
mod respond;
mod run;
mod service;
mod span;
mod write;

pub(crate) use config::{LayerConfig, Level};
pub use future::ResponseFuture;
pub(crate) use request::is_identified;
pub(crate) use respond::{leave, receive};
pub use service::ResponseCache;
