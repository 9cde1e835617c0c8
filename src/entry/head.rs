//! The head of a stored response: the status and fields to send, and the data for decisions about
//! reuse.

use super::rewritten_headers::RewrittenHeaders;
use super::{Dependency, Generation, NominatedField, Scope, VariantSelection, weight};
use crate::clock::Moment;
use crate::rules::position_index::PositionIndex;
use crate::rules::preconditions::has_validator;
use crate::rules::stale::{StaleOverrides, Windows};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use std::time::Duration;

/// The parts of a stored response that are known before its body.
///
/// The fields that a hit reads come first, so that they share few cache lines.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Head {
    /// The status and fields for clients. The header section begins with `Age` or `Date`, so that a
    /// hit sets that field without a search.
    pub(super) parts: Parts,
    /// The request fields that the response nominates in `Vary`, with their values in the original
    /// request (RFC 9111 section 4.1).
    pub(crate) nominated: Box<[NominatedField]>,
    /// The generation from before the request was forwarded.
    pub(crate) generation: Generation,
    /// `response_time` of RFC 9111 section 4.2.3.
    pub(crate) response_time: Moment,
    /// `corrected_initial_age` of RFC 9111 section 4.2.3.
    pub(crate) corrected_initial_age: Duration,
    /// The moment at which the response becomes stale.
    pub(crate) fresh_until: Moment,
    /// The scopes by which the response can be invalidated.
    pub(crate) scopes: Box<[Scope]>,
    /// The values and cached parts that the response was made from.
    pub(crate) dependencies: Box<[Dependency]>,
    /// The freshness lifetime in the handler's `CacheHints`, which outranks the header fields.
    pub(crate) hinted_ttl: Option<Duration>,
    pub(crate) windows: Windows,
    /// The stale windows in the handler's `CacheHints`, which outrank the header fields.
    pub(crate) hinted_windows: StaleOverrides,
    /// The time that the service took to begin the response.
    pub(crate) cost: Duration,
    /// `true` if only requests that accept the content coding of the response may receive it,
    /// because neither `Vary` nor the key covers `Accept-Encoding`.
    pub(crate) requires_coding: bool,
    /// `true` if encoded variants of the response may be made. Not part of the bytes of the entry:
    /// only a store inside the process keeps encoded variants.
    pub(crate) is_encodable: bool,
    /// The original lines of the header fields that are rewritten for clients; `None` if the head
    /// is not rewritten.
    pub(crate) rewritten: Option<Box<RewrittenHeaders>>,
}

impl Head {
    pub(crate) fn new(
        status: StatusCode,
        headers: HeaderMap,
        generation: Generation,
        response_time: Moment,
    ) -> Self {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = status;
        parts.headers = headers;
        Self {
            parts,
            nominated: Box::default(),
            scopes: Box::default(),
            dependencies: Box::default(),
            generation,
            response_time,
            corrected_initial_age: Duration::ZERO,
            fresh_until: response_time,
            hinted_ttl: None,
            windows: Windows::default(),
            hinted_windows: StaleOverrides::default(),
            cost: Duration::ZERO,
            requires_coding: false,
            is_encodable: false,
            rewritten: None,
        }
    }

    /// Adds `others`, the fields that the previous version of the response nominated, with their
    /// values in `request`. A 304 or the response to a HEAD may name fewer fields in `Vary`.
    pub(crate) fn nominate(
        &mut self,
        others: &[NominatedField],
        request: &HeaderMap,
        selection: &VariantSelection,
    ) {
        let mut positions = PositionIndex::default();
        let is_new = |other: &&NominatedField| {
            positions.find(&self.nominated, other.name(), NominatedField::name).is_none()
        };
        let more = others.iter().filter(is_new);
        let more: Vec<_> =
            more.map(|other| NominatedField::from_request(other.name(), request, selection)).collect();
        if !more.is_empty() {
            self.nominated = std::mem::take(&mut self.nominated).into_vec().into_iter().chain(more).collect();
        }
    }

    /// Adds the scopes of `before`, the response that a 304 has validated, and copies its
    /// dependencies.
    pub(crate) fn inherit(&mut self, before: &Self) {
        let mut positions = PositionIndex::default();
        let is_new = |scope: &&Scope| positions.find(&self.scopes, *scope, |own| own).is_none();
        let more: Vec<_> = before.scopes.iter().filter(is_new).copied().collect();
        self.scopes = self.scopes.iter().copied().chain(more).collect();
        self.dependencies = before.dependencies.clone();
    }

    /// Returns the moment at which the request for this response began.
    pub(crate) fn requested_at(&self) -> Moment {
        self.response_time.before(self.cost)
    }

    /// Returns `true` if a conditional request can revalidate the response.
    pub(crate) fn is_revalidatable(&self) -> bool {
        self.parts.status == StatusCode::OK && has_validator(&self.parts.headers)
    }

    /// Returns `true` if the stored response keeps the head of its 304 from the first 304 on. The
    /// weight includes that head from the start.
    pub(super) fn caches_304(&self) -> bool {
        self.parts.status.is_success() && has_validator(&self.parts.headers)
    }

    /// Returns the memory use of the head in bytes, including the head of its 304.
    pub(crate) fn weight(&self) -> u64 {
        let headers = &self.parts.headers;
        let not_modified = match self.caches_304() {
            true => size_of::<Parts>() + weight::section_of_304(headers),
            false => 0,
        };
        // The weight of a field excludes the reference counts of its name and value.
        let shared = 2 * weight::SHARED as u64;
        let nominated: u64 = self.nominated.iter().map(|field| field.weight() + shared).sum();
        let rewritten = self.rewritten.as_ref().map_or(0, |rewritten| rewritten.weight());
        let named = size_of_val(&*self.scopes) + size_of_val(&*self.dependencies);
        let own = size_of::<Self>() + weight::section(headers);
        (own + not_modified + rewritten + named) as u64 + nominated
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        let all = |head: &Self| {
            (
                head.parts.status,
                head.generation,
                head.response_time,
                head.corrected_initial_age,
                head.fresh_until,
            )
        };
        all(self) == all(other)
            && self.parts.headers == other.parts.headers
            && self.nominated == other.nominated
            && self.scopes == other.scopes
            && self.dependencies == other.dependencies
            && self.rewritten == other.rewritten
            && self.hinted_ttl == other.hinted_ttl
            && self.windows == other.windows
            && self.hinted_windows == other.hinted_windows
            && self.cost == other.cost
            && self.requires_coding == other.requires_coding
    }
}
