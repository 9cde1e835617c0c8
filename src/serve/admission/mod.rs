//! The decision whether a response may be stored (RFC 9111 section 3), and for how long.

mod candidate;
mod exchange;
mod freshness;
mod recipient;
mod tags;

use super::config::LayerConfig;
use crate::status::Detail;
use candidate::Candidate;
pub(super) use exchange::{Admission, Exchange};
pub(super) use freshness::fresh_again_until;
use http::response;
use http_body::Body;
pub(super) use tags::{scopes_of, tags};

/// Decides on the head of a response. Fails with the reason why it is not stored.
pub(super) fn admit(
    config: &LayerConfig,
    exchange: &Exchange<'_>,
    response: &response::Parts,
) -> Result<Admission, Detail> {
    Candidate::new(config, exchange, response).admit()
}

/// Tells whether a body is no more than may be kept, and as long as is declared, as far as it says.
pub(super) fn body_fits<B: Body>(body: &B, admission: &Admission) -> Result<(), Detail> {
    let said = body.size_hint();
    if said.lower() > admission.limit {
        return Err(Detail::TooLarge);
    }
    match said.exact().zip(admission.declared) {
        Some((said, declared)) if said != declared => Err(Detail::ContentLength),
        _ => Ok(()),
    }
}
