//! The name of the field or cookie that makes a request bypass the cache, for events.

use crate::key::RequestHead;
use crate::marks::OuterContext;
use crate::policy::{Cookies, Policy};
use crate::status::Detail;

/// The most bytes of a cookie's name.
const MAX_NAME: usize = 64;

/// Returns the name of the field or cookie that makes a request bypass the cache, if one does.
///
/// The name of a cookie is escaped: a client may have chosen it.
pub(in crate::serve) fn bypass_name(
    policy: &Policy,
    request: RequestHead<'_>,
    why: Detail,
) -> Option<String> {
    match why {
        Detail::Authorization | Detail::Credential(_) | Detail::Field(_) => Some(why.to_string()),
        Detail::Credentials => {
            let declared = policy.credentials.iter().find(|name| request.headers.contains_key(*name));
            declared.map(|name| name.as_str().to_owned())
        }
        Detail::Cookie => {
            let outer = request.extensions.get::<OuterContext>().and_then(|outer| outer.cookies.as_deref());
            let cookies = Cookies { own: &policy.cookies, outer, personal: false };
            let name = cookies.first_personal(request.headers).filter(|name| !name.is_empty())?;
            Some(name.escape_ascii().take(MAX_NAME).map(char::from).collect())
        }
        _ => None,
    }
}
