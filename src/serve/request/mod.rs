//! The request: the facts that matter to the cache, its key, and the form in which it is forwarded.

mod anonymize;
mod chain;
mod facts;
mod forwarded;
mod identified_by;
mod inspect;
mod key_inputs;
mod keyed_inputs;
mod shown_key;
mod state;
mod target;

pub(super) use anonymize::{
    CarriedFields, anonymize, is_personal, nominated, nominated_fields, unkeyed_fields,
};
pub(super) use chain::chain;
pub(super) use facts::RequestFacts;
pub(super) use forwarded::{add_hosts, forwarded_prefix};
pub(super) use identified_by::identified_by;
pub(crate) use inspect::is_identified;
pub(super) use inspect::{InspectedRequest, identifies, inspect};
pub(super) use key_inputs::key_inputs;
pub(super) use keyed_inputs::{KeyedInputs, normalize, reaches_handler, write_request_key};
pub(super) use shown_key::{short_digest, shown_key};
pub(super) use state::{Arrival, RequestState};
pub(crate) use target::public_uri;
pub(super) use target::{rewritten_uri, target_names};
