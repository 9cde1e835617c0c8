//! Safe methods (RFC 9110 section 9.2.1).

use http::Method;

/// Safe methods of the registry (RFC 9110 section 16.1.1) that `http` does not know: PROPFIND (RFC 4918), REPORT
/// (RFC 3253), SEARCH (RFC 5323) and QUERY. Names of methods are case-sensitive.
const SAFE: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// Returns `true` if a method asks for no change.
#[inline]
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe() || is_safe_extension(method)
}

// Apart, so that it takes no room in the callers.
#[inline(never)]
fn is_safe_extension(method: &Method) -> bool {
    SAFE.contains(&method.as_str())
}

#[cfg(test)]
mod tests {
    use super::is_safe;
    use http::Method;

    #[test]
    fn safe_methods_are_those_that_the_registry_says_are() {
        let of = |name: &str| is_safe(&Method::from_bytes(name.as_bytes()).expect("a method"));
        for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
            assert!(of(name), "{name}");
        }
        for name in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "PROPPATCH", "MKCOL", "LOCK", "propfind"] {
            assert!(!of(name), "{name}");
        }
    }
}
