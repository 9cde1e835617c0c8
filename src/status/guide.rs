//! The pages of the guide that explain the values of `fwd` and `detail`.

use super::{Detail, ForwardReason};

/// Returns the module of the guide that explains why a request is forwarded, or why a response is
/// not stored.
pub(crate) fn guide_page(forward: Option<ForwardReason>, detail: Option<Detail>) -> &'static str {
    use Detail::{
        Cookie, Credentials, Disabled, DryRun, Field, Forwarded, HandledByInner, Host, Invalidated,
        InvalidationQueued, KeyLength, Loop, Nonce, Private, SameName, SetCookie, Skipped, StoreFailed, Tags,
        Unkeyed, UnknownHost, VaryAny, VaryOnCredential, VaryOnIgnored, VaryOnRemoved,
    };
    match detail {
        Some(Cookie | Credentials | Field(_) | Forwarded | Host | KeyLength | UnknownHost) => {
            "keys_and_cookies"
        }
        Some(Unkeyed | VaryAny | VaryOnCredential | VaryOnIgnored | VaryOnRemoved) => "keys_and_cookies",
        Some(detail) if detail.is_identified() => "sessions",
        Some(Private | SetCookie | Nonce) => "sessions",
        Some(Disabled | DryRun | HandledByInner | SameName | Skipped) => "layers",
        Some(Invalidated | InvalidationQueued | Tags) => "invalidation",
        Some(StoreFailed) => "stores",
        Some(Loop) => "values",
        Some(_) => "lifetimes",
        None if matches!(forward, Some(ForwardReason::Stale)) => "lifetimes",
        None => "start",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::all;
    use std::path::Path;

    #[test]
    fn every_reason_has_a_page_of_the_guide() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
        let forwards = [None, Some(ForwardReason::Method), Some(ForwardReason::Stale)];
        for page in all()
            .into_iter()
            .map(|detail| guide_page(None, Some(detail)))
            .chain(forwards.map(|forward| guide_page(forward, None)))
        {
            assert!(docs.join(page).with_extension("md").is_file(), "{page}");
        }
    }
}
