//! The elements of `Forwarded` (RFC 7239 section 4), as far as they describe the target.

use super::super::authority::canonical_authority;
use super::spelling::scheme;
use crate::rules::list::{field_elements, trim};
use http::HeaderMap;
use http::header::FORWARDED;

/// The element that one proxy has added. The addresses in `for` and `by` are parsed but not kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) proto: Option<String>,
    pub(super) host: Option<String>,
}

/// The text for an element with neither `proto` nor `host` after an element with one of them (RFC
/// 7239 section 6.2). It preserves the number of elements: a handler may count them from the last
/// one.
const PLACEHOLDER: &str = "for=unknown";

impl Element {
    /// Returns the canonical elements of all lines as one text. The text is empty if no element
    /// describes the target.
    ///
    /// Returns `None` if there is no element, or if an element can't be read.
    pub(super) fn list(headers: &HeaderMap) -> Option<String> {
        let (mut list, mut is_there) = (String::new(), false);
        for element in field_elements(headers, &FORWARDED) {
            let text = Self::read(element)?.text();
            is_there = true;
            match (list.is_empty(), text.is_empty()) {
                (true, _) => list = text,
                (false, true) => list.extend([", ", PLACEHOLDER]),
                (false, false) => list.extend([", ", &text]),
            }
        }
        is_there.then_some(list)
    }

    /// Parses an element. Returns `None` if it is malformed or repeats a parameter.
    pub(super) fn read(element: &[u8]) -> Option<Self> {
        let (mut names, mut proto, mut host) = (Vec::new(), None, None);
        let mut rest = element;
        loop {
            rest = trim(rest);
            match rest {
                [] => break,
                [b';', more @ ..] => rest = more,
                _ => {
                    let (name, value, more) = read_pair(rest)?;
                    rest = more;
                    match name.as_str() {
                        "proto" => proto = Some(scheme(&value)?),
                        "host" => host = Some(value),
                        _ => {}
                    }
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        if !names.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let host = match host {
            Some(host) => Some(canonical_authority(&host, proto.as_deref())?),
            None => None,
        };
        Some(Self { proto, host })
    }

    fn text(&self) -> String {
        let proto = self.proto.as_ref().map(|proto| format!("proto={proto}"));
        let host = self.host.as_ref().map(|host| match host.bytes().all(is_of_token) {
            true => format!("host={host}"),
            false => format!("host=\"{host}\""),
        });
        [proto, host].into_iter().flatten().collect::<Vec<_>>().join(";")
    }
}

/// Parses a pair up to the next semicolon. Returns its name in lower case, its value, and the rest.
fn read_pair(text: &[u8]) -> Option<(String, Vec<u8>, &[u8])> {
    let at = text.iter().position(|byte| !is_of_token(*byte)).filter(|at| *at > 0 && text[*at] == b'=')?;
    let name = std::str::from_utf8(&text[..at]).ok()?.to_ascii_lowercase();
    let (value, rest) = match &text[at + 1..] {
        [b'"', quoted @ ..] => read_quoted(quoted)?,
        plain => {
            let end = plain.iter().position(|byte| *byte == b';').unwrap_or(plain.len());
            let value = trim(&plain[..end]);
            // Accepts more than tokens: many senders omit the quotes around ports and IPv6
            // addresses.
            let is_value =
                !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
            (is_value.then(|| value.to_vec())?, &plain[end..])
        }
    };
    let rest = trim(rest);
    matches!(rest, [] | [b';', ..]).then_some((name, value, rest))
}

/// Parses a quoted string after its opening quote (RFC 9110 section 5.6.4). Returns the value and
/// the rest.
fn read_quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(*byte),
        }
    }
    None
}

/// Returns `true` for a character of a token (RFC 9110 section 5.6.2).
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
