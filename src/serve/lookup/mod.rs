//! The look-up: finds a stored response that may answer a request now.

mod coding;
mod not_reusable;
mod outcome;
mod reuse;
mod stale;

use super::request::RequestState;
use crate::entry::{Entry, EntryKind, StoredResponse};
use crate::key::{KeyBuf, KeyRef};
use crate::status::{Detail, ForwardReason};
pub(super) use coding::{other_variant, requires_coding, selects};
use http::HeaderMap;
pub(super) use not_reusable::NotReusable;
pub(super) use outcome::Lookup;
pub(super) use reuse::{Reuse, StoreUnavailable, retention};
pub(super) use stale::{is_stale_early, may_refresh};
use std::sync::Arc;

/// Looks up a request. Over a local store, the future is ready at its first poll.
pub(super) async fn lookup(reuse: Reuse<'_>, key: KeyRef<'_>) -> Lookup {
    let index = match reuse.find(key).await {
        Ok((Some(Entry(EntryKind::Response(response))), read)) => {
            return Reuse { read, ..reuse }.evaluate(response, (key, None)).await;
        }
        Ok((Some(Entry(EntryKind::Index(index))), _)) => index,
        Ok(_) => return Lookup::miss(ForwardReason::UriMiss, None),
        Err(_) => return Lookup::Bypass(Detail::StoreFailed),
    };
    let mut buf = KeyBuf::new();
    reuse.config.selection().write_key(&mut buf, key, index.fields(), reuse.request);
    if buf.is_too_long() {
        return Lookup::Bypass(Detail::KeyLength);
    }
    let variant = buf.key();
    match reuse.find(variant).await {
        Ok((Some(Entry(EntryKind::Response(response))), read)) => {
            if !reuse.is_read_only {
                response.note_use();
            }
            Reuse { read, ..reuse }.evaluate(response, (variant, Some(variant))).await
        }
        Ok(_) => {
            let variant = Some(variant.to_key());
            Lookup::miss(ForwardReason::VaryMiss, variant)
        }
        Err(_) => Lookup::Bypass(Detail::StoreFailed),
    }
}

/// Looks up a request at the current time, e.g. after a wait.
pub(super) async fn look_up(state: &RequestState, request: &HeaderMap) -> Lookup {
    let (config, now) = (&*state.config, state.config.cache.clock().now());
    lookup(
        Reuse { config, request, facts: state.facts, now, read: None, is_read_only: false },
        state.key.as_ref(),
    )
    .await
}

/// Returns the stored response if it answers the request, the store answers without a wait, and the
/// entry is no index of variants. Otherwise returns `None`: the caller then calls [`lookup`].
#[inline]
pub(super) fn plain_hit(reuse: Reuse<'_>, key: KeyRef<'_>) -> Option<Arc<StoredResponse>> {
    let Ok(Ok(Some(Entry(EntryKind::Response(response))))) = reuse.config.cache.store().get(key).now() else {
        return None;
    };
    let usable = reuse.mismatch(&response).is_none();
    (usable && reuse.config.cache.is_valid_now(&response)).then_some(response)
}
