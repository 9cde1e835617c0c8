//! Header fields for the tests of the rules.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

/// Builds header fields from lines, in their order.
pub(super) fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// Converts bytes to a field value. Bytes that a field line cannot contain become spaces (RFC 9110
/// section 5.5).
fn value(bytes: &[u8]) -> HeaderValue {
    let held = |&byte: &u8| if byte == b'\t' || (byte >= b' ' && byte != 0x7f) { byte } else { b' ' };
    let bytes: Vec<_> = bytes.iter().map(held).collect();
    HeaderValue::from_bytes(&bytes).expect("a field value")
}

/// Generates any bytes that a field line can contain, including obs-text (RFC 9110 section 5.5).
fn line() -> impl Strategy<Value = HeaderValue> {
    vec(any::<u8>(), 0..64).prop_map(|bytes| value(&bytes))
}

/// Generates a line of bytes, most of which have a meaning in lists.
fn hostile_line() -> impl Strategy<Value = HeaderValue> {
    let bytes = proptest::sample::select(&b"\",\\=*;: \t09-ax\x80\xff"[..]);
    vec(bytes, 0..64).prop_map(|bytes| value(&bytes))
}

/// Generates lines of one field, each by `line()` or `hostile_line()`.
pub(super) fn field(name: &'static str) -> impl Strategy<Value = HeaderMap> {
    let any_line = proptest::prop_oneof![line(), hostile_line()];
    vec(any_line, 0..4).prop_map(move |lines| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line);
        }
        headers
    })
}
