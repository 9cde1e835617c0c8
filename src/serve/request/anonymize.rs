//! The fields of a request that a background request carries.
//!
//! A background request is made from a visitor's request, but its response is for later visitors.
//! So it carries no credentials, and only the fields that [`CarriedFields`] lists.

use super::state::RequestState;
use crate::entry::{Entry, EntryKind, StoredResponse};
use crate::policy::Policy;
use crate::policy::request_fields::{HeaderRole, role_of};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The fields that a background request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum CarriedFields {
    /// The keyed fields, `User-Agent`, `Accept`, `Accept-*`, and the policy's `refresh_headers`. If
    /// the policy strips unkeyed fields, also the unkeyed fields that it allows.
    Harmless,
    /// The keyed fields only.
    KeyedOnly,
}

/// Returns `true` if a field identifies the visitor, or concerns only this request (a range, a
/// precondition, a directive).
pub(in crate::serve) fn is_personal(policy: &Policy, name: &HeaderName) -> bool {
    let role = role_of(name.as_str());
    let is_credential = match role {
        HeaderRole::NamedLikeCredential => !policy.key.covers(name),
        role => role.identifies(),
    };
    let identifies = is_credential || policy.credentials.contains(name);
    identifies || role.selects() || matches!(role, HeaderRole::Directives)
}

/// Returns `true` if a background request carries a field. The caller excludes personal fields.
fn is_carried(
    policy: &Policy,
    name: &HeaderName,
    nominated: &HashSet<HeaderName>,
    carries: CarriedFields,
) -> bool {
    let is_keyed = policy.is_keyed(name) || nominated.contains(name);
    let is_known = || {
        *name == USER_AGENT
            || *name == "accept"
            || name.as_str().starts_with("accept-")
            || policy.refresh_headers.contains(name)
            || (policy.strips_unkeyed && policy.allowed_unkeyed.contains(name))
    };
    is_keyed || (carries == CarriedFields::Harmless && is_known())
}

/// Returns the field lines of a request that are personal or unkeyed. A background request with
/// [`CarriedFields::KeyedOnly`] does not carry these lines.
///
/// The result also includes unkeyed fields that [`anonymize`] restores because a function of the
/// user computes a key part from them.
pub(in crate::serve) fn unkeyed_fields<'a>(
    policy: &'a Policy,
    request: &'a HeaderMap,
    nominated: &'a HashSet<HeaderName>,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    request.iter().filter(|(name, _)| {
        is_personal(policy, name) || !is_carried(policy, name, nominated, CarriedFields::KeyedOnly)
    })
}

/// Turns a request into a background GET. Removes the fields that a background request does not
/// carry. Then restores the removed fields from which functions of the user compute key parts,
/// except personal ones.
///
/// Returns `false` if it finds no set of fields that yields `key_parts`.
pub(in crate::serve) fn anonymize(
    policy: &Policy,
    request: &mut request::Parts,
    key_parts: &[Option<String>],
    nominated: &HashSet<HeaderName>,
    carries: CarriedFields,
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
        // A user's function may panic if a field is missing.
        let parts = AssertUnwindSafe(|| policy.key.parts((&*request).into()));
        catch_unwind(parts).is_ok_and(|parts| parts == key_parts)
    };
    restore(&removed, &mut has_key)
}

/// The most times that [`restore`] calls `has_key`, which computes the key parts.
const MAX_KEY_COMPUTATIONS: usize = 64;

/// Restores the removed fields that the request needs to have its key. `has_key` sets a list of
/// fields on the request, and returns `true` if the request has its key with these fields.
///
/// Returns `false` if the search takes too many calls, or if the removed fields do not suffice.
fn restore<'a>(removed: &[&'a HeaderName], has_key: &mut impl FnMut(&[&HeaderName]) -> bool) -> bool {
    let (mut needed, mut rest): (Vec<&'a HeaderName>, _) = (Vec::new(), removed);
    let mut tries = MAX_KEY_COMPUTATIONS;
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
        // Finds the shortest sufficient prefix of `rest` by bisection. Its last field is needed.
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

/// Returns the fields that select the variant of a request (RFC 9111 section 4.1): those that the
/// stored response nominates by its `Vary`, and those in the key's index of variants.
pub(in crate::serve) async fn nominated_fields(
    state: &RequestState,
    stored: Option<&StoredResponse>,
) -> HashSet<HeaderName> {
    let mut names = stored.map(nominated).unwrap_or_default();
    let cache = &state.config.cache;
    if let Ok(Some(Entry(EntryKind::Index(index)))) =
        cache.await_lookup(cache.store().get(state.key.as_ref())).await
    {
        names.extend(index.fields().iter().cloned());
    }
    names
}

/// Returns the nominated fields of a stored response.
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
        fn fields_that_a_key_needs_are_found_unless_too_many(needed in prop::collection::btree_set(0_usize..99, 0..12)) {
            let names: Vec<_> = (0..99).map(|at| HeaderName::try_from(format!("x-{at}")).expect("a name")).collect();
            let removed: Vec<_> = names.iter().collect();
            let (mut tries, mut last) = (0, Vec::new());
            let found = restore(&removed, &mut |fields| {
                tries += 1;
                last = fields.iter().map(|name| (*name).clone()).collect();
                needed.iter().all(|at| last.contains(&names[*at]))
            });
            prop_assert!(tries <= MAX_KEY_COMPUTATIONS);
            prop_assert!(found || needed.len() > 6);
            if found {
                last.sort_by_key(|name| names.iter().position(|other| other == name));
                prop_assert_eq!(last, needed.iter().map(|at| names[*at].clone()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn restore_fails_if_the_removed_fields_do_not_suffice() {
        let name = HeaderName::from_static("x-a");
        assert!(!restore(&[&name], &mut |_| false));
        assert!(!restore(&[], &mut |_| false));
    }
}
