//! The written form of a `Cache-Control` directive (RFC 9111 section 5.2).

use super::cache_control::delta_seconds;
use super::list::elements;
use http::HeaderName;

/// The name and the argument of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// The name in lower case.
    pub(super) name: String,
    pub(super) argument: Argument,
}

/// The argument of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    Seconds(u64),
    Fields(Vec<String>),
    /// Any other argument, as it is written in the field, with quotes.
    Other(String),
}

/// Returns `true` if the directive's argument is a number of seconds.
pub(super) fn takes_seconds(name: &str) -> bool {
    matches!(name, "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error")
}

/// Returns `true` for a token. Field names have the same grammar (RFC 9110 section 5.1).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    HeaderName::from_bytes(bytes).is_ok()
}

/// Returns `true` if all of the bytes are one quoted string of visible ASCII (RFC 9110 section
/// 5.6.4).
pub(super) fn is_quoted(bytes: &[u8]) -> bool {
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    let mut escaped = false;
    inner.iter().all(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        !ends && is_visible(byte)
    }) && !escaped
}

fn is_visible(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// Returns a text as a token or, if it is none, as a quoted string. Returns `None` if neither can
/// contain the text.
pub(super) fn quoted_if_needed(text: &str) -> Option<String> {
    if is_token(text.as_bytes()) {
        return Some(text.to_owned());
    }
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"");
    text.bytes().all(is_visible).then(|| format!("\"{escaped}\""))
}

/// Returns the number of seconds in an argument. If there is none, returns 0, the strictest
/// lifetime.
pub(super) fn seconds(argument: &Argument) -> u64 {
    match argument {
        Argument::Seconds(seconds) => *seconds,
        Argument::Other(text) => {
            let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            delta_seconds(text.as_bytes()).unwrap_or(0).into()
        }
        Argument::None | Argument::Fields(_) => 0,
    }
}

/// Returns an argument with the fields of both arguments, possibly with duplicates. If one argument
/// applies to the whole response, so does the result.
pub(super) fn union(a: Argument, b: Argument) -> Argument {
    match (field_names_of(a), field_names_of(b)) {
        (Some(mut fields), Some(more)) => {
            fields.extend(more);
            Argument::Fields(fields)
        }
        _ => Argument::None,
    }
}

/// Returns the field names in an argument; `None` if the directive applies to the whole response.
///
/// An unquoted list means the whole response, because the names after its first comma are lost.
pub(super) fn field_names_of(argument: Argument) -> Option<Vec<String>> {
    match argument {
        Argument::None | Argument::Seconds(_) => None,
        Argument::Fields(fields) => Some(fields),
        Argument::Other(text) => {
            let list = text.strip_prefix('"')?.strip_suffix('"')?;
            let names = elements(list.as_bytes());
            let names: Vec<_> =
                names.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
            Some(names).filter(|names| !names.is_empty())
        }
    }
}
