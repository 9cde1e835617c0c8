//! The marks of a response as a header field, for layers that build a new response.

use super::Identified;
use crate::policy::CacheHints;
use crate::rules::list::field_elements;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

/// The response field. The outermost layer removes it, so that clients never receive it.
static FIELD: HeaderName = HeaderName::from_static("tower-response-cache");
const NEVER: &str = "never";
const IDENTIFIED: &str = "identified";

impl Identified {
    /// Marks a response by the extension and by a header field. The field survives a layer that builds a new response
    /// from the old header fields; the outermost layer of this crate removes it.
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
    /// Adds the hints to a response, as [`add_to`](Self::add_to) does. `never` is also sent in a header field.
    /// The field survives a layer that builds a new response from the old header fields; the outermost layer of this crate
    /// removes it.
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

/// Adds `never` to the field.
pub(crate) fn write_never(headers: &mut HeaderMap) {
    write(headers, NEVER);
}

/// Adds `identified` to the field.
pub(crate) fn write_identified(headers: &mut HeaderMap) {
    write(headers, IDENTIFIED);
}

fn write(headers: &mut HeaderMap, mark: &'static str) {
    if !field_elements(headers, &FIELD).any(|known| known == mark.as_bytes()) {
        // If the header section is full, the extension alone carries the mark.
        let _ = headers.try_append(&FIELD, HeaderValue::from_static(mark));
    }
}

/// Removes the field from a request: only a response may carry marks.
pub(crate) fn remove_from_request(headers: &mut HeaderMap) {
    if is_in(headers) {
        headers.remove(&FIELD);
    }
}

/// Compares the names, which takes less than a look-up in the sections of most messages.
fn is_in(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| *name == FIELD)
}

/// Moves the marks of a response from its header field to its extensions.
pub(crate) fn receive<B>(response: &mut Response<B>) {
    if !is_in(response.headers()) {
        return;
    }
    let (mut never, mut identified) = (false, false);
    for mark in field_elements(response.headers(), &FIELD) {
        match mark {
            mark if mark == IDENTIFIED.as_bytes() => identified = true,
            // An unknown mark fails closed.
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
}

/// Writes the marks of a response into the field, unless the response leaves the outermost layer.
pub(crate) fn send<B>(response: &mut Response<B>, is_outermost: bool) {
    if is_outermost {
        return;
    }
    if response.extensions().get::<CacheHints>().is_some_and(|hints| hints.never) {
        write_never(response.headers_mut());
    }
    if response.extensions().get::<Identified>().is_some() {
        write_identified(response.headers_mut());
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
    fn a_mark_is_written_once_and_not_by_the_outermost_layer() {
        let mut response = Response::new(());
        Identified.add_to_response(&mut response);
        CacheHints::new().never().add_to_response(&mut response);
        send(&mut response, false);
        assert_eq!(response.headers().get_all(&FIELD).iter().count(), 2);
        receive(&mut response);
        send(&mut response, true);
        assert!(response.headers().is_empty());
    }
}
