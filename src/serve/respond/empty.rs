//! Responses that a layer creates itself, without a body.

use super::outgoing_head::OutgoingHead;
use crate::body::ResponseBody;
use crate::key::RequestHead;
use crate::serve::config::LayerConfig;
use crate::serve::request::RequestFacts;
use crate::status::{CacheStatus, Detail};
use http::{Response, StatusCode, Version};
use std::sync::Arc;

/// Creates a response without a body, and applies the outgoing head to it.
pub(in crate::serve) fn empty<B>(
    status: StatusCode,
    version: Version,
    outgoing: &OutgoingHead,
) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    *response.version_mut() = version;
    outgoing.apply(&mut response);
    response
}

/// Returns the outgoing head of the 508 response to a loop.
pub(in crate::serve) fn loop_head(
    config: &LayerConfig,
    key: Option<Arc<str>>,
    facts: RequestFacts,
    request: RequestHead<'_>,
) -> OutgoingHead {
    let status = CacheStatus::refused(Detail::Loop);
    let mut outgoing = OutgoingHead::new(config, request, status, facts);
    outgoing.set_key(key);
    outgoing
}
