//! The GET with which a layer reads the current validators of a resource.

use crate::marks::{OuterContext, remove_from_request};
use crate::policy::request_fields::{HeaderRole, role_of};
use crate::rules::entity_tag::TagList;
use crate::rules::list::field_elements;
use crate::rules::patch::set_field;
use crate::rules::preconditions::Validators;
use http::header::{CACHE_CONTROL, CONNECTION, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use std::sync::atomic::{AtomicBool, Ordering};
use tower::{Service, ServiceExt};

/// Reads the current validators of a resource from the inner service.
#[derive(Debug, Default)]
pub(super) struct Probe {
    has_warned: AtomicBool,
}

impl Probe {
    /// Returns the validators of the current representation.
    ///
    /// A 404 or 410 means that the resource does not exist. Returns `None` after any other response
    /// that is not successful.
    pub(super) async fn current<S, ReqBody, B>(
        &self,
        inner: S,
        parts: &Parts,
        body: ReqBody,
    ) -> Result<Option<Validators>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
    {
        let response = inner.oneshot(Request::from_parts(probe_head(parts), body)).await?;
        Ok(match response.status() {
            status if status.is_success() => {
                let current = Validators::of_response(response.headers());
                self.check_strength(&parts.headers, &current);
                Some(current)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Some(Validators::default()),
            _ => None,
        })
    }

    /// Warns once if `If-Match` fails because the current tag is weak (RFC 9110 section 8.8.3.2).
    fn check_strength(&self, request: &HeaderMap, current: &Validators) {
        let names_tags = matches!(TagList::from_headers(request, &IF_MATCH), TagList::Tags(_));
        let is_weak = current.etag.as_ref().is_some_and(|tag| tag.is_weak());
        if names_tags && is_weak && !self.has_warned.swap(true, Ordering::Relaxed) {
            warning!("If-Match failed: the resource has only a weak tag");
        }
    }
}

/// Returns the head of the GET: the request without its preconditions, and without the fields of
/// its content and its connection. The head also asks each cache for a current response.
fn probe_head(parts: &Parts) -> Parts {
    let mut parts = parts.clone();
    parts.method = Method::GET;
    remove_from_request(&mut parts.headers);
    let hop_fields =
        field_elements(&parts.headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    let hop_fields = hop_fields.filter(|name| !role_of(name.as_str()).is_keyed());
    let write_fields = parts.headers.keys().filter(|name| belongs_to_write(name.as_str())).cloned();
    for name in hop_fields.chain(write_fields).collect::<Vec<_>>() {
        parts.headers.remove(name);
    }
    OuterContext::require_current(&mut parts.extensions);
    // Other caches do not know the extension of `require_current`, but obey `no-cache`.
    set_field(&mut parts.headers, &CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    parts
}

/// Fields of a write or of its connection that no other rule of [`belongs_to_write`] matches (RFC
/// 4918, RFC 7240, RFC 9110 section 7.6.1).
const WRITE_FIELDS: [&str; 12] = [
    "connection",
    "depth",
    "destination",
    "http2-settings",
    "keep-alive",
    "lock-token",
    "overwrite",
    "prefer",
    "proxy-connection",
    "te",
    "timeout",
    "trailer",
];

/// Stems of words in names of fields that belong to a write. Such a field has a digest of the
/// content, overrides the method or makes repetitions harmless.
const WRITE_FIELD_STEMS: [&str; 5] = ["checksum", "digest", "idempot", "method", "repeatab"];

/// Returns `true` if a field belongs to a write: to its content, its conditions or its connection.
/// A GET with such a field would be a different request.
fn belongs_to_write(name: &str) -> bool {
    let role = role_of(name);
    let has_word = |word: &str| {
        matches!(word, "content" | "verb") || WRITE_FIELD_STEMS.iter().any(|stem| word.contains(stem))
    };
    matches!(role, HeaderRole::NotPlain(_) | HeaderRole::ContentLength)
        || role.selects()
        || name == "if"
        || name.starts_with("if-")
        || name.starts_with("sec-websocket-")
        || WRITE_FIELDS.contains(&name)
        || name.split(['-', '_']).any(has_word)
}
