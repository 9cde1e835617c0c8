//! The `Cache-Control` that clients and downstream caches receive. It may differ from the
//! `Cache-Control` that this cache obeys.

use super::cache_control::{Qualified, ResponseDirectives};
use super::control::CacheControl;
use super::targeted::remove_targeted;
use http::header::{AGE, CACHE_CONTROL, EXPIRES};
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The changes to the header fields that clients receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientCacheControl {
    /// The `max-age` for clients. It counts from the time at which the client receives the
    /// response, not from the `Date` of the origin.
    pub(crate) max_age: Option<Duration>,
    /// Whether shared caches downstream must not store the response.
    pub(crate) private: bool,
}

/// Directives that set a lifetime, or have a meaning only with a lifetime.
const LIFETIMES: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// Rewrites the header fields for clients.
///
/// A `no-store` response keeps its `Cache-Control`. `private` is not added if the response states
/// who may store it, by `public`, `private` or `s-maxage`. A lifetime of zero also gets
/// `must-revalidate`.
pub(crate) fn rewrite(headers: &mut HeaderMap, client_control: ClientCacheControl) {
    let own = ResponseDirectives::from_headers(headers);
    // A cache that obeys a targeted field ignores `private` in `Cache-Control` (RFC 9213 section
    // 2.2).
    if client_control.private && !own.public {
        remove_targeted(headers, states_who_may_store);
    }
    if own.no_store {
        return;
    }
    let mut control = CacheControl::read(headers, &CACHE_CONTROL);
    if let Some(max_age) = client_control.max_age {
        control = control.without(&LIFETIMES).max_age(max_age);
        if max_age.as_secs() == 0 {
            control = control.must_revalidate();
        }
        headers.remove(EXPIRES);
        // `max-age` counts from the receipt by the client, so `Age` must not shorten it.
        headers.remove(AGE);
    }
    let states_who_may_store = own.public || own.private == Qualified::All || own.permits.s_maxage;
    if client_control.private && !states_who_may_store {
        control = control.private();
    }
    control.write(headers, &CACHE_CONTROL);
}

/// `CDN-Cache-Control` (RFC 9213 section 3).
pub(crate) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Returns `true` if a targeted field itself states who may store the response.
fn states_who_may_store(headers: &HeaderMap, field: &HeaderName) -> bool {
    let directives = ResponseDirectives::for_targets(headers, std::slice::from_ref(field));
    directives.targeted
        && (directives.public
            || directives.no_store
            || directives.private == Qualified::All
            || directives.permits.s_maxage)
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{ClientCacheControl, rewrite};
    use http::header::{AGE, CACHE_CONTROL, EXPIRES};
    use std::time::Duration;

    fn rewritten(value: &'static str, client_control: ClientCacheControl) -> String {
        let mut headers = headers(&[("cache-control", value)]);
        rewrite(&mut headers, client_control);
        headers[CACHE_CONTROL].to_str().expect("text").to_owned()
    }

    #[test]
    fn max_age_replaces_all_other_lifetimes() {
        let minute = ClientCacheControl { max_age: Some(Duration::from_secs(60)), private: false };
        for (value, expected) in [
            ("", "max-age=60"),
            ("max-age=31536000", "max-age=60"),
            ("public, s-maxage=9, max-age=5", "public, max-age=60"),
            ("private, stale-while-revalidate=9", "private, max-age=60"),
            ("no-cache", "no-cache, max-age=60"),
            ("max-age=5, no-store", "max-age=5, no-store"),
        ] {
            assert_eq!(rewritten(value, minute), expected, "{value}");
        }
        let never = ClientCacheControl { max_age: Some(Duration::ZERO), private: false };
        assert_eq!(rewritten("public, max-age=60", never), "public, max-age=0, must-revalidate");
        let mut all =
            headers(&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("age", "7"), ("etag", "\"a\"")]);
        rewrite(&mut all, minute);
        assert!(!all.contains_key(EXPIRES) && !all.contains_key(AGE));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn private_is_added_unless_the_response_states_who_may_store_it() {
        let private = ClientCacheControl { max_age: None, private: true };
        for (value, expected) in [
            ("", "private"),
            ("max-age=60", "max-age=60, private"),
            ("no-cache, must-revalidate", "no-cache, must-revalidate, private"),
            ("private=\"x-a\"", "private"),
            ("public", "public"),
            ("s-maxage=60", "s-maxage=60"),
            ("s-maxage=bad", "s-maxage=bad, private"),
            ("private, max-age=60", "private, max-age=60"),
            ("no-store", "no-store"),
        ] {
            assert_eq!(rewritten(value, private), expected, "{value}");
        }
    }

    /// RFC 9213 section 2.2: a targeted field outranks `Cache-Control` for caches that know it.
    #[test]
    fn targeted_field_that_would_share_a_private_page_is_removed() {
        for (value, stays) in
            [("max-age=600", false), ("public, max-age=600", true), ("no-store", true), ("private", true)]
        {
            let mut headers = headers(&[("cdn-cache-control", value)]);
            rewrite(&mut headers, ClientCacheControl { max_age: None, private: true });
            assert_eq!(headers.contains_key("cdn-cache-control"), stays, "{value}");
        }
    }

    /// RFC 9213 section 2.2: caches that know a targeted field ignore `Cache-Control`, even its
    /// `no-store`.
    #[test]
    fn any_targeted_field_that_shares_a_private_page_is_removed() {
        for name in [
            "cdn-cache-control",
            "cloudflare-cdn-cache-control",
            "netlify-cdn-cache-control",
            "vercel-cdn-cache-control",
            "x-litespeed-cache-control",
            "shop-cache-control",
            "surrogate-control",
            "edge-control",
            "x-accel-expires",
        ] {
            for control in ["max-age=60", "no-store", "private", "no-cache"] {
                for (value, stays) in [("max-age=600", false), ("600", false), ("no-store", true)] {
                    let mut headers = headers(&[(name, value), ("cache-control", control)]);
                    rewrite(&mut headers, ClientCacheControl { max_age: None, private: true });
                    assert_eq!(headers.contains_key(name), stays, "{name}: {value}, {control}");
                }
            }
            let mut headers = headers(&[(name, "max-age=600"), ("cache-control", "public")]);
            rewrite(&mut headers, ClientCacheControl { max_age: None, private: true });
            assert!(headers.contains_key(name), "{name}: the handler permits sharing");
        }
    }
}
