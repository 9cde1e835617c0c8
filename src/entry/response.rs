//! A stored response, with everything precomputed that a hit needs.

use super::age::age_value;
use super::encoded_variants::{EncodedVariant, EncodedVariants};
use super::head::Head;
use super::last_valid_generation::LastValidGeneration;
use super::packing::{pack, unshared_name, without_spare_room};
use super::use_flag::UseFlag;
use super::{Dependencies, Generation, VariantSelection, weight};
use crate::clock::{Clock, Moment};
use crate::rules::accept_encoding::Coding;
use crate::rules::entity_tag::EntityTag;
use crate::rules::preconditions::not_modified;
use crate::rules::stale::Windows;
use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, ETAG};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::sync::OnceLock;
use std::time::Duration;

/// A complete response, with the data for decisions about its reuse. It lacks the fields that
/// RFC 9111 section 3.1 excludes.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct StoredResponse {
    last_valid: LastValidGeneration,
    body: Bytes,
    /// A hit reads the fields above and the first fields of the head, so these are neighbors in
    /// memory.
    head: Head,
    /// The weight of all but the body's bytes, computed once, so that an eviction does not read the
    /// header fields.
    head_weight: u64,
    /// The value of `ETag`, if it is a valid entity tag.
    etag: Option<HeaderValue>,
    /// The head of the 304 for this response, created at first use. Only a successful response with
    /// a validator keeps this head.
    not_modified: OnceLock<Box<Parts>>,
    use_flag: UseFlag,
    /// Present if encoded variants of the response may be made.
    encoded: Option<Box<EncodedVariants>>,
}

/// Encoded variants do not count: they are made from the head and the body.
impl PartialEq for StoredResponse {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.body == other.body
    }
}

impl StoredResponse {
    pub(crate) fn new(head: Head, body: Bytes) -> Self {
        let encoded = head.is_encodable.then(Box::<EncodedVariants>::default);
        let head_weight = head_weight(&head) + encoded.as_ref().map_or(0, |encoded| encoded.weight());
        let etag = valid_etag(&head.parts.headers);
        let last_valid = LastValidGeneration::new(&head);
        let (not_modified, use_flag) = (OnceLock::new(), UseFlag::default());
        Self { head, body, head_weight, etag, not_modified, last_valid, use_flag, encoded }
    }

    /// Creates a response from outside the process. It counts as valid at no generation, not even at its
    /// own: the history of the store may contradict the history that this process knows.
    pub(super) fn decoded(head: Head, body: Bytes) -> Self {
        Self { last_valid: LastValidGeneration::never(), ..Self::new(head, body) }
    }

    pub(crate) fn into_head(self) -> Head {
        self.head
    }

    /// Creates the response that replaces this one in the store. The two share one [`UseFlag`].
    pub(crate) fn successor(&self, head: Head, body: Bytes) -> Self {
        Self { use_flag: self.use_flag.clone(), ..Self::new(head, body) }
    }

    /// Makes the response a variant with a new use flag, which is set if `is_used`.
    pub(crate) fn set_variant(&mut self, is_used: bool) {
        self.use_flag = UseFlag::of_variant(is_used);
    }

    pub(crate) fn is_variant(&self) -> bool {
        self.use_flag.is_of_variant()
    }

    #[inline]
    pub(crate) fn note_use(&self) {
        self.use_flag.set();
    }

    pub(crate) fn clear_use(&self) {
        self.use_flag.clear();
    }

    /// Returns `true` if a request has used this variant since its use flag was last cleared.
    pub(crate) fn is_used(&self) -> bool {
        self.use_flag.is_set()
    }

    /// Sets the entity tag of a response without one.
    pub(crate) fn set_etag(&mut self, tag: &EntityTag) {
        let mut headers = self.head.parts.headers.clone();
        // If the header section is full, the response gets no tag.
        let _ = headers.try_insert(ETAG, tag.to_value());
        self.head.parts.headers = pack(&headers, HeaderName::clone, &self.head.first_field());
        self.head_weight = self.weight_without_body();
        self.etag = valid_etag(&self.head.parts.headers);
    }

    /// Sets the complete body.
    pub(crate) fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns `true` if the response was found valid when this generation was current.
    #[inline]
    pub(crate) fn was_valid_at(&self, current: Generation) -> bool {
        self.head.generation.incarnation() == current.incarnation() && self.last_valid.is_at(current)
    }

    /// Records that the response was found valid after this generation was read.
    pub(crate) fn note_valid_at(&self, read: Generation) {
        self.last_valid.set(read);
    }

    /// Returns a copy that is stale from `now` on, but keeps its stale windows. Invalidations up to
    /// `generation` no longer apply to the copy.
    pub(crate) fn as_stale(&self, generation: Generation, now: Moment) -> Self {
        let mut head = self.head.clone();
        head.fresh_until = head.fresh_until.min(now);
        head.generation = generation;
        head.dependencies.iter_mut().for_each(|dependency| dependency.since = generation);
        let stale = self.successor(head, self.body.clone());
        stale.with_encoded(self.encoded.as_ref().map(|encoded| Box::new(encoded.restarted())))
    }

    /// Sets the encoded variants of a response with the same fields and body.
    fn with_encoded(mut self, encoded: Option<Box<EncodedVariants>>) -> Self {
        self.encoded = encoded;
        self.head_weight = self.weight_without_body();
        self
    }

    /// Returns the encoded variants, if the response may have any.
    #[inline]
    pub(crate) fn encoded(&self) -> Option<&EncodedVariants> {
        self.encoded.as_deref()
    }

    /// Returns a copy with one more encoded variant. `headers` are the fields of the encoded
    /// response, and `body` its content.
    ///
    /// Returns `None` if the response has no encoded variants, or if its header section is full.
    pub(crate) fn with_variant(&self, coding: Coding, headers: HeaderMap, body: Bytes) -> Option<Self> {
        let variant = EncodedVariant::new(&self.head.parts, coding, headers, body, &self.head.first_field())?;
        let mut encoded = self.encoded.clone()?;
        encoded.insert(coding, variant);
        Some(self.clone().with_encoded(Some(encoded)))
    }

    /// Returns the head of an encoded variant to send, like [`parts_at`](Self::parts_at).
    #[inline]
    pub(crate) fn variant_parts_at(&self, variant: &EncodedVariant, now: Moment, clock: &Clock) -> Parts {
        let mut parts = variant.parts.clone();
        self.set_age(&mut parts, now, clock);
        parts
    }

    fn weight_without_body(&self) -> u64 {
        head_weight(&self.head) + self.encoded.as_ref().map_or(0, |encoded| encoded.weight())
    }

    /// Adds dependencies. The response then stays fresh only as long as all of its dependencies.
    ///
    /// Returns `false` if the dependencies make the response not storable.
    pub(crate) fn depend_on(&mut self, reads: &Dependencies) -> bool {
        // A response that a 304 has validated already has dependencies.
        let mut all = reads.clone();
        self.head.dependencies.iter().for_each(|known| all.inherit(*known));
        self.head.fresh_until = self.head.fresh_until.min(all.fresh_until());
        let is_fit = all.is_trackable_in(self.head.generation);
        self.head.dependencies = all.values.into();
        self.head_weight = self.weight_without_body();
        self.last_valid = LastValidGeneration::new(&self.head);
        is_fit
    }

    #[must_use]
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns a copy of this variant that is freshened by the 304 for another variant (RFC 9111
    /// section 4.3.4).
    ///
    /// The copy has the fields `headers`, and is fresh until `until`. It has the times and the
    /// generation of `validated`, the other variant.
    pub(crate) fn freshened(
        &self,
        headers: HeaderMap,
        validated: &Head,
        until: Moment,
        windows: Windows,
        vary: &[String],
    ) -> Self {
        let mut head = self.head.clone();
        head.parts.headers = headers;
        let client_control =
            head.rewritten.take().map(|rewritten| rewritten.client_control).unwrap_or_default();
        head.rewrite_for_clients(client_control, vary);
        head.generation = validated.generation;
        head.response_time = validated.response_time;
        head.cost = validated.cost;
        head.corrected_initial_age = validated.corrected_initial_age;
        head.fresh_until = until;
        head.windows = windows;
        self.successor(head, self.body.clone())
    }

    /// Returns a copy with other fields, for one response to a client.
    pub(crate) fn with_headers(&self, headers: HeaderMap) -> Self {
        let mut head = self.head.clone();
        head.parts.headers = headers;
        Self::new(head, self.body.clone())
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.parts.headers
    }

    /// Returns the head of a 304 (RFC 9110 section 15.4.5) with the current `Age` or `Date`.
    pub(crate) fn not_modified_at(&self, now: Moment, clock: &Clock) -> Parts {
        let mut parts = match self.not_modified.get() {
            Some(parts) => Parts::clone(parts),
            None => self.build_not_modified(),
        };
        self.set_age(&mut parts, now, clock);
        parts
    }

    /// Creates the head of the 304, and keeps it if the weight of the response includes it.
    #[cold]
    fn build_not_modified(&self) -> Parts {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers = without_spare_room(&not_modified(&self.head.parts.headers));
        if self.head.caches_304() {
            // `set` fails if another thread was faster, whose head is the same.
            let _ = self.not_modified.set(Box::new(parts.clone()));
        }
        parts
    }

    /// Returns `true` if a line of `If-None-Match` has the same bytes as the entity tag of the
    /// response.
    ///
    /// If this method returns `false`, the condition may still be false: the caller must parse the
    /// line, which may list several tags.
    #[inline]
    pub(crate) fn matches_etag(&self, sent: &HeaderValue) -> bool {
        self.etag.as_ref().is_some_and(|own| own == sent)
    }

    /// Updates `Age` to the current age if it is the first field. Otherwise updates the `Date` of a
    /// head that is rewritten for clients.
    #[inline]
    fn set_age(&self, parts: &mut Parts, now: Moment, clock: &Clock) {
        match parts.headers.iter_mut().next() {
            Some((name, age)) if *name == AGE => *age = age_value(self.current_age(now).as_secs()),
            _ => self.head.set_date(parts, now, clock),
        }
    }

    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        self.head.parts.status
    }

    pub(crate) fn weight(&self) -> u64 {
        self.head_weight + self.body.len() as u64
    }

    /// Returns `true` if the response is fresh (RFC 9111 section 4.2).
    #[inline]
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        now < self.head.fresh_until
    }

    /// Returns `true` within the stale window while revalidating (RFC 5861 section 3).
    pub(crate) fn serves_while_revalidating(&self, now: Moment) -> bool {
        self.is_in_window(self.head.windows.while_revalidate, now)
    }

    /// Returns `true` within the stale window on error (RFC 5861 section 4).
    pub(crate) fn serves_on_errors(&self, now: Moment) -> bool {
        self.is_in_window(self.head.windows.if_error, now)
    }

    fn is_in_window(&self, window: Duration, now: Moment) -> bool {
        !window.is_zero() && now < self.head.fresh_until.after(window)
    }

    /// Returns `current_age` (RFC 9111 section 4.2.3).
    #[inline]
    pub(crate) fn current_age(&self, now: Moment) -> Duration {
        self.head.corrected_initial_age + now.since(self.head.response_time)
    }

    /// Returns `true` if all nominated fields of a presented request match (RFC 9111 section 4.1).
    #[inline]
    pub(crate) fn selected_by(&self, presented: &HeaderMap, selection: &VariantSelection) -> bool {
        self.head.nominated.iter().all(|field| field.matches(presented, selection))
    }

    /// Returns the head to send. Updates the first field of the head: sets `Age` to the current age
    /// (RFC 9111 section 5.1), or `Date` to the current time.
    ///
    /// If the response is stale, a lifetime that was rewritten for clients becomes zero.
    #[inline]
    pub(crate) fn parts_at(&self, now: Moment, clock: &Clock) -> Parts {
        let mut parts = self.head.parts.clone();
        self.set_age(&mut parts, now, clock);
        parts
    }

    /// Returns the head of a response to HEAD (RFC 9110 section 9.3.2), with the length of the
    /// body.
    pub(crate) fn parts_for_head(&self, now: Moment, clock: &Clock) -> Parts {
        let mut parts = self.parts_at(now, clock);
        // RFC 9110 section 8.6: a 204 has no `Content-Length`.
        if !parts.headers.contains_key(CONTENT_LENGTH) && parts.status != StatusCode::NO_CONTENT {
            let _ = parts.headers.try_insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        parts
    }

    /// Returns a copy with separate reference counts. The bytes of the body stay shared.
    pub(crate) fn replica(&self) -> Self {
        let (mut head, first) = (self.head.clone(), self.head.first_field());
        head.parts.headers = pack(&self.head.parts.headers, unshared_name, &first);
        let encoded = self.encoded.as_ref().map(|encoded| Box::new(encoded.replica(&first)));
        self.successor(head, Bytes::from_owner(self.body.clone())).with_encoded(encoded)
    }
}

/// Returns the weight of a response without the bytes of its body.
fn head_weight(head: &Head) -> u64 {
    let rest = weight::ARC + size_of::<StoredResponse>() - size_of::<Head>() + weight::SHARED;
    head.weight() + rest as u64
}

fn valid_etag(headers: &HeaderMap) -> Option<HeaderValue> {
    EntityTag::line_of_response(headers).cloned()
}

#[cfg(test)]
mod tests {
    use super::super::headers_for_storage;
    use super::*;

    fn stored(headers: &HeaderMap) -> StoredResponse {
        let now = crate::clock::Clock::system().now();
        let headers = headers_for_storage(headers, &[]);
        let head = Head::new(StatusCode::OK, headers, Generation::new(1, 0), now);
        StoredResponse::new(head, Bytes::from_static(b"body"))
    }

    #[test]
    fn age_counts_from_the_corrected_initial_age() {
        let mut response = stored(&HeaderMap::new());
        response.head.corrected_initial_age = Duration::from_secs(5000);
        let later = response.head.response_time.after(Duration::from_secs(3));
        assert_eq!(response.parts_at(later, &Clock::system()).headers[AGE], "5003");
    }

    #[test]
    fn replica_is_equal_and_shares_the_body() {
        let response = stored(&HeaderMap::new());
        let replica = response.replica();
        assert_eq!(replica, response);
        assert_eq!(replica.body.as_ptr(), response.body.as_ptr());
    }
}
