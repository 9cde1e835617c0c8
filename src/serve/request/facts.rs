//! The facts about a request that later steps need.

use crate::key::ForwardedFields;

/// The facts about a request that are needed after its inspection.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::serve) struct RequestFacts {
    /// Its method is HEAD.
    pub(in crate::serve) head: bool,
    /// The forwarded fields that it has.
    pub(in crate::serve) forwarded: ForwardedFields,
    /// It has `Authorization`.
    pub(in crate::serve) authorization: bool,
    /// It has preconditions that the service must evaluate (RFC 9110 sections 13.1.1 and 13.1.4).
    pub(in crate::serve) conditional: bool,
    /// It has validators of the client's own copy. A complete response is a correct answer, too
    /// (RFC 9110 sections 13.1.2 and 13.1.3).
    pub(in crate::serve) has_copy: bool,
    /// Its `If-None-Match` is the entity tag of the stored response.
    pub(in crate::serve) matches_etag: bool,
    /// It has `Range`.
    pub(in crate::serve) range: bool,
    /// It has directives (`Cache-Control` or `Pragma`).
    pub(in crate::serve) directives: bool,
    /// It identifies the visitor. Inner layers may be unable to see that: a layer in between may
    /// remove the credential.
    pub(in crate::serve) identified: bool,
    /// The visitor's identity is part of its key.
    pub(in crate::serve) personal: bool,
    /// Only a new response of the service is an answer: neither a stored response nor one of a
    /// flight.
    pub(in crate::serve) needs_current: bool,
    /// A layer between the outermost one and this one has added an extension, which may personalize
    /// the response.
    pub(in crate::serve) has_foreign_extension: bool,
}

impl RequestFacts {
    /// Returns `true` if the response may be 304, 206 or 412 instead of the whole stored response.
    pub(in crate::serve) fn selects(self) -> bool {
        self.conditional || self.has_copy || self.range
    }

    /// Returns `true` if the response to this request also fits other requests with its key.
    pub(in crate::serve) fn is_collapsible(self) -> bool {
        !(self.conditional || self.authorization || self.range || self.needs_current)
    }
}
