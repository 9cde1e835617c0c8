//! Detects responses for a single recipient that no directive marks as such.

use crate::status::Detail;
use http::HeaderMap;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY,
};

/// Refuses a response with a nonce. Also refuses a response that only the scripts of one origin may
/// read (CORS), unless `Origin` selects the response (`by_origin`).
pub(super) fn check_single_recipient(headers: &HeaderMap, by_origin: bool) -> Result<(), Detail> {
    if !by_origin && allows_one_origin(headers) {
        return Err(Detail::Cors);
    }
    if has_nonce(headers) {
        return Err(Detail::Nonce);
    }
    Ok(())
}

/// Returns `true` if the response has a nonce, which must differ in every response (Content
/// Security Policy Level 3, section 7.1).
fn has_nonce(headers: &HeaderMap) -> bool {
    let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
    let mut lines = policies.iter().flat_map(|name| headers.get_all(name)).map(http::HeaderValue::as_bytes);
    lines.any(|line| line.windows(7).any(|text| text.eq_ignore_ascii_case(b"'nonce-")))
}

/// Returns `true` if only the scripts of one origin may read the response. Such a response should
/// name `Origin` in `Vary` (Fetch standard, "CORS protocol and HTTP caches").
fn allows_one_origin(headers: &HeaderMap) -> bool {
    headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().any(|origin| origin != "*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn single_recipients_are_recognized_by_origin_and_nonce() {
        let table: [(&str, &str, bool, Result<(), Detail>); 7] = [
            ("access-control-allow-origin", "https://shop.example", false, Err(Detail::Cors)),
            ("access-control-allow-origin", "https://shop.example", true, Ok(())),
            ("access-control-allow-origin", "*", false, Ok(())),
            ("content-security-policy", "script-src 'nonce-1'", true, Err(Detail::Nonce)),
            ("content-security-policy-report-only", "script-src 'NONCE-1'", true, Err(Detail::Nonce)),
            ("content-security-policy", "script-src 'self'", false, Ok(())),
            ("content-type", "text/html", false, Ok(())),
        ];
        for (name, value, by_origin, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
            assert_eq!(check_single_recipient(&headers, by_origin), expected, "{name}: {value}");
        }
    }
}
