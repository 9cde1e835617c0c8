//! The standard response fields that most responses have.

use super::by_length::is_listed;

/// Returns `true` for frequent response fields of [`http::header`] that are stored unless another
/// field excludes them.
///
/// Two slower tests of names return the same result for all these fields: none of them describes an
/// exchange (see [`describes_exchange`](super::exchange_fields::describes_exchange)), and none of
/// their names allocates memory. The name must be in lower case.
#[inline]
pub(crate) fn is_frequent(name: &str) -> bool {
    is_listed! { name,
        4: "date" "etag" "vary" "link";
        6: "server";
        7: "expires" "alt-svc";
        8: "location";
        12: "content-type";
        13: "cache-control" "last-modified" "accept-ranges";
        14: "content-length";
        15: "x-frame-options" "referrer-policy";
        16: "content-encoding" "content-language" "x-xss-protection";
        19: "content-disposition";
        22: "x-content-type-options";
        23: "content-security-policy";
        25: "strict-transport-security";
        27: "access-control-allow-origin";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::exchange_fields::describes_exchange;
    use http::HeaderName;

    /// The names are also those of the list above.
    #[test]
    fn frequent_fields_are_standard_and_describe_no_exchange() {
        let source = include_str!("frequent_fields.rs");
        let list = source.split("is_listed! {").nth(1).and_then(|rest| rest.split('}').next());
        let names: Vec<_> = list.expect("the list").split('"').skip(1).step_by(2).collect();
        assert_eq!(names.len(), 23);
        for name in names {
            assert!(is_frequent(name) && !describes_exchange(name), "{name}");
            let parse = || HeaderName::from_bytes(name.as_bytes()).expect("a name");
            // Two custom names have separate buffers.
            assert_eq!(parse().as_str().as_ptr(), parse().as_str().as_ptr(), "{name}");
        }
        assert!(!is_frequent("age") && !is_frequent("set-cookie"));
    }
}
