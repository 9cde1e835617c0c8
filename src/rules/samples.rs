//! Headers for the tests of the rules.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

/// Builds headers out of field lines, in their order.
pub(super) fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// Makes a field value of bytes; what no field line can hold becomes a space (RFC 9110 section 5.5).
fn value(bytes: &[u8]) -> HeaderValue {
    let held = |&byte: &u8| if byte == b'\t' || (byte >= b' ' && byte != 0x7f) { byte } else { b' ' };
    let bytes: Vec<_> = bytes.iter().map(held).collect();
    HeaderValue::from_bytes(&bytes).expect("a field value")
}

/// Any bytes that a field line can hold, obs-text included (RFC 9110 section 5.5).
fn line() -> impl Strategy<Value = HeaderValue> {
    vec(any::<u8>(), 0..64).prop_map(|bytes| value(&bytes))
}

/// Bytes that mean something to a list parser, more often than chance would have them.
fn hostile_line() -> impl Strategy<Value = HeaderValue> {
    let bytes = proptest::sample::select(&b"\",\\=*;: \t09-ax\x80\xff"[..]);
    vec(bytes, 0..64).prop_map(|bytes| value(&bytes))
}

/// Some lines of one field, of either kind.
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
