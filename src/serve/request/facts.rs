//! The facts about a request that later steps need.

use crate::key::ForwardedFields;

/// The facts about a request that are needed after its inspection.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::serve) struct RequestFacts {
    /// The method is HEAD.
    pub(in crate::serve) head: bool,
    /// The forwarded fields of the request, e.g. `X-Forwarded-Host`.
    pub(in crate::serve) forwarded: ForwardedFields,
    /// The request has `Authorization`.
    pub(in crate::serve) authorization: bool,
    /// The request has `If-Match`, `If-Unmodified-Since` or `If-Range`, which the service evaluates
    /// on a fetch (RFC 9110 sections 13.1.1, 13.1.4 and 13.1.5).
    pub(in crate::serve) conditional: bool,
    /// The request has `If-None-Match` or `If-Modified-Since`: the client has a copy of its own
    /// (RFC 9110 sections 13.1.2 and 13.1.3).
    pub(in crate::serve) has_copy: bool,
    /// The `If-None-Match` of the request is the entity tag of the stored response.
    pub(in crate::serve) matches_etag: bool,
    /// The request has `Range`.
    pub(in crate::serve) range: bool,
    /// The request has directives (`Cache-Control` or `Pragma`).
    pub(in crate::serve) directives: bool,
    /// The request identifies the visitor.
    pub(in crate::serve) identified: bool,
    /// The visitor's identity is part of the key.
    pub(in crate::serve) personal: bool,
    /// An outer layer or a dry run requires a new response from the service.
    pub(in crate::serve) needs_current: bool,
    /// A layer inside the outermost layer of this crate has added an unknown extension, which may
    /// personalize the response. Always `false` if functions of the policy change background
    /// requests, because the functions may remove the extension.
    pub(in crate::serve) has_foreign_extension: bool,
}

impl RequestFacts {
    /// Returns `true` if the request may get something else than the whole stored response, e.g. a
    /// 304 or a 206.
    pub(in crate::serve) fn selects(self) -> bool {
        self.conditional || self.has_copy || self.range
    }

    /// Returns `true` if the request may share the response of a fetch with other requests of the
    /// same key. A request with `Authorization`, a range or a precondition of the service
    /// (`conditional`) may not, nor one that requires a new response.
    pub(in crate::serve) fn is_collapsible(self) -> bool {
        !(self.conditional || self.authorization || self.range || self.needs_current)
    }
}
