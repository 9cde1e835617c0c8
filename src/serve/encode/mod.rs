//! Encoded variants of stored responses: which responses may have them, which variant answers a
//! request, and when a variant is made.
//!
//! ```text
//! hit ─► accepted codings ─┬─ a variant is ready ────► the variant
//!                          └─ none is ready ─────────► the plain response, with a weak tag
//!                                 │ at the nth such request
//!                                 └─► encode on a blocking thread ─► compare-and-set of the entry
//! ```

mod accepted;
mod encoding;

use super::config::LayerConfig;
use super::request::RequestFacts;
use crate::entry::{EncodedVariant, StoredResponse};
use crate::rules::accept_encoding::Coding;
use crate::rules::cache_control::{RequestDirectives, ResponseDirectives};
use accepted::accepted_codings;
pub(super) use encoding::{count_request, eager_encoding};
use http::header::{CONTENT_ENCODING, CONTENT_RANGE};
use http::{HeaderMap, response};

/// The representation of a stored response that answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Representation {
    /// The response has no encoded variants.
    Sole,
    /// The plain response, for a request that accepts no offered coding.
    Plain,
    /// The plain response, for a request that accepts an offered coding. Its tag is weak: an outer
    /// layer may still encode it.
    WeakPlain,
    Encoded(Coding),
}

impl Representation {
    /// Returns the encoded variant, if the representation is one.
    #[inline]
    pub(in crate::serve) fn variant(self, stored: &StoredResponse) -> Option<&EncodedVariant> {
        match self {
            Self::Encoded(coding) => stored.encoded()?.get(coding),
            Self::Sole | Self::Plain | Self::WeakPlain => None,
        }
    }
}

/// Returns `true` if encoded variants of a response may be made. `length` is its declared length.
pub(in crate::serve) fn is_encodable(
    config: &LayerConfig,
    facts: RequestFacts,
    response: &response::Parts,
    length: Option<u64>,
) -> bool {
    let Some(encoder) = config.encoder() else { return false };
    let headers = &response.headers;
    (encoder.encodes_per_identity() || !facts.personal)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && length.is_none_or(|length| encoder.encodes_length(length))
        && !forbids_transforms(headers)
        && encoder.compresses(response, length)
}

/// Returns `true` if a response has `no-transform` (RFC 9111 section 5.2.2.6).
fn forbids_transforms(headers: &HeaderMap) -> bool {
    ResponseDirectives::from_headers(headers).no_transform
}

/// Returns the representation of a stored response that answers a request, and the coding that the
/// request would prefer and that can be made.
#[inline]
pub(in crate::serve) fn choose(
    config: &LayerConfig,
    stored: &StoredResponse,
    request: &HeaderMap,
    facts: RequestFacts,
) -> (Representation, Option<Coding>) {
    match stored.encoded() {
        None => (Representation::Sole, None),
        Some(_) => choose_among_variants(config, stored, request, facts),
    }
}

fn choose_among_variants(
    config: &LayerConfig,
    stored: &StoredResponse,
    request: &HeaderMap,
    facts: RequestFacts,
) -> (Representation, Option<Coding>) {
    let (Some(encoded), Some(encoder)) = (stored.encoded(), config.encoder()) else {
        return (Representation::Sole, None);
    };
    let mut accepted = accepted_codings(request).of(encoder.offered()).peekable();
    if accepted.peek().is_none() {
        return (Representation::Plain, None);
    }
    // RFC 9111 section 5.2.1.6: the client asks for content that no intermediary has transformed.
    if facts.directives && RequestDirectives::from_headers(request).no_transform {
        return (Representation::WeakPlain, None);
    }
    let mut wanted = None;
    for coding in accepted {
        if encoded.get(coding).is_some() {
            return (Representation::Encoded(coding), wanted);
        }
        if wanted.is_none() && encoded.progress().is_open(coding) {
            wanted = Some(coding);
        }
    }
    (Representation::WeakPlain, wanted)
}

/// Returns `true` if a request accepts a coding that the layer offers.
pub(in crate::serve) fn accepts_offered(config: &LayerConfig, request: &HeaderMap) -> bool {
    config.encoder().is_some_and(|encoder| accepted_codings(request).of(encoder.offered()).next().is_some())
}
