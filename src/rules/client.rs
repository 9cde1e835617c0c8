//! What clients and caches downstream are told, where that is something else than this cache goes by.

use super::cache_control::{Qualified, ResponseDirectives};
use super::control::CacheControl;
use super::targeted::remove_targeted;
use http::header::{AGE, CACHE_CONTROL, EXPIRES};
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientCacheControl {
    /// How long clients may use the response, from when they get it.
    pub(crate) max_age: Option<Duration>,
    /// No other shared cache may store it.
    pub(crate) private: bool,
}

/// What makes a lifetime, or has a use only beside one.
const LIFETIMES: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// Rewrites a header section. What nobody may store stays so, and so does what says itself who may.
pub(crate) fn tell(headers: &mut HeaderMap, told: ClientCacheControl) {
    let own = ResponseDirectives::from_headers(headers);
    // They would outrank what is said here (RFC 9213 section 2.2).
    if told.private && !own.public {
        remove_targeted(headers, says_who_may);
    }
    if own.no_store {
        return;
    }
    let mut control = CacheControl::read(headers, &CACHE_CONTROL);
    if let Some(max_age) = told.max_age {
        control = control.without(&LIFETIMES).max_age(max_age);
        if max_age.as_secs() == 0 {
            control = control.must_revalidate();
        }
        headers.remove(EXPIRES);
        // It would count against a lifetime that begins now.
        headers.remove(AGE);
    }
    let says_itself = own.public || own.private == Qualified::All || own.permits.s_maxage;
    if told.private && !says_itself {
        control = control.private();
    }
    control.write(headers, &CACHE_CONTROL);
}

/// RFC 9213 section 3.1.
pub(crate) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Returns `true` if a field for some caches only says itself who may store the response.
fn says_who_may(headers: &HeaderMap, field: &HeaderName) -> bool {
    let said = ResponseDirectives::for_targets(headers, std::slice::from_ref(field));
    said.targeted && (said.public || said.no_store || said.private == Qualified::All || said.permits.s_maxage)
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{ClientCacheControl, tell};
    use http::header::{AGE, CACHE_CONTROL, EXPIRES};
    use std::time::Duration;

    fn told(value: &'static str, told: ClientCacheControl) -> String {
        let mut headers = headers(&[("cache-control", value)]);
        tell(&mut headers, told);
        headers[CACHE_CONTROL].to_str().expect("text").to_owned()
    }

    #[test]
    fn a_lifetime_takes_the_place_of_all_others() {
        let minute = ClientCacheControl { max_age: Some(Duration::from_secs(60)), private: false };
        for (value, expected) in [
            ("", "max-age=60"),
            ("max-age=31536000", "max-age=60"),
            ("public, s-maxage=9, max-age=5", "public, max-age=60"),
            ("private, stale-while-revalidate=9", "private, max-age=60"),
            ("no-cache", "no-cache, max-age=60"),
            ("max-age=5, no-store", "max-age=5, no-store"),
        ] {
            assert_eq!(told(value, minute), expected, "{value}");
        }
        let never = ClientCacheControl { max_age: Some(Duration::ZERO), private: false };
        assert_eq!(told("public, max-age=60", never), "public, max-age=0, must-revalidate");
        let mut all =
            headers(&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("age", "7"), ("etag", "\"a\"")]);
        tell(&mut all, minute);
        assert!(!all.contains_key(EXPIRES) && !all.contains_key(AGE));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn private_is_added_where_nothing_says_who_may_store_it() {
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
            assert_eq!(told(value, private), expected, "{value}");
        }
    }

    /// RFC 9213 section 2.2: it outranks `Cache-Control` for caches that know it.
    #[test]
    fn a_targeted_field_that_would_share_what_is_private_goes() {
        for (value, stays) in
            [("max-age=600", false), ("public, max-age=600", true), ("no-store", true), ("private", true)]
        {
            let mut headers = headers(&[("cdn-cache-control", value)]);
            tell(&mut headers, ClientCacheControl { max_age: None, private: true });
            assert_eq!(headers.contains_key("cdn-cache-control"), stays, "{value}");
        }
    }

    /// Whatever the field is called, and though nobody else may store the page.
    #[test]
    fn every_field_for_some_caches_goes_that_would_share_what_is_private() {
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
                    tell(&mut headers, ClientCacheControl { max_age: None, private: true });
                    assert_eq!(headers.contains_key(name), stays, "{name}: {value}, {control}");
                }
            }
            let mut headers = headers(&[(name, "max-age=600"), ("cache-control", "public")]);
            tell(&mut headers, ClientCacheControl { max_age: None, private: true });
            assert!(headers.contains_key(name), "{name}: its handler says that all may have it");
        }
    }
}
