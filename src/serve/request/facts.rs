//! What the steps of a request need to know of it.

use crate::key::ForwardedFields;

/// What of the request is still needed once it is on its way to the service.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::serve) struct RequestFacts {
    pub(in crate::serve) head: bool,
    /// What proxies say of it.
    pub(in crate::serve) forwarded: ForwardedFields,
    pub(in crate::serve) authorization: bool,
    /// It has preconditions that the service has to evaluate (RFC 9110 section 13.1.1, 13.1.4).
    pub(in crate::serve) conditional: bool,
    /// It has validators of a copy of its own; a complete response answers it as well
    /// (RFC 9110 section 13.1.2, 13.1.3).
    pub(in crate::serve) has_copy: bool,
    /// It has the tag of the stored response itself.
    pub(in crate::serve) has_tag: bool,
    /// It asks for a part.
    pub(in crate::serve) range: bool,
    /// It has directives of its own (`Cache-Control` or `Pragma`).
    pub(in crate::serve) directives: bool,
    /// It says who its sender is, which another layer further in may never learn.
    pub(in crate::serve) identified: bool,
    /// Who that is, is part of its key.
    pub(in crate::serve) personal: bool,
    /// Only the current representation is an answer.
    pub(in crate::serve) needs_current: bool,
    /// A layer between the outermost one and this one has left something in its extensions.
    pub(in crate::serve) is_extended: bool,
}

impl RequestFacts {
    /// Returns `true` if it may be sent less than a whole response.
    pub(in crate::serve) fn selects(self) -> bool {
        self.conditional || self.has_copy || self.range
    }

    /// Returns `true` if the answer to this request is what others would get, too.
    pub(in crate::serve) fn is_collapsible(self) -> bool {
        !(self.conditional || self.authorization || self.range || self.needs_current)
    }
}
