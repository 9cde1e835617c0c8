//! What a background request carries of the request that led to it.

use super::state::RequestState;
use crate::entry::{Entry, EntryKind, StoredResponse};
use crate::policy::Policy;
use crate::policy::request_fields::{HeaderRole, meaning};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Which fields a background request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Carries {
    /// Those that are keyed, and those that say what its client is.
    Known,
    /// Those that are keyed.
    Keyed,
}

/// Returns `true` if a field identifies the visitor, or is about this request alone.
pub(in crate::serve) fn is_personal(policy: &Policy, name: &HeaderName) -> bool {
    let meaning = meaning(name.as_str());
    let is_credential = match meaning {
        HeaderRole::NamedLikeCredential => !policy.key.covers(name),
        meaning => meaning.identifies(),
    };
    let identifies = is_credential || policy.credentials.contains(name);
    identifies || meaning.selects() || matches!(meaning, HeaderRole::Directives)
}

fn is_carried(policy: &Policy, name: &HeaderName, nominated: &HashSet<HeaderName>, carries: Carries) -> bool {
    let is_keyed = policy.is_keyed(name) || nominated.contains(name);
    let is_known = || {
        *name == USER_AGENT
            || *name == "accept"
            || name.as_str().starts_with("accept-")
            || policy.refresh_headers.contains(name)
            || (policy.strips_unkeyed && policy.allowed_unkeyed.contains(name))
    };
    is_keyed || (carries == Carries::Known && is_known())
}

/// Returns the lines of a request that its key has nothing of, by their names alone: functions of the user may
/// compute parts of the key from them, which are not called for it.
pub(in crate::serve) fn unkeyed_fields<'a>(
    policy: &'a Policy,
    request: &'a HeaderMap,
    nominated: &'a HashSet<HeaderName>,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    request
        .iter()
        .filter(|(name, _)| is_personal(policy, name) || !is_carried(policy, name, nominated, Carries::Keyed))
}

/// Removes from a request what a background request does not carry. Returns `false` if no request can be made of
/// what is left that has the same key. Calls functions of the user.
pub(in crate::serve) fn anonymize(
    policy: &Policy,
    request: &mut request::Parts,
    key_parts: &[Option<String>],
    nominated: &HashSet<HeaderName>,
    carries: Carries,
) -> bool {
    request.method = Method::GET;
    let whole = request.headers.clone();
    let mut removed = Vec::new();
    for name in whole.keys() {
        let is_personal = is_personal(policy, name);
        if is_personal || !is_carried(policy, name, nominated, carries) {
            request.headers.remove(name);
        }
        if !is_personal && !request.headers.contains_key(name) {
            removed.push(name);
        }
    }
    let bare = request.headers.clone();
    let mut has_key = |fields: &[&HeaderName]| {
        request.headers.clone_from(&bare);
        for (name, value) in
            fields.iter().flat_map(|name| whole.get_all(*name).iter().map(|value| (*name, value)))
        {
            let _ = request.headers.try_append(name, value.clone());
        }
        // Of a request without a field, a function may not expect anything.
        let parts = AssertUnwindSafe(|| policy.key.parts((&*request).into()));
        catch_unwind(parts).is_ok_and(|parts| parts == key_parts)
    };
    restore(&removed, &mut has_key)
}

/// How often the parts of a key are computed to find out which fields they are computed from.
const TRIES: usize = 64;

/// Finds, among the fields that were removed, those without which a request has another key; it has them when `has_key`
/// was called last. Returns `false` if they are too many to be found, or if others are needed besides.
fn restore<'a>(removed: &[&'a HeaderName], has_key: &mut impl FnMut(&[&HeaderName]) -> bool) -> bool {
    let (mut needed, mut rest): (Vec<&'a HeaderName>, _) = (Vec::new(), removed);
    let mut tries = TRIES;
    let mut is_enough = |needed: &[&HeaderName], more: &[&HeaderName]| {
        tries = tries.checked_sub(1)?;
        Some(has_key(&[needed, more].concat()))
    };
    loop {
        match is_enough(&needed, &[]) {
            Some(true) => return true,
            Some(false) if !rest.is_empty() => {}
            _ => return false,
        }
        if is_enough(&needed, rest) != Some(true) {
            return false;
        }
        // The last field of the shortest beginning that is enough is one of those needed.
        let (mut too_short, mut enough) = (0, rest.len());
        while enough - too_short > 1 {
            let middle = too_short.midpoint(enough);
            match is_enough(&needed, &rest[..middle]) {
                Some(true) => enough = middle,
                Some(false) => too_short = middle,
                None => return false,
            }
        }
        needed.push(rest[enough - 1]);
        rest = &rest[..enough - 1];
    }
}

/// Returns the fields that select the variant of a request.
pub(in crate::serve) async fn nominated_fields(
    state: &RequestState,
    stored: Option<&StoredResponse>,
) -> HashSet<HeaderName> {
    let mut names = stored.map(nominated).unwrap_or_default();
    let cache = &state.config.cache;
    if let Ok(Some(Entry(EntryKind::Index(index)))) =
        cache.within_limit(cache.store().get(state.key.as_ref())).await
    {
        names.extend(index.fields().iter().cloned());
    }
    names
}

/// Returns the fields that a stored response was selected by.
pub(in crate::serve) fn nominated(stored: &StoredResponse) -> HashSet<HeaderName> {
    stored.head().nominated.iter().map(|field| field.name().clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn the_fields_that_a_key_needs_are_found_or_too_many(needed in prop::collection::btree_set(0_usize..99, 0..12)) {
            let names: Vec<_> = (0..99).map(|at| HeaderName::try_from(format!("x-{at}")).expect("a name")).collect();
            let removed: Vec<_> = names.iter().collect();
            let (mut tries, mut last) = (0, Vec::new());
            let found = restore(&removed, &mut |fields| {
                tries += 1;
                last = fields.iter().map(|name| (*name).clone()).collect();
                needed.iter().all(|at| last.contains(&names[*at]))
            });
            prop_assert!(tries <= TRIES);
            prop_assert!(found || needed.len() > 6);
            if found {
                last.sort_by_key(|name| names.iter().position(|other| other == name));
                prop_assert_eq!(last, needed.iter().map(|at| names[*at].clone()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_key_that_needs_what_is_not_there_has_no_request() {
        let name = HeaderName::from_static("x-a");
        assert!(!restore(&[&name], &mut |_| false));
        assert!(!restore(&[], &mut |_| false));
    }
}
