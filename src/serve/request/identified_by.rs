//! The names of the fields and cookies that make a request bypass the cache, for diagnosis.

use crate::key::RequestHead;
use crate::marks::OuterContext;
use crate::policy::{Cookies, Policy};
use crate::status::Detail;

/// Returns the names of the cookies and fields that identify the visitor, if they are the reason for
/// the bypass.
pub(in crate::serve) fn identified_by(policy: &Policy, request: RequestHead<'_>, why: Detail) -> Vec<String> {
    match why {
        Detail::Cookie => {
            let outer = request.extensions.get::<OuterContext>().and_then(|outer| outer.cookies.as_deref());
            let cookies = Cookies { own: &policy.cookies, outer, personal: false };
            cookies.identifying_names(request.headers)
        }
        Detail::Credentials => policy
            .credentials
            .iter()
            .filter(|name| request.headers.contains_key(*name))
            .map(|name| format!("header {name}"))
            .collect(),
        Detail::Authorization | Detail::Credential(_) | Detail::Field(_) => vec![format!("header {why}")],
        _ => Vec::new(),
    }
}
