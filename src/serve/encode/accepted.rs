//! The accepted codings of a request, remembered by the exact text of `Accept-Encoding`.
//!
//! Browsers send few different texts. Each thread remembers the codings of the last texts, so that
//! most hits compare bytes instead of parsing the field.

use crate::rules::accept_encoding::{AcceptedCodings, single_line};
use http::HeaderMap;
use std::cell::RefCell;

/// The number of remembered texts of a thread.
const PLACES: usize = 32;

/// The longest text that is remembered, in bytes.
const MAX_TEXT: usize = 55;

/// A text, and the codings that it accepts. The initial value is the empty text, which accepts no
/// coding.
#[derive(Clone, Copy)]
struct RememberedText {
    length: u8,
    text: [u8; MAX_TEXT],
    accepted: AcceptedCodings,
}

impl RememberedText {
    const EMPTY: Self = Self { length: 0, text: [0; MAX_TEXT], accepted: AcceptedCodings::NONE };

    fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

thread_local! {
    static REMEMBERED: RefCell<[RememberedText; PLACES]> =
        const { RefCell::new([RememberedText::EMPTY; PLACES]) };
}

/// Returns the codings that a request accepts.
pub(super) fn accepted_codings(request: &HeaderMap) -> AcceptedCodings {
    let Some(line) = single_line(request).map(http::HeaderValue::as_bytes) else {
        return AcceptedCodings::from_headers(request);
    };
    if line.len() > MAX_TEXT {
        return AcceptedCodings::from_headers(request);
    }
    let known = REMEMBERED.try_with(|texts| {
        let texts = texts.try_borrow().ok()?;
        let remembered = &texts[place_of(line)];
        (remembered.text() == line).then_some(remembered.accepted)
    });
    if let Ok(Some(accepted)) = known {
        return accepted;
    }
    let accepted = AcceptedCodings::from_headers(request);
    // If the thread is ending, nothing is remembered.
    let _ = REMEMBERED.try_with(|texts| {
        if let Ok(mut texts) = texts.try_borrow_mut() {
            let remembered = &mut texts[place_of(line)];
            // The length fits: it is at most `MAX_TEXT`.
            remembered.length = line.len() as u8;
            remembered.text[..line.len()].copy_from_slice(line);
            remembered.accepted = accepted;
        }
    });
    accepted
}

/// Returns the place of a text. A text replaces another one in the same place.
fn place_of(text: &[u8]) -> usize {
    let middle = text.get(text.len() / 2).copied().unwrap_or(0);
    let last = text.last().copied().unwrap_or(0);
    (text.len() * 7 + usize::from(middle) * 3 + usize::from(last)) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::ACCEPT_ENCODING;

    #[test]
    fn codings_are_remembered_by_the_exact_text() {
        let long = format!("gzip{}, br", " ".repeat(MAX_TEXT));
        let texts = [
            "",
            "gzip",
            "GZIP",
            "br",
            "gzip, br",
            "br, gzip",
            "gzip;q=0",
            "gzip;q=1",
            "gzip;q=0.1, br",
            "*",
            "*;q=0",
            "identity",
            "gzip, deflate, br, zstd",
            "gzip,deflate,br,zstd",
            "zstd, br",
            "gzip ",
            &long,
        ];
        // Texts in one place replace each other, so each text is read often and in several orders.
        for round in 0..6 {
            for at in 0..texts.len() {
                let text = texts[(at * (round + 1)) % texts.len()];
                let mut request = HeaderMap::new();
                request.insert(ACCEPT_ENCODING, HeaderValue::try_from(text).expect("a value"));
                assert_eq!(accepted_codings(&request), AcceptedCodings::from_headers(&request), "{text}");
            }
        }
    }

    #[test]
    fn several_lines_count_together() {
        let mut request = HeaderMap::new();
        assert_eq!(accepted_codings(&request), AcceptedCodings::NONE);
        request.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0.5"));
        request.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(accepted_codings(&request), AcceptedCodings::from_headers(&request));
    }
}
