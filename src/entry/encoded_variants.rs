//! The encoded variants of a stored response: its content in other codings, made once and sent on
//! later hits.

use super::encoding_progress::EncodingProgress;
use super::packing::{pack, unshared_name};
use super::weight;
use crate::rules::accept_encoding::Coding;
use crate::rules::entity_tag::EntityTag;
use crate::rules::update::DIGESTS;
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// A stored response in one content coding.
#[derive(Debug, Clone)]
pub(crate) struct EncodedVariant {
    /// The status and fields for clients. As in the head of the stored response, `Age` or `Date`
    /// comes first.
    pub(super) parts: Parts,
    body: Bytes,
    /// Whether ranges may be cut from the body: the variant has a strong entity tag, so a client
    /// recognizes the bytes of another encoder.
    is_ranged: bool,
}

impl EncodedVariant {
    /// Creates the variant of a response with these parts. `headers` are the fields of the encoded
    /// response. `first` is the field that a hit sets.
    ///
    /// Returns `None` if the header section is full.
    pub(super) fn new(
        plain: &Parts,
        coding: Coding,
        mut headers: HeaderMap,
        body: Bytes,
        first: &HeaderName,
    ) -> Option<Self> {
        let tag = EntityTag::of_response(&plain.headers).map(|base| base.of_variant(coding, &body));
        for name in DIGESTS.iter().chain([&ETAG]) {
            headers.remove(name);
        }
        headers.try_insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name())).ok()?;
        headers.try_insert(CONTENT_LENGTH, HeaderValue::from(body.len())).ok()?;
        if let Some(tag) = &tag {
            headers.try_insert(ETAG, tag.to_value()).ok()?;
        }
        let is_ranged = tag.is_some_and(|tag| !tag.is_weak());
        // The encoder drops the field, since it does not cut ranges.
        if let Some(value) = plain.headers.get(ACCEPT_RANGES).filter(|_| is_ranged) {
            headers.try_insert(ACCEPT_RANGES, value.clone()).ok()?;
        }
        let mut parts = plain.clone();
        parts.headers = pack(&headers, HeaderName::clone, first);
        Some(Self { parts, body, is_ranged })
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns `true` if ranges may be cut from the body.
    pub(crate) fn is_ranged(&self) -> bool {
        self.is_ranged
    }

    /// Returns the memory use in bytes.
    pub(super) fn weight(&self) -> u64 {
        let own = size_of::<Self>() + weight::section(&self.parts.headers) + weight::SHARED;
        (own + self.body.len()) as u64
    }

    /// Returns a copy with separate reference counts. The bytes of the body stay shared.
    fn replica(&self, first: &HeaderName) -> Self {
        let mut parts = self.parts.clone();
        parts.headers = pack(&self.parts.headers, unshared_name, first);
        Self { parts, body: Bytes::from_owner(self.body.clone()), is_ranged: self.is_ranged }
    }
}

/// The encoded variants of one stored response, at most one for each coding. They are parts of the
/// response, so they are replaced, evicted and dropped with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedVariants {
    by_coding: [Option<Box<EncodedVariant>>; Coding::COUNT],
    /// Shared by all copies of the response, such as those with further variants.
    progress: Arc<EncodingProgress>,
}

impl EncodedVariants {
    pub(crate) fn get(&self, coding: Coding) -> Option<&EncodedVariant> {
        self.by_coding[coding.index()].as_deref()
    }

    pub(crate) fn progress(&self) -> &Arc<EncodingProgress> {
        &self.progress
    }

    pub(super) fn insert(&mut self, coding: Coding, variant: EncodedVariant) {
        self.by_coding[coding.index()] = Some(Box::new(variant));
    }

    /// Returns the same variants with new progress, for another response with the same content.
    pub(super) fn restarted(&self) -> Self {
        Self { by_coding: self.by_coding.clone(), progress: Arc::default() }
    }

    /// Returns a copy for one thread, with separate reference counts of the variants.
    pub(super) fn replica(&self, first: &HeaderName) -> Self {
        let copy = |variant: &Option<Box<EncodedVariant>>| {
            variant.as_ref().map(|variant| Box::new(variant.replica(first)))
        };
        Self { by_coding: self.by_coding.each_ref().map(copy), progress: Arc::clone(&self.progress) }
    }

    /// Returns the memory use in bytes.
    pub(super) fn weight(&self) -> u64 {
        let own = size_of::<Self>() + weight::ARC + size_of::<EncodingProgress>();
        own as u64 + self.by_coding.iter().flatten().map(|variant| variant.weight()).sum::<u64>()
    }
}
