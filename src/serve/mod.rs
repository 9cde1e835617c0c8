//! The state machine that both cache layers run, `SiteCacheLayer` and `RouteCacheLayer`.
//!
//! ```text
//! request
//!   │ service, classify: inspect the request, write its key, look it up without waiting
//!   ├─ Hit ───────────────────────────────────────────────► respond
//!   ├─ Forward (bypass, missed HEAD, handled by an inner layer) ──► service ──► future
//!   ├─ Unsafe ──► write ──► service, invalidate, perhaps store ──► respond
//!   └─ Miss
//!        ├─ the last response forbade storing ──► hit_for_miss ──► service ──► future
//!        │ collapse: look up, join the flight of the key, wait, look up again
//!        ├─ Answer, Read ─────────────────────────────────► respond
//!        ├─ Refresh ──► respond with a stale response, fetch in the background
//!        ├─ Forward, Refuse, Loop ────────────────────────► service, 504, 508
//!        └─ Fetch
//!             │ fetch: forward the request without its unkeyed inputs
//!             ├─ failure: stale-if-error, timeout
//!             ├─ 304: revalidate, variants, mismatch
//!             ├─ HEAD: head_update
//!             └─ record: admission decides ─────────────────► respond
//!                  │ hold: an outer layer may have to admit the response first
//!                  └─ the body is recorded while the client and the followers read it
//!                       └─ at its end, the response is stored
//! ```
//!
//! Terms in the comments of these modules:
//!
//! - An input is a part of a request that can influence the response. A keyed input is part of the
//!   key.
//! - Stripping removes unkeyed inputs from a request before a fetch. The policy decides which.
//! - An identified request has a credential, or other data that identifies its visitor.
//! - A flight is one fetch for several requests: a leader fetches, and followers wait for its
//!   response.
//! - A key can be hit-for-miss for a while, e.g. after its response could not be shared. Requests
//!   for such a key neither lead nor join a flight.
//! - Layers inform each other by marks in the extensions of requests (see
//!   [`OuterContext`](crate::marks::OuterContext)) and of responses.
//! - An admission is the decision to store a response. An inner layer holds its admission until the
//!   outermost layer has seen the head of the response.
//! - An answer is what the service returns for a request: a response or an error.
//! - The dependencies of a response are the cached responses and values from which it was made. A
//!   tracker notes them while the response is made. A page that includes a response inherits its
//!   dependencies.
//! - A scope is a name by which invalidations find entries, e.g. a path or a tag. Each invalidation
//!   begins a new generation.
//! - A soft invalidation makes stored responses stale. A hard one makes them unusable.
//!
//! A module imports only modules in its own row and in the rows above:
//!
//! | module | content |
//! |---|---|
//! | `deadline`, `span`, `keyed_fields` | time limits; spans of tasks; `Vary` for clients |
//! | `config` | state shared by a layer and all its services |
//! | `nesting` | the marks of outer layers on requests |
//! | `request` | the inspected request, its key, the fields that the handler sees |
//! | `lookup` | may this stored response be used now? |
//! | `encode` | encoded variants: which one answers, and when it is made |
//! | `respond` | response heads, `Cache-Status`, admissions that wait for outer layers |
//! | `admission` | may this response be stored, and for how long? |
//! | `changes` | invalidations that a response requests or a write requires |
//! | `fetch` | forwarding a request whose response may be stored |
//! | `collapse` | one fetch for concurrent misses |
//! | `write` | unsafe methods |
//! | `classify` | the first decision on a request |
//! | `hit_for_miss` | requests for keys whose last response forbade storing |
//! | `future` | the response future |
//! | `refuse`, `run`, `service` | the path of a request through these modules |
//! | `explain` | the decisions on a request, without carrying them out |

mod admission;
mod changes;
mod classify;
mod collapse;
mod config;
mod deadline;
mod encode;
mod explain;
mod fetch;
mod future;
mod hit_for_miss;
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
#[cfg(feature = "inspector")]
pub(crate) use deadline::with_timeout;
pub use future::ResponseFuture;
pub(crate) use request::{is_identified, public_uri};
pub(crate) use respond::{receive, send_and_refuse_rest};
pub use service::ResponseCache;
