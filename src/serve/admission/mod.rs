//! The decision whether a response may be stored (RFC 9111 section 3), and for how long.

mod candidate;
mod freshness;
mod recipient;

use super::config::LayerConfig;
use super::inspect::RequestFacts;
use crate::clock::Moment;
use crate::entry::{ExtendOnHost, Generation, Head, Scope, StoredResponse};
use crate::key::KeyRef;
use crate::policy::{CacheHints, Sharing};
use crate::rules::client::ClientCacheControl;
use crate::status::Detail;
use candidate::Candidate;
use http::{HeaderMap, request, response};
use http_body::Body;
use std::time::{Duration, SystemTime};

/// What was known of the exchange before the response came.
pub(super) struct Exchange<'a> {
    pub(super) request: &'a HeaderMap,
    /// All of the request's head, where a predicate looks at it.
    pub(super) asked: Option<&'a request::Parts>,
    pub(super) facts: RequestFacts,
    /// Whether there is a word on cookies, so that requests with others did not come so far.
    pub(super) cookies_declared: bool,
    /// The key of the URL.
    pub(super) key: KeyRef<'a>,
    pub(super) request_time: SystemTime,
    pub(super) began: Moment,
    pub(super) generation: Generation,
    /// What names the request's targets, and their hosts.
    pub(super) scopes: &'a [Scope],
    pub(super) hosts: &'a [String],
}

/// A response that is to be kept if its body is complete.
pub(super) struct Admission {
    /// The response without its body.
    pub(super) stored: StoredResponse,
    pub(super) declared: Option<u64>,
    /// The most bytes of body that fit.
    pub(super) limit: u64,
    /// How long it is kept once it is stale.
    pub(super) retained: Duration,
    /// What the client is told, as those are that get it later.
    pub(super) told: ClientCacheControl,
}

/// So long the origin can be asked whether a stale response still stands, if it is not evicted before.
const RETAINED: Duration = Duration::from_secs(24 * 3600);

/// So long there may be clients that want what is stale rather than to wait.
const RETAINED_FOR_MAX_STALE: Duration = Duration::from_secs(600);

/// How many tags a response may have, and how many bytes each.
const MOST_TAGS: usize = 256;
const LONGEST_TAG: usize = 1024;

impl LayerConfig {
    /// Decides on the head of a response. Fails with the reason why it is not stored.
    pub(super) fn admit(
        &self,
        exchange: &Exchange<'_>,
        response: &response::Parts,
    ) -> Result<Admission, Detail> {
        Candidate::new(self, exchange, response).admit()
    }

    /// Returns the tags of a response. What has more than can be held, or ones that can't be read, is not
    /// stored: what can't be invalidated must not be kept.
    pub(super) fn tags(
        &self,
        headers: &HeaderMap,
        hints: Option<&CacheHints>,
    ) -> Result<Vec<String>, Detail> {
        let mut tags = self.policy.tags_read.read(headers).map_err(|_| Detail::Tags)?;
        tags.extend(hints.into_iter().flat_map(|hints| hints.tags.iter().cloned()));
        tags.sort_unstable();
        tags.dedup();
        let fit = tags.len() <= MOST_TAGS && tags.iter().all(|tag| tag.len() <= LONGEST_TAG);
        if fit { Ok(tags) } else { Err(Detail::Tags) }
    }

    /// Returns how long a response is kept once it is stale.
    pub(super) fn retained(&self, head: &Head) -> Duration {
        let asked_about = match self.policy.sharing {
            _ if head.is_revalidatable() => RETAINED,
            Sharing::Rfc9111 => RETAINED_FOR_MAX_STALE,
            Sharing::App => Duration::ZERO,
        };
        asked_about.max(head.windows.longest())
    }

    /// Returns what clients are to be told of a response that is stored.
    pub(super) fn told(&self, hints: Option<&CacheHints>, facts: RequestFacts) -> ClientCacheControl {
        let hinted = hints.and_then(|hints| hints.client_max_age);
        ClientCacheControl { max_age: hinted.or(self.policy.client_max_age), private: facts.personal }
    }
}

/// Returns all that may name a response in an invalidation.
pub(super) fn scopes_of(target: &[Scope], hosts: &[String], tags: &[String]) -> Box<[Scope]> {
    if tags.is_empty() {
        return target.into();
    }
    let mut scopes: Vec<_> = tags.iter().map(|tag| Scope::tag(tag)).collect();
    scopes.extend_on_hosts(hosts);
    scopes.extend(target);
    scopes.into()
}

/// Tells whether a body is no more than may be kept, and as long as is declared, as far as it says.
pub(super) fn fits<B: Body>(body: &B, keep: &Admission) -> Result<(), Detail> {
    let said = body.size_hint();
    if said.lower() > keep.limit {
        return Err(Detail::TooLarge);
    }
    match said.exact().zip(keep.declared) {
        Some((said, declared)) if said != declared => Err(Detail::ContentLength),
        _ => Ok(()),
    }
}
