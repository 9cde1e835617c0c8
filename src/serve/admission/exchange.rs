//! What the decision on a response is made from, and what it comes to.

use crate::clock::Moment;
use crate::entry::{Generation, Scope, StoredResponse};
use crate::key::KeyRef;
use crate::rules::client::ClientCacheControl;
use crate::serve::request::RequestFacts;
use http::{HeaderMap, request};
use std::time::{Duration, SystemTime};

/// What was known of the exchange before the response came.
pub(in crate::serve) struct Exchange<'a> {
    pub(in crate::serve) request: &'a HeaderMap,
    /// All of the request's head, where a predicate looks at it.
    pub(in crate::serve) asked: Option<&'a request::Parts>,
    pub(in crate::serve) facts: RequestFacts,
    /// Whether there is a word on cookies, so that requests with others did not come so far.
    pub(in crate::serve) cookies_declared: bool,
    /// The key of the URL.
    pub(in crate::serve) key: KeyRef<'a>,
    pub(in crate::serve) request_time: SystemTime,
    pub(in crate::serve) began: Moment,
    pub(in crate::serve) generation: Generation,
    /// What names the request's targets, and their hosts.
    pub(in crate::serve) scopes: &'a [Scope],
    pub(in crate::serve) hosts: &'a [String],
}

/// A response that is to be kept if its body is complete.
pub(in crate::serve) struct Admission {
    /// The response without its body.
    pub(in crate::serve) stored: StoredResponse,
    pub(in crate::serve) declared: Option<u64>,
    /// The most bytes of body that fit.
    pub(in crate::serve) limit: u64,
    /// How long it is kept once it is stale.
    pub(in crate::serve) retained: Duration,
    /// What the client is told, as those are that get it later.
    pub(in crate::serve) told: ClientCacheControl,
}
