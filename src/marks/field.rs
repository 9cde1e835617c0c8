//! The marks of a response as a header field, which survives layers that build a new response.

use super::response_marks::{HandledByInner, Identified};
use crate::policy::CacheHints;
use crate::rules::list::field_elements;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

/// The name of the response field that carries the marks of the handler and of inner layers. The
/// outermost layer removes the field, so clients never receive it.
static FIELD: HeaderName = HeaderName::from_static("tower-response-cache");
const NEVER: &str = "never";
const IDENTIFIED: &str = "identified";
const HANDLED: &str = "handled";
/// The prefix of a mark that names a request field in the key of an inner layer.
const VARY: &str = "vary=";

impl Identified {
    /// Marks a response with the extension and with a header field.
    ///
    /// Use it if an outer layer builds a new response and copies only the header fields. The
    /// outermost layer of this crate removes the field.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Identified;
    ///
    /// let mut response = http::Response::new("Hello, Alice");
    /// Identified.add_to_response(&mut response);
    /// assert!(response.extensions().get::<Identified>().is_some());
    /// ```
    pub fn add_to_response<B>(self, response: &mut Response<B>) {
        write_identified(response.headers_mut());
        response.extensions_mut().insert(self);
    }
}

impl CacheHints {
    /// Adds the hints to the extensions of a response. The hint `never` is also added as a header
    /// field.
    ///
    /// Use it if an outer layer builds a new response and copies only the header fields. Hints
    /// other than `never` are only in the extension. The outermost layer of this crate removes the
    /// field.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::CacheHints;
    ///
    /// let mut response = http::Response::new("page");
    /// CacheHints::new().never().add_to_response(&mut response);
    /// ```
    pub fn add_to_response<B>(self, response: &mut Response<B>) {
        if self.never {
            write_never(response.headers_mut());
        }
        self.add_to(response.extensions_mut());
    }
}

/// Adds the mark `never` to the field [`FIELD`]: no cache layer may store the response.
pub(crate) fn write_never(headers: &mut HeaderMap) {
    write(headers, NEVER);
}

/// Adds the mark `identified` to the field [`FIELD`]: the response was made for one visitor.
pub(crate) fn write_identified(headers: &mut HeaderMap) {
    write(headers, IDENTIFIED);
}

fn write(headers: &mut HeaderMap, mark: &str) {
    if !field_elements(headers, &FIELD).any(|known| known == mark.as_bytes())
        && let Ok(value) = HeaderValue::from_str(mark)
    {
        // If the header section is full, only the extension carries the mark.
        let _ = headers.try_append(&FIELD, value);
    }
}

/// Removes the field [`FIELD`] from a request. This crate writes the field only into responses, so
/// only a client can have sent it.
pub(crate) fn remove_from_request(headers: &mut HeaderMap) {
    if has_field(headers) {
        headers.remove(&FIELD);
    }
}

/// Returns `true` if [`FIELD`] is present. For a typical header section, comparing all names is
/// faster than a lookup.
fn has_field(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| *name == FIELD)
}

/// Moves the marks of a response from the header field to the extensions, where layers read them.
///
/// Returns the names of the request fields that are in the keys of inner layers.
#[inline]
pub(crate) fn receive<B>(response: &mut Response<B>) -> Vec<String> {
    if has_field(response.headers()) { read(response) } else { Vec::new() }
}

fn read<B>(response: &mut Response<B>) -> Vec<String> {
    let mut keyed = Vec::new();
    let (mut never, mut identified, mut handled) = (false, false, false);
    for mark in field_elements(response.headers(), &FIELD).map(std::str::from_utf8) {
        match mark {
            Ok(IDENTIFIED) => identified = true,
            Ok(HANDLED) => handled = true,
            Ok(mark) if mark.starts_with(VARY) => keyed.extend(mark.strip_prefix(VARY).map(str::to_owned)),
            // An unknown mark fails closed: the response is not stored.
            _ => never = true,
        }
    }
    response.headers_mut().remove(&FIELD);
    if never {
        CacheHints::new().never().add_to(response.extensions_mut());
    }
    if identified {
        response.extensions_mut().insert(Identified);
    }
    if handled {
        response.extensions_mut().insert(HandledByInner);
    }
    keyed
}

/// Writes the marks of a response into the header field [`FIELD`]. Also writes `keyed`: the names
/// of the request fields that enter the keys of inner layers.
///
/// An outer layer reads the header field with [`receive`].
pub(crate) fn send<B>(response: &mut Response<B>, keyed: &[String]) {
    if response.extensions().get::<CacheHints>().is_some_and(|hints| hints.never) {
        write_never(response.headers_mut());
    }
    if response.extensions().get::<Identified>().is_some() {
        write_identified(response.headers_mut());
    }
    if response.extensions().get::<HandledByInner>().is_some() {
        write(response.headers_mut(), HANDLED);
    }
    for name in keyed {
        write(response.headers_mut(), &format!("{VARY}{name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(lines: &[&'static str]) -> (bool, bool, usize) {
        let mut response = Response::new(());
        for line in lines {
            response.headers_mut().append(&FIELD, HeaderValue::from_static(line));
        }
        receive(&mut response);
        let never = response.extensions().get::<CacheHints>().is_some_and(|hints| hints.never);
        let identified = response.extensions().get::<Identified>().is_some();
        (never, identified, response.headers().len())
    }

    #[test]
    fn every_line_and_list_of_the_field_is_read_and_removed() {
        assert_eq!(received(&[]), (false, false, 0));
        assert_eq!(received(&["never"]), (true, false, 0));
        assert_eq!(received(&["identified"]), (false, true, 0));
        assert_eq!(received(&["never, identified"]), (true, true, 0));
        assert_eq!(received(&["identified", "never"]), (true, true, 0));
    }

    #[test]
    fn an_unknown_mark_counts_as_never() {
        assert_eq!(received(&["identified; x"]), (true, false, 0));
    }

    #[test]
    fn a_mark_is_written_once() {
        let mut response = Response::new(());
        Identified.add_to_response(&mut response);
        CacheHints::new().never().add_to_response(&mut response);
        send(&mut response, &[]);
        assert_eq!(response.headers().get_all(&FIELD).iter().count(), 2);
        receive(&mut response);
        assert!(response.headers().is_empty());
    }
}
