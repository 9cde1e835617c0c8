//! The input and the result of an admission.

use crate::clock::Moment;
use crate::entry::{Generation, StoredResponse};
use crate::key::KeyRef;
use crate::marks::LazyTargetNames;
use crate::rules::client::ClientCacheControl;
use crate::serve::request::RequestFacts;
use http::{HeaderMap, request};
use std::time::{Duration, SystemTime};

/// The request side of an exchange, known before the response arrives.
pub(in crate::serve) struct Exchange<'a> {
    pub(in crate::serve) request: &'a HeaderMap,
    /// The whole request head, if a predicate needs it.
    pub(in crate::serve) request_head: Option<&'a request::Parts>,
    pub(in crate::serve) facts: RequestFacts,
    /// `true` if this layer or an outer one declares cookies.
    pub(in crate::serve) cookies_declared: bool,
    /// The key of the URL, without a variant.
    pub(in crate::serve) key: KeyRef<'a>,
    pub(in crate::serve) request_time: SystemTime,
    pub(in crate::serve) began: Moment,
    pub(in crate::serve) generation: Generation,
    /// The hosts and scopes that name the target of the request.
    pub(in crate::serve) target: &'a LazyTargetNames,
}

/// A response to store once its body is complete.
pub(in crate::serve) struct Admission {
    /// The response without its body.
    pub(in crate::serve) stored: StoredResponse,
    /// The `Content-Length` of the response, if it has one.
    pub(in crate::serve) declared: Option<u64>,
    /// The maximum number of body bytes to record.
    pub(in crate::serve) limit: u64,
    /// How long the response is retained once it is stale.
    pub(in crate::serve) retention: Duration,
    /// The `Cache-Control` rewrite for clients. The first client gets the same `Cache-Control` as
    /// later hits.
    pub(in crate::serve) client_control: ClientCacheControl,
}
