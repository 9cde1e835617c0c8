//! The head of a stored response: what is sent, and what decides whether it may be used again.

use super::rewritten_headers::RewrittenHeaders;
use super::{Dependency, Generation, Nominated, Scope, VariantSelection, weight};
use crate::clock::Moment;
use crate::rules::places::Places;
use crate::rules::preconditions::has_validator;
use crate::rules::stale::{StaleOverrides, Windows};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use std::time::Duration;

/// Everything of a stored response that is known before its body.
///
/// In this order, so that all that a hit reads are neighbours: among many entries, none of it is in the processor's
/// cache.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Head {
    /// As they are sent. The header section begins with a place for `Age` (or `Date`), so that a hit that
    /// sets it looks for nothing and moves nothing.
    pub(super) parts: Parts,
    pub(crate) nominated: Box<[Nominated]>,
    pub(crate) generation: Generation,
    pub(crate) response_time: Moment,
    pub(crate) corrected_initial_age: Duration,
    pub(crate) fresh_until: Moment,
    pub(crate) scopes: Box<[Scope]>,
    /// The values that it was made from.
    pub(crate) dependencies: Box<[Dependency]>,
    /// How long its handler wants it held, whatever its fields say.
    pub(crate) hinted: Option<Duration>,
    /// How long it may be used once it is stale.
    pub(crate) windows: Windows,
    /// What its handler says of that.
    pub(crate) hinted_windows: StaleOverrides,
    /// How long the service took to begin its answer.
    pub(crate) cost: Duration,
    /// Whether the content has a coding that no `Vary` and no part of the key asks a request about.
    pub(crate) is_coded_for_some: bool,
    /// Where clients are told something else than the origin has said.
    pub(crate) outward: Option<Box<RewrittenHeaders>>,
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
            hinted: None,
            windows: Windows::default(),
            hinted_windows: StaleOverrides::default(),
            cost: Duration::ZERO,
            is_coded_for_some: false,
            outward: None,
        }
    }

    /// Nominates the fields that another response nominated, too.
    pub(crate) fn nominate(
        &mut self,
        others: &[Nominated],
        request: &HeaderMap,
        selection: &VariantSelection,
    ) {
        let mut places = Places::default();
        let is_new =
            |other: &&Nominated| places.find(&self.nominated, other.name(), Nominated::name).is_none();
        let more = others.iter().filter(is_new);
        let more: Vec<_> =
            more.map(|other| Nominated::from_request(other.name(), request, selection)).collect();
        if !more.is_empty() {
            self.nominated = std::mem::take(&mut self.nominated).into_vec().into_iter().chain(more).collect();
        }
    }

    /// Goes on being named by all that named it before it was validated, and depending on what it was made from.
    pub(crate) fn inherit(&mut self, before: &Self) {
        let mut places = Places::default();
        let is_new = |scope: &&Scope| places.find(&self.scopes, *scope, |own| own).is_none();
        let more: Vec<_> = before.scopes.iter().filter(is_new).copied().collect();
        self.scopes = self.scopes.iter().copied().chain(more).collect();
        self.dependencies = before.dependencies.clone();
    }

    /// Returns when the request began that this answers.
    pub(crate) fn asked_at(&self) -> Moment {
        self.response_time.before(self.cost)
    }

    /// Returns `true` if the origin can be asked if the response still stands.
    pub(crate) fn is_revalidatable(&self) -> bool {
        self.parts.status == StatusCode::OK && has_validator(&self.parts.headers)
    }

    /// Returns `true` if the stored response keeps the head of its 304.
    pub(super) fn has_304(&self) -> bool {
        self.parts.status.is_success() && has_validator(&self.parts.headers)
    }

    /// Returns the bytes of memory that the head takes, with the head of its 304.
    pub(crate) fn weight(&self) -> u64 {
        let headers = &self.parts.headers;
        let not_modified = match self.has_304() {
            true => size_of::<Parts>() + weight::section_of_304(headers),
            false => 0,
        };
        // The weight of a field is without the reference counts of its name and value.
        let shared = 2 * weight::SHARED as u64;
        let nominated: u64 = self.nominated.iter().map(|field| field.weight() + shared).sum();
        let outward = self.outward.as_ref().map_or(0, |outward| outward.weight());
        let named = size_of_val(&*self.scopes) + size_of_val(&*self.dependencies);
        let own = size_of::<Self>() + weight::section(headers);
        (own + not_modified + outward + named) as u64 + nominated
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
            && self.outward == other.outward
            && self.hinted == other.hinted
            && self.windows == other.windows
            && self.hinted_windows == other.hinted_windows
            && self.cost == other.cost
            && self.is_coded_for_some == other.is_coded_for_some
    }
}
