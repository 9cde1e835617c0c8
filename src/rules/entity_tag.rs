//! Entity tags and their comparison (RFC 9110 section 8.8.3).

use super::accept_encoding::Coding;
use super::patch::set_field;
use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

/// An entity tag: the identifier of one representation of a resource (RFC 9110 section 8.8.3).
///
/// A strong tag changes with every byte of the representation. A weak tag may stay the same if the
/// meaning of the representation does. `If-Range` and `If-Match` need strong tags.
///
/// # Example
/// ```
/// use tower_response_cache::precondition::EntityTag;
///
/// let version = EntityTag::strong("v7");
/// assert_eq!(version.to_string(), "\"v7\"");
/// assert!(version.weak_eq(&EntityTag::weak("v7")));
/// assert!(!version.strong_eq(&EntityTag::weak("v7")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityTag {
    weak: bool,
    opaque: Bytes,
}

impl EntityTag {
    /// Creates a strong tag. Pass another `opaque` whenever a byte of the representation has
    /// changed (RFC 9110 section 8.8.1).
    ///
    /// `opaque` is the text between the quotes. If `opaque` contains quotes, white space or control
    /// characters, the tag contains a hash of `opaque` instead.
    pub fn strong(opaque: impl AsRef<[u8]>) -> Self {
        let opaque = opaque.as_ref();
        if opaque.iter().all(|&byte| is_opaque(byte)) {
            return Self { weak: false, opaque: Bytes::copy_from_slice(opaque) };
        }
        Self::from_digest(&Sha256::digest(opaque).into())
    }

    /// Creates a weak tag, which changes with the meaning of the representation.
    ///
    /// As for [`strong`](Self::strong), an invalid `opaque` is replaced by its hash.
    pub fn weak(opaque: impl AsRef<[u8]>) -> Self {
        Self { weak: true, ..Self::strong(opaque) }
    }

    /// Creates a strong tag from the first 128 bits of a SHA-256, which are enough to avoid
    /// collisions.
    fn from_digest(digest: &[u8; 32]) -> Self {
        Self { weak: false, opaque: hex(&digest[..16]).collect() }
    }

    /// Returns the tag of an encoded variant of the representation with this tag. The tag of a
    /// variant is this tag, the name of the coding, and a digest of the encoded bytes.
    ///
    /// The digest tells apart the bytes of two encoders. The tag is strong if this tag is.
    pub(crate) fn of_variant(&self, coding: Coding, encoded: &[u8]) -> Self {
        let mut opaque = [&self.opaque[..], b".", coding.name().as_bytes(), b"."].concat();
        opaque.extend(hex(&Sha256::digest(encoded)[..VARIANT_DIGEST_BYTES]));
        Self { weak: self.weak, opaque: opaque.into() }
    }

    /// Returns `true` if this tag is one of an encoded variant of the representation `base`, in any
    /// coding and of any encoder.
    pub(crate) fn is_of_variant(&self, base: &Self) -> bool {
        let Some(suffix) = self.opaque.strip_prefix(&base.opaque[..]) else { return false };
        Coding::ALL.into_iter().any(|coding| {
            let rest = suffix.strip_prefix(b".").and_then(|rest| rest.strip_prefix(coding.name().as_bytes()));
            let digest = rest.and_then(|rest| rest.strip_prefix(b"."));
            digest.is_some_and(|digest| {
                digest.len() == 2 * VARIANT_DIGEST_BYTES
                    && digest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            })
        })
    }

    /// Creates a tag from a SHA-256 of the body.
    pub(crate) fn from_sha256(digest: &[u8; 32], comparison: Comparison) -> Self {
        let tag = Self::from_digest(digest);
        match comparison {
            Comparison::Strong => tag,
            Comparison::Weak => tag.weakened(),
        }
    }

    /// Returns this tag as a weak one.
    #[must_use]
    pub fn weakened(self) -> Self {
        Self { weak: true, ..self }
    }

    /// Returns `true` if the tag is weak.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// Returns `true` if both tags are strong and equal (RFC 9110 section 8.8.3.2).
    #[must_use]
    pub fn strong_eq(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Returns `true` if the tags are equal, weak or strong (RFC 9110 section 8.8.3.2).
    #[must_use]
    pub fn weak_eq(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    /// Returns the tag as the value of an `ETag` field.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        let mut value = Vec::with_capacity(self.opaque.len() + 4);
        value.extend_from_slice(if self.weak { b"W/\"" } else { b"\"" });
        value.extend_from_slice(&self.opaque);
        value.push(b'"');
        // A field value may contain all bytes of a tag, so the conversion does not fail.
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }

    /// Returns the tag of a response, if it has exactly one `ETag` line and the tag is valid.
    pub(crate) fn of_response(headers: &HeaderMap) -> Option<Self> {
        single(Self::line_of_response(headers)?.as_bytes())
    }

    /// Weakens the tag of a response, if it has one.
    pub(crate) fn weaken(headers: &mut HeaderMap) {
        if let Some(tag) = Self::of_response(headers).filter(|tag| !tag.weak) {
            set_field(headers, &ETAG, tag.weakened().to_value());
        }
    }

    /// Removes `ETag` if one of its lines is `*`. A client would repeat this value in
    /// `If-None-Match`, where `*` matches any representation (RFC 9110 section 13.1.2).
    ///
    /// If the caller adds another tag (`is_replaced`), also removes any other malformed `ETag`.
    pub(crate) fn remove_malformed(headers: &mut HeaderMap, is_replaced: bool) {
        let mut lines = headers.get_all(ETAG).iter();
        let is_any = lines.any(|line| line.as_bytes() == b"*");
        if is_any || (is_replaced && Self::line_of_response(headers).is_none()) {
            headers.remove(ETAG);
        }
    }

    /// Returns the valid `ETag` line of a response, as it was received.
    pub(crate) fn line_of_response(headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut lines = headers.get_all(ETAG).into_iter();
        let (line, more) = (lines.next()?, lines.next());
        (more.is_none() && is_tag(line.as_bytes())).then_some(line)
    }
}

/// The comparison that a generated tag allows (RFC 9110 section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The strong and the weak comparison: responses with equal tags are identical byte for byte.
    Strong,
    /// Only the weak comparison, because an outer layer may change the bytes of the response.
    Weak,
}

impl std::fmt::Display for EntityTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weak = if self.weak { "W/" } else { "" };
        write!(f, "{weak}\"{}\"", String::from_utf8_lossy(&self.opaque))
    }
}

/// The bytes of the digest in the tag of an encoded variant.
const VARIANT_DIGEST_BYTES: usize = 4;

/// Returns the lowercase hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).map_or(b'0', |digit| digit as u8))
}

/// Returns `true` for `etagc`, the characters between the quotes of a tag.
fn is_opaque(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..=0xff)
}

/// Returns `true` if a value is exactly one tag.
fn is_tag(value: &[u8]) -> bool {
    let quoted = value.strip_prefix(b"W/").unwrap_or(value);
    let text = quoted.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    // A loop without an early return uses vector instructions.
    text.is_some_and(|text| text.iter().fold(true, |valid, byte| valid & is_opaque(*byte)))
}

/// Parses a tag at the start of a value. Returns whether the tag is weak, the text between its
/// quotes, and the rest of the value.
fn read(value: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (weak, quoted) = match value.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, value),
    };
    let text = quoted.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| !is_opaque(byte))?;
    let rest = text[end..].strip_prefix(b"\"")?;
    Some((weak, &text[..end], rest))
}

fn parse(value: &[u8]) -> Option<(EntityTag, &[u8])> {
    let (weak, opaque, rest) = read(value)?;
    Some((EntityTag { weak, opaque: Bytes::copy_from_slice(opaque) }, rest))
}

/// The tags in all lines of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TagList {
    /// The field is absent.
    Absent,
    /// `*`: matches any current representation.
    Any,
    Tags(Vec<EntityTag>),
}

/// The maximum number of tags of a field. Further tags are ignored.
const MAX_TAGS: usize = 256;

impl TagList {
    /// Reads all lines of a field. A malformed tag is ignored, up to the next comma.
    pub(crate) fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut lines = headers.get_all(name).into_iter().peekable();
        if lines.peek().is_none() {
            return Self::Absent;
        }
        let mut tags = Vec::new();
        for line in lines {
            let mut rest = line.as_bytes();
            if rest.trim_ascii() == b"*" {
                return Self::Any;
            }
            while !rest.is_empty() && tags.len() < MAX_TAGS {
                rest = match rest {
                    [b' ' | b'\t' | b',', rest @ ..] => rest,
                    _ => match parse(rest) {
                        Some((tag, rest)) if matches!(rest.trim_ascii_start(), [] | [b',', ..]) => {
                            tags.push(tag);
                            rest
                        }
                        _ => {
                            rest.iter().position(|&byte| byte == b',').map_or(&[][..], |comma| &rest[comma..])
                        }
                    },
                };
            }
        }
        Self::Tags(tags)
    }
}

/// Parses a value that is exactly one tag.
pub(crate) fn single(value: &[u8]) -> Option<EntityTag> {
    parse(value.trim_ascii()).filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{Coding, EntityTag, TagList, single};
    use http::header::IF_NONE_MATCH;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn listed(lines: &[(&'static str, &str)]) -> TagList {
        TagList::from_headers(&headers(lines), &IF_NONE_MATCH)
    }

    /// RFC 9110 section 8.8.3.2, the table of examples.
    #[test]
    fn tags_compare_strongly_and_weakly() {
        let table = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (a, b, strong, weak) in table {
            let (a, b) = (single(a.as_bytes()).expect("a tag"), single(b.as_bytes()).expect("a tag"));
            assert_eq!((a.strong_eq(&b), a.weak_eq(&b)), (strong, weak), "{a} {b}");
        }
    }

    /// RFC 9110 section 8.8.3: `entity-tag = [ weak ] opaque-tag`.
    #[test]
    fn malformed_tags_are_rejected() {
        for text in ["", "1", "\"1", "1\"", "w/\"1\"", "W/1", "\"1\"2", "\"a b\"", "\"a\"b\"", "W/ \"1\""] {
            assert_eq!(single(text.as_bytes()), None, "{text}");
        }
        for text in ["\"\"", "W/\"\"", "\"a,b\"", "\"back\\\"", "\"caf\u{e9}\""] {
            let tag = single(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a tag"));
            assert_eq!(tag.to_value().as_bytes(), text.as_bytes());
        }
    }

    /// RFC 9110 section 13.1.2 and 5.6.1.
    #[test]
    fn lists_span_all_lines_and_tags_may_contain_commas() {
        let tags =
            |texts: &[&str]| TagList::Tags(texts.iter().filter_map(|t| single(t.as_bytes())).collect());
        let name = "if-none-match";
        assert_eq!(listed(&[]), TagList::Absent);
        assert_eq!(listed(&[(name, " * ")]), TagList::Any);
        assert_eq!(listed(&[(name, "\"a\""), (name, "*")]), TagList::Any);
        assert_eq!(listed(&[(name, "\"a,b\" ,, W/\"c\"")]), tags(&["\"a,b\"", "W/\"c\""]));
        assert_eq!(listed(&[(name, "\"a\""), (name, "\"b\"")]), tags(&["\"a\"", "\"b\""]));
        assert_eq!(listed(&[(name, "a, \"b\"")]), tags(&["\"b\""]));
        assert_eq!(listed(&[(name, "\"a\" \"b\", \"c\"")]), tags(&["\"c\""]));
        assert_eq!(listed(&[(name, "")]), tags(&[]));
    }

    #[test]
    fn invalid_opaque_text_is_hashed() {
        assert_eq!(EntityTag::strong("v1").to_string(), "\"v1\"");
        let hashed = EntityTag::strong("two words");
        assert_eq!((hashed.to_string().len(), hashed.is_weak()), (34, false));
        assert_ne!(hashed, EntityTag::strong("three words"));
        assert_eq!(EntityTag::weak("v1").to_string(), "W/\"v1\"");
    }

    /// RFC 9110 section 8.8.3: codings of one representation have different strong tags.
    #[test]
    fn tag_of_a_variant_has_the_base_the_coding_and_a_digest() {
        let base = EntityTag::strong("v1");
        let tag = base.of_variant(Coding::Brotli, b"encoded");
        assert_eq!(tag.to_string(), "\"v1.br.766adc67\"");
        assert_ne!(tag, base.of_variant(Coding::Brotli, b"encoded by another encoder"));
        assert!(EntityTag::weak("v1").of_variant(Coding::Gzip, b"").is_weak());
        assert!(tag.is_of_variant(&base) && tag.weakened().is_of_variant(&base));
        for other in ["v1", "v1.br", "v1.br.1234567", "v1.br.123456789", "v1.br.1234567X", "v1.xz.12345678"] {
            assert!(!EntityTag::strong(other).is_of_variant(&base), "{other}");
        }
        assert!(!EntityTag::strong("v2.br.12345678").is_of_variant(&base));
        assert!(!EntityTag::strong("v1.br.12345678.br.12345678").is_of_variant(&base));
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_bytes_parse_without_a_panic(
            lines in field("if-none-match"),
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let list = TagList::from_headers(&lines, &IF_NONE_MATCH);
            prop_assert_eq!(list == TagList::Absent, lines.is_empty());
            if let Some(tag) = single(&value) {
                prop_assert!(single(tag.to_value().as_bytes()).is_some_and(|read| read == tag));
            }
        }
    }
}
