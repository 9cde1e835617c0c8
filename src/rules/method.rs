//! Safe methods (RFC 9110 section 9.2.1).

use http::Method;

/// Registered safe methods (RFC 9110 section 16.1.1) without a constant in `http`: PROPFIND (RFC
/// 4918), REPORT (RFC 3253), SEARCH (RFC 5323) and QUERY. Method names are case-sensitive.
const SAFE: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// Returns `true` if the method is safe: it requests no change.
#[inline]
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe() || is_safe_extension(method)
}

// Inlining would enlarge every caller for the sake of rare methods.
#[inline(never)]
fn is_safe_extension(method: &Method) -> bool {
    SAFE.contains(&method.as_str())
}

#[cfg(test)]
mod tests {
    use super::is_safe;
    use http::Method;

    #[test]
    fn safe_methods_match_the_registry() {
        let of = |name: &str| is_safe(&Method::from_bytes(name.as_bytes()).expect("a method"));
        for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
            assert!(of(name), "{name}");
        }
        for name in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "PROPPATCH", "MKCOL", "LOCK", "propfind"] {
            assert!(!of(name), "{name}");
        }
    }
}
