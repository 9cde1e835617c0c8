//! Targeted cache directives (RFC 9213): `CDN-Cache-Control` and similar fields.

use super::cache_control::{MAX_DELTA_SECONDS, Qualified, ResponseDirectives, field_name};
use super::list::{elements, field_elements};
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// Returns `true` for a field that is addressed to certain caches, for which it outranks
/// `Cache-Control`.
///
/// These are targeted fields (RFC 9213) and older fields of CDNs and proxies.
pub(crate) fn is_targeted(name: &HeaderName) -> bool {
    name.as_str().ends_with("-cache-control")
        || matches!(name.as_str(), "surrogate-control" | "edge-control" | "x-accel-expires")
}

/// Removes the targeted fields for which `stays` returns `false`.
pub(crate) fn remove_targeted(headers: &mut HeaderMap, stays: impl Fn(&HeaderMap, &HeaderName) -> bool) {
    let goes = |name: &&HeaderName| is_targeted(name) && !stays(headers, name);
    let names: Vec<_> = headers.keys().filter(goes).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Returns whether any targeted field contains `no-store`, and whether any contains `private`.
///
/// `X-Accel-Expires: 0` counts as `no-store`. Only the first word of each element is read, so that
/// malformed elements restrict, too.
pub(crate) fn targeted_restrictions(headers: &HeaderMap) -> (bool, bool) {
    let (mut no_store, mut private) = (false, false);
    for name in headers.keys().filter(|name| is_targeted(name)) {
        for element in field_elements(headers, name) {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            let word: Vec<u8> = element.iter().copied().take_while(|byte| is_word(byte)).collect();
            no_store |= word.eq_ignore_ascii_case(b"no-store") || *name == "x-accel-expires" && word == b"0";
            private |= word.eq_ignore_ascii_case(b"private");
        }
    }
    (no_store, private)
}

impl ResponseDirectives {
    /// Reads the first field of `targets` that is valid and not empty. Without such a field, reads
    /// `Cache-Control` (RFC 9213 section 2.2).
    pub(crate) fn for_targets(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        let targeted = targets.iter().find_map(|target| targeted(headers, target));
        targeted.unwrap_or_else(|| Self::from_headers(headers))
    }
}

/// Parses a targeted field, which is a dictionary (RFC 9213 section 2.1, RFC 9651 section 3.2).
fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let lines: Vec<_> = headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes).collect();
    let members: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    for (name, value) in &members {
        match name.as_str() {
            "no-store" => directives.no_store = is_present(value),
            "no-cache" => directives.no_cache = qualified(value),
            "private" => directives.private = qualified(value),
            // `public` has no argument (RFC 9111 section 5.2.2.9). With an argument, it permits
            // nothing.
            "public" => directives.public = is_true(value),
            "must-revalidate" => {
                directives.must_revalidate = is_present(value);
                directives.permits.must_revalidate = is_true(value);
            }
            "proxy-revalidate" => directives.proxy_revalidate = is_present(value),
            "must-understand" => {
                directives.must_understand = is_present(value);
                directives.permits.must_understand = is_true(value);
            }
            "no-transform" => directives.no_transform = is_present(value),
            "immutable" => directives.immutable = is_present(value),
            // A lifetime that cannot be parsed counts as 0: the response is stale.
            "max-age" => directives.max_age = Some(seconds(value).unwrap_or(0)),
            "s-maxage" => {
                directives.s_maxage = Some(seconds(value).unwrap_or(0));
                directives.permits.s_maxage = seconds(value).is_some();
            }
            "stale-while-revalidate" => {
                directives.stale_while_revalidate = Some(seconds(value).unwrap_or(0));
            }
            "stale-if-error" => directives.stale_if_error = Some(seconds(value).unwrap_or(0)),
            _ => {}
        }
    }
    Some(directives)
}

/// Returns the value without its parameters, which have no meaning (RFC 9213 section 2.1).
fn bare_item(value: &ListEntry) -> Option<&BareItem> {
    match value {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    }
}

/// Returns `true` if a directive is present with any value except `?0`, the structured `false`.
fn is_present(value: &ListEntry) -> bool {
    !matches!(bare_item(value), Some(BareItem::Boolean(false)))
}

/// Returns `true` if the value of a directive is the structured `true`: no argument, or `?1`.
fn is_true(value: &ListEntry) -> bool {
    matches!(bare_item(value), Some(BareItem::Boolean(true)))
}

/// Returns the fields that a directive names. Without a valid list, the directive applies to the
/// whole response. With `?0`, the directive counts as absent.
fn qualified(value: &ListEntry) -> Qualified {
    let text = |item: &BareItem| match item {
        BareItem::String(text) => Some(text.as_str().to_owned()),
        BareItem::Token(text) => Some(text.as_str().to_owned()),
        _ => None,
    };
    let fields: Option<Vec<_>> = match value {
        _ if !is_present(value) => return Qualified::Absent,
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(text) => elements(text.as_str().as_bytes()).map(field_name).collect(),
            _ => None,
        },
        ListEntry::InnerList(list) => {
            list.items.iter().map(|item| field_name(text(&item.bare_item)?.as_bytes())).collect()
        }
    };
    fields.filter(|fields| !fields.is_empty()).map_or(Qualified::All, Qualified::Fields)
}

fn seconds(value: &ListEntry) -> Option<u32> {
    match bare_item(value)? {
        BareItem::Integer(seconds) => u64::try_from(i64::from(*seconds))
            .ok()
            .map(|seconds| u32::try_from(seconds).unwrap_or(MAX_DELTA_SECONDS).min(MAX_DELTA_SECONDS)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache_control::Permissions;
    use super::super::samples::{field, headers};
    use super::{Qualified, ResponseDirectives};
    use http::HeaderName;
    use proptest::prelude::{prop_assert, proptest};

    const TARGETS: [HeaderName; 2] =
        [HeaderName::from_static("shop-cache-control"), HeaderName::from_static("cdn-cache-control")];

    type Lines = [(&'static str, &'static str)];

    fn read(lines: &Lines) -> ResponseDirectives {
        ResponseDirectives::for_targets(&headers(lines), &TARGETS)
    }

    /// RFC 9213 section 2.2.
    #[test]
    fn first_valid_target_that_is_not_empty_counts_alone() {
        let table: [(&Lines, Option<u32>, bool); 9] = [
            (&[("cache-control", "max-age=1")], Some(1), false),
            (&[("cdn-cache-control", "max-age=2"), ("cache-control", "max-age=1, no-store")], Some(2), false),
            (&[("cdn-cache-control", "max-age=2"), ("shop-cache-control", "max-age=3")], Some(3), false),
            (&[("cdn-cache-control", "max-age=2"), ("shop-cache-control", "")], Some(2), false),
            (&[("cdn-cache-control", "Max-Age=2"), ("cache-control", "max-age=1")], Some(1), false),
            (&[("cdn-cache-control", "max-age = 2"), ("cache-control", "max-age=1")], Some(1), false),
            (&[("cdn-cache-control", "max-age=2,"), ("cache-control", "no-store")], None, true),
            (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=1")], None, true),
            (&[("other-cache-control", "max-age=9"), ("cache-control", "max-age=1")], Some(1), false),
        ];
        for (lines, max_age, no_store) in table {
            let read = read(lines);
            assert_eq!((read.max_age, read.no_store), (max_age, no_store), "{lines:?}");
        }
    }

    /// RFC 9213 section 2.1.
    #[test]
    fn members_are_directives_whose_parameters_are_ignored() {
        let all = "max-age=60;x=1, s-maxage=30, public, must-revalidate, private=?0, no-cache=(x-a \"x-b\"), \
                   unknown=(1 2), stale-if-error=5";
        let read_all = read(&[("cdn-cache-control", all)]);
        let fields = ["x-a", "x-b"].map(HeaderName::from_static).to_vec();
        let expected = ResponseDirectives {
            targeted: true,
            max_age: Some(60),
            s_maxage: Some(30),
            public: true,
            must_revalidate: true,
            permits: Permissions { must_revalidate: true, must_understand: false, s_maxage: true },
            no_cache: Qualified::Fields(fields),
            stale_if_error: Some(5),
            ..ResponseDirectives::default()
        };
        assert_eq!(read_all, expected);
        let quoted = read(&[("cdn-cache-control", "private=\"X-A, x-b\"")]);
        assert_eq!(quoted.private, expected.no_cache);
        let lines = read(&[("cdn-cache-control", "max-age=1"), ("cdn-cache-control", "no-store")]);
        assert!(lines.no_store && lines.max_age == Some(1));
    }

    /// RFC 9111 section 4.2.1: a lifetime that cannot be parsed counts as stale.
    #[test]
    fn value_of_the_wrong_type_permits_nothing() {
        for value in ["max-age=\"60\"", "max-age=6.5", "max-age=-1", "max-age", "max-age=(60)", "max-age=?0"]
        {
            assert_eq!(read(&[("cdn-cache-control", value)]).max_age, Some(0), "{value}");
        }
        for value in [
            "private=1",
            "private=x",
            "private=\"*\"",
            "private=(*)",
            "private=()",
            "private=\"\"",
            "private=(1)",
            "private=\"a b\"",
        ] {
            assert_eq!(read(&[("cdn-cache-control", value)]).private, Qualified::All, "{value}");
        }
        for value in ["public=1", "must-revalidate=1", "must-revalidate=?0", "s-maxage=x", "s-maxage"] {
            assert!(!read(&[("cdn-cache-control", value)]).shares_authorized(), "{value}");
        }
        let understood = read(&[("cdn-cache-control", "must-understand=1")]);
        assert!(understood.must_understand && !understood.permits.must_understand);
        assert!(read(&[("cdn-cache-control", "no-store=1")]).no_store);
        assert_eq!(read(&[("cdn-cache-control", "max-age=99999999999")]).max_age, Some(1 << 31));
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_bytes_parse_without_a_panic(headers in field("cdn-cache-control")) {
            let read = ResponseDirectives::for_targets(&headers, &TARGETS);
            prop_assert!(read.max_age.is_none_or(|seconds| seconds <= 1 << 31));
        }
    }
}
