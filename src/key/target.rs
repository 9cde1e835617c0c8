//! The target that the handler sees, if it differs from the target that the client requested.

use super::buf::KeyBuf;
use super::error::KeyError;
use super::query::QueryKey;
use http::Uri;
use http::uri::Authority;

const SCHEME: u8 = 1;
const AUTHORITY: u8 = 2;
const PATH: u8 = 4;
const QUERY: u8 = 8;

fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(Authority::as_str)
}

/// Returns a bit set of the parts in which two targets differ. The parts are compared byte by byte.
#[inline]
fn differing_parts(public: &Uri, seen: &Uri) -> u8 {
    if std::ptr::eq(public, seen) {
        return 0;
    }
    let flag = |differs: bool, part: u8| if differs { part } else { 0 };
    flag(public.scheme_str() != seen.scheme_str(), SCHEME)
        | flag(authority(public) != authority(seen), AUTHORITY)
        | flag(public.path() != seen.path(), PATH)
        | flag(public.query() != seen.query(), QUERY)
}

/// Returns `true` if the handler sees the target that the client requested.
pub(crate) fn is_same_target(public: &Uri, seen: &Uri) -> bool {
    differing_parts(public, seen) == 0
}

/// Writes the keyed parts of the handler's target that differ from the public target. The first
/// byte is the bit set of these parts.
///
/// # Errors
/// Fails if the changed authority has user information, because user information may be secret.
#[inline]
pub(super) fn write_seen(
    buf: &mut KeyBuf,
    mode: &QueryKey,
    public: &Uri,
    seen: &Uri,
) -> Result<(), KeyError> {
    match differing_parts(public, seen) {
        0 => {
            buf.raw(&[0]);
            Ok(())
        }
        changed => write_differing_part(buf, mode, public, seen, changed),
    }
}

fn write_differing_part(
    buf: &mut KeyBuf,
    mode: &QueryKey,
    public: &Uri,
    seen: &Uri,
    mut changed: u8,
) -> Result<(), KeyError> {
    let query = mode.normalized(seen.query());
    if changed & QUERY != 0 && mode.normalized(public.query()) == query {
        // The queries differ only in unkeyed parameters, which no handler sees.
        changed &= !QUERY;
    }
    let authority = authority(seen);
    if changed & AUTHORITY != 0 && authority.is_some_and(|authority| authority.contains('@')) {
        return Err(KeyError::Host);
    }
    buf.raw(&[changed]);
    let parts = [
        (SCHEME, seen.scheme_str()),
        (AUTHORITY, authority),
        (PATH, Some(seen.path())),
        (QUERY, query.as_deref()),
    ];
    for (_, part) in parts.into_iter().filter(|(part, _)| changed & part != 0) {
        buf.optional(part.map(str::as_bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    fn written(mode: &QueryKey, public: &Uri, seen: &Uri) -> Vec<u8> {
        let mut buf = KeyBuf::new();
        write_seen(&mut buf, mode, public, seen).expect("no user information");
        buf.as_bytes().to_vec()
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn targets_that_differ_are_written_differently(
            uris in prop::array::uniform3("((http|https)://[abA]{1,2})?/[a-c]{0,2}([?][a-c&=]{0,2})?"),
        ) {
            let [public, a, b] = uris.map(|uri| uri.parse::<Uri>().expect("a URI"));
            let same = a.scheme_str() == b.scheme_str()
                && authority(&a) == authority(&b)
                && (a.path(), a.query()) == (b.path(), b.query());
            let raw = QueryKey::raw();
            prop_assert_eq!(written(&raw, &public, &a) == written(&raw, &public, &b), same);
            prop_assert_eq!(written(&raw, &public, &a) == [0], is_same_target(&public, &a));
        }
    }

    #[test]
    fn unkeyed_parameters_do_not_change_the_key() {
        let (mode, seen) = (QueryKey::without(["utm_*"]), Uri::from_static("/b?p=1"));
        let bytes = |public| written(&mode, &Uri::from_static(public), &seen);
        assert_eq!(bytes("/b?utm_x=1&p=1"), [0]);
        assert_eq!(bytes("/a?utm_x=1&p=1"), bytes("/a?p=1"));
    }

    #[test]
    fn user_information_in_the_authority_is_an_error() {
        let (public, seen) = (Uri::from_static("/"), Uri::from_static("http://me:secret@backend/"));
        let written = write_seen(&mut KeyBuf::new(), &QueryKey::raw(), &public, &seen);
        assert_eq!(written, Err(KeyError::Host));
    }
}
