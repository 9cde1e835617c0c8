//! The tags of a response, and all else that names it in an invalidation.

use crate::entry::{ExtendOnHost, Scope};
use crate::policy::{CacheHints, Policy};
use crate::status::Detail;
use http::HeaderMap;

/// How many tags a response may have, and how many bytes each.
const MOST_TAGS: usize = 256;
const LONGEST_TAG: usize = 1024;

/// Returns the tags of a response. What has more than can be held, or ones that can't be read, is not
/// stored: what can't be invalidated must not be kept.
pub(in crate::serve) fn tags(
    policy: &Policy,
    headers: &HeaderMap,
    hints: Option<&CacheHints>,
) -> Result<Vec<String>, Detail> {
    let mut tags = policy.tags_read.read(headers).map_err(|_| Detail::Tags)?;
    tags.extend(hints.into_iter().flat_map(|hints| hints.tags.iter().cloned()));
    tags.sort_unstable();
    tags.dedup();
    let fit = tags.len() <= MOST_TAGS && tags.iter().all(|tag| tag.len() <= LONGEST_TAG);
    if fit { Ok(tags) } else { Err(Detail::Tags) }
}

/// Returns all that may name a response in an invalidation.
pub(in crate::serve) fn scopes_of(target: &[Scope], hosts: &[String], tags: &[String]) -> Box<[Scope]> {
    if tags.is_empty() {
        return target.into();
    }
    let mut scopes: Vec<_> = tags.iter().map(|tag| Scope::tag(tag)).collect();
    scopes.extend_on_hosts(hosts);
    scopes.extend(target);
    scopes.into()
}
