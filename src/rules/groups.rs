//! The tags of responses: cache groups (RFC 9875), and the older fields of CDNs.

use super::list::trim;
use http::header::GetAll;
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, List, ListEntry, ListSerializer, Parser, StringRef};

/// `Cache-Groups` (RFC 9875 section 2).
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation` (RFC 9875 section 3).
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// A response field with the tags of the response, for
/// [`PolicyBuilder::read_tags_from`](crate::policy::PolicyBuilder::read_tags_from) and
/// [`PolicyBuilder::emit_tags_in`](crate::policy::PolicyBuilder::emit_tags_in).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // Later versions may add tag fields.
pub enum TagField {
    /// `Cache-Groups` (RFC 9875): a structured list of strings.
    CacheGroups,
    /// `Surrogate-Key`: words separated by spaces, as Fastly and Varnish read it.
    SurrogateKey,
    /// `Cache-Tag`: texts separated by commas, as Cloudflare and Akamai read it.
    CacheTag,
}

/// A set of tag fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TagFields([bool; 3]);

impl FromIterator<TagField> for TagFields {
    fn from_iter<I: IntoIterator<Item = TagField>>(fields: I) -> Self {
        let mut all = Self::default();
        fields.into_iter().for_each(|field| all.0[field as usize] = true);
        all
    }
}

impl TagFields {
    const ALL: [TagField; 3] = [TagField::CacheGroups, TagField::SurrogateKey, TagField::CacheTag];

    fn contains(self, field: TagField) -> bool {
        self.0[field as usize]
    }

    /// Returns the tags in the fields of this set, sorted and without duplicates.
    pub(crate) fn read(self, headers: &HeaderMap) -> Result<Vec<String>, Malformed> {
        let mut tags = Vec::new();
        for field in Self::ALL.into_iter().filter(|field| self.contains(*field)) {
            tags.extend(match field {
                TagField::CacheGroups => cache_groups(headers)?,
                TagField::SurrogateKey => surrogate_keys(headers)?,
                TagField::CacheTag => cache_tags(headers)?,
            });
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }

    /// Writes the tags into the fields of this set, and removes the other tag fields.
    ///
    /// A field that cannot contain all of the tags is removed.
    pub(crate) fn write(self, tags: &[String], headers: &mut HeaderMap) {
        self.write_missing(tags, headers, false);
    }

    /// Writes the tags as [`write`](Self::write) does. If an inner layer has `written` them
    /// already, present fields of this set stay unchanged.
    pub(crate) fn write_missing(self, tags: &[String], headers: &mut HeaderMap, written: bool) {
        for field in Self::ALL {
            let (name, value) = match field {
                TagField::CacheGroups => (CACHE_GROUPS, cache_groups_value(tags)),
                TagField::SurrogateKey => (SURROGATE_KEY, surrogate_key_value(tags)),
                TagField::CacheTag => (CACHE_TAG, cache_tag_value(tags)),
            };
            if written && self.contains(field) && headers.contains_key(&name) {
                continue;
            }
            headers.remove(&name);
            if let Some(value) = value.filter(|_| self.contains(field)) {
                // If the header map is full, the field is left out.
                let _ = headers.try_insert(name, value);
            }
        }
    }
}

/// A tag field that cannot be parsed.
///
/// A response with a malformed tag field must not be stored, because an invalidation of its tags
/// would not reach it. A malformed `Cache-Group-Invalidation` is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns the groups that a response belongs to (RFC 9875 section 2).
fn cache_groups(headers: &HeaderMap) -> Result<Vec<String>, Malformed> {
    parse_strings(headers.get_all(CACHE_GROUPS))
}

/// Returns the groups that a response invalidates (RFC 9875 section 3).
pub(crate) fn cache_group_invalidation(headers: &HeaderMap) -> Result<Vec<String>, Malformed> {
    parse_strings(headers.get_all(CACHE_GROUP_INVALIDATION))
}

/// Returns the tags in `Surrogate-Key`: words separated by spaces, as Fastly reads it.
fn surrogate_keys(headers: &HeaderMap) -> Result<Vec<String>, Malformed> {
    parse_separated(headers.get_all(SURROGATE_KEY), |byte| matches!(byte, b' ' | b'\t'))
}

/// Returns the tags in `Cache-Tag`: texts separated by commas, as Cloudflare and Akamai read it.
/// Quotes have no meaning.
fn cache_tags(headers: &HeaderMap) -> Result<Vec<String>, Malformed> {
    parse_separated(headers.get_all(CACHE_TAG), |byte| byte == b',')
}

/// Returns the value of `Cache-Groups` or `Cache-Group-Invalidation`.
///
/// Returns `None` without tags, or if a tag is not printable ASCII (RFC 9651 section 3.3.3).
fn cache_groups_value(tags: &[impl AsRef<str>]) -> Option<HeaderValue> {
    let mut list = ListSerializer::new();
    for tag in tags {
        let _ = list.bare_item(StringRef::from_str(tag.as_ref()).ok()?);
    }
    HeaderValue::try_from(list.finish()?).ok()
}

/// Returns the value of `Surrogate-Key`; `None` without tags, or if a tag is not a word of visible
/// ASCII.
fn surrogate_key_value(tags: &[impl AsRef<str>]) -> Option<HeaderValue> {
    joined(tags, " ", |tag| tag.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Returns the value of `Cache-Tag`.
///
/// Returns `None` without tags, or if the field cannot contain one of them. A tag may contain
/// visible ASCII except commas, and spaces except at its ends.
fn cache_tag_value(tags: &[impl AsRef<str>]) -> Option<HeaderValue> {
    let is_held = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b',');
    joined(tags, ",", |tag| tag.bytes().all(is_held) && !tag.starts_with(' ') && !tag.ends_with(' '))
}

/// Parses a structured list of strings over all lines. Parameters have no meaning (RFC 9875 section
/// 2).
fn parse_strings(lines: GetAll<'_, HeaderValue>) -> Result<Vec<String>, Malformed> {
    let lines: Vec<_> = lines.into_iter().map(HeaderValue::as_bytes).collect();
    let members: List = Parser::new(&lines.join(&b", "[..])).parse().map_err(|_| Malformed)?;
    let string = |member| match member {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(text) => Ok(text.into()),
            _ => Err(Malformed),
        },
        ListEntry::InnerList(_) => Err(Malformed),
    };
    members.into_iter().map(string).collect()
}

/// Returns the non-empty texts between the separators in all lines.
fn parse_separated(
    lines: GetAll<'_, HeaderValue>,
    separates: impl Fn(u8) -> bool,
) -> Result<Vec<String>, Malformed> {
    let parts = lines.into_iter().flat_map(|line| line.as_bytes().split(|byte| separates(*byte)));
    let text = |part: &[u8]| std::str::from_utf8(part).map(str::to_owned).map_err(|_| Malformed);
    parts.map(trim).filter(|part| !part.is_empty()).map(text).collect()
}

fn joined(tags: &[impl AsRef<str>], separator: &str, is_held: impl Fn(&str) -> bool) -> Option<HeaderValue> {
    let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
    if tags.is_empty() || !tags.iter().all(|tag| !tag.is_empty() && is_held(tag)) {
        return None;
    }
    HeaderValue::try_from(tags.join(separator)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    type Lines = &'static [&'static str];
    type Tags = Option<&'static [&'static str]>;

    fn lines(name: &'static str, lines: Lines) -> HeaderMap {
        let lines: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        headers(&lines)
    }

    fn holding(name: HeaderName, value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(name, value)])
    }

    fn assert_read(read: &Result<Vec<String>, Malformed>, expected: Tags, lines: Lines) {
        let expected = expected.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(*read, expected.ok_or(Malformed), "{lines:?}");
    }

    /// RFC 9875 sections 2 and 3, RFC 9651 sections 3.1, 3.3.3 and 4.2.
    #[test]
    fn groups_must_be_a_list_of_strings() {
        let table: [(Lines, Tags); 20] = [
            (&[], Some(&[])),
            (&[""], Some(&[])),
            (&["\"scripts\""], Some(&["scripts"])),
            (&["\"a\", \"b\",\t\"a\""], Some(&["a", "b", "a"])),
            (&["\"a\"", "\"b\", \"c\""], Some(&["a", "b", "c"])),
            (&["\"A\", \"a b\", \"a,b\""], Some(&["A", "a b", "a,b"])),
            (&[r#""a\"b\\c", """#], Some(&[r#"a"b\c"#, ""])),
            (&["\"a\";x=1;y, \"b\";z=\"s\""], Some(&["a", "b"])),
            (&["a"], None),
            (&["\"a\", b"], None),
            (&["\"a\", 1"], None),
            (&["\"a\", ?1"], None),
            (&["\"a\", :YQ==:"], None),
            (&["\"a\", %\"b\""], None),
            (&["(\"a\" \"b\")"], None),
            (&["\"a\","], None),
            (&["\"a\" \"b\""], None),
            (&["\"a"], None),
            (&["\"caf\u{e9}\""], None),
            (&["\"a\"", ""], None),
        ];
        for (values, expected) in table {
            assert_read(&cache_groups(&lines("cache-groups", values)), expected, values);
            let invalidated = cache_group_invalidation(&lines("cache-group-invalidation", values));
            assert_read(&invalidated, expected, values);
        }
    }

    /// RFC 9875 section 2: at least 32 groups, of at least 32 characters each.
    #[test]
    fn required_number_of_groups_is_parsed() {
        let tags: Vec<_> = (0..256).map(|n| format!("{n:0>64}")).collect();
        let value = cache_groups_value(&tags).expect("printable");
        assert_eq!(cache_groups(&holding(CACHE_GROUPS, value)), Ok(tags));
    }

    #[test]
    fn surrogate_keys_are_separated_by_spaces() {
        let table: [(Lines, Tags); 7] = [
            (&[], Some(&[])),
            (&["", " \t "], Some(&[])),
            (&["a"], Some(&["a"])),
            (&[" a  b\tc "], Some(&["a", "b", "c"])),
            (&["a b", "c"], Some(&["a", "b", "c"])),
            (&["a,b \"c d\""], Some(&["a,b", "\"c", "d\""])),
            (&["caf\u{e9}"], Some(&["caf\u{e9}"])),
        ];
        for (values, expected) in table {
            assert_read(&surrogate_keys(&lines("surrogate-key", values)), expected, values);
        }
    }

    #[test]
    fn cache_tags_are_separated_by_commas() {
        let table: [(Lines, Tags); 7] = [
            (&[], Some(&[])),
            (&["", " , ,\t,"], Some(&[])),
            (&["a"], Some(&["a"])),
            (&[" a ,,b\t,\tc d"], Some(&["a", "b", "c d"])),
            (&["a,b", "c"], Some(&["a", "b", "c"])),
            (&["\"a,b\""], Some(&["\"a", "b\""])),
            (&["caf\u{e9}"], Some(&["caf\u{e9}"])),
        ];
        for (values, expected) in table {
            assert_read(&cache_tags(&lines("cache-tag", values)), expected, values);
        }
    }

    #[test]
    fn bytes_that_are_not_text_make_a_field_malformed() {
        let value = HeaderValue::from_bytes(b"a,b \xff").expect("a field value");
        assert_eq!(surrogate_keys(&holding(SURROGATE_KEY, value.clone())), Err(Malformed));
        assert_eq!(cache_tags(&holding(CACHE_TAG, value)), Err(Malformed));
    }

    #[test]
    fn tags_that_would_be_parsed_differently_are_not_written() {
        // The tags, and the values of Cache-Groups, Surrogate-Key and Cache-Tag.
        type GroupValue = Option<&'static str>;
        let table: [(Lines, GroupValue, GroupValue, GroupValue); 11] = [
            (&[], None, None, None),
            (&["a"], Some("\"a\""), Some("a"), Some("a")),
            (&["a", "b:1"], Some("\"a\", \"b:1\""), Some("a b:1"), Some("a,b:1")),
            (&["a", ""], Some("\"a\", \"\""), None, None),
            (&["a b"], Some("\"a b\""), None, Some("a b")),
            (&[" a"], Some("\" a\""), None, None),
            (&["a "], Some("\"a \""), None, None),
            (&["a,b"], Some("\"a,b\""), Some("a,b"), None),
            (&[r#"a"\"#], Some(r#""a\"\\""#), Some(r#"a"\"#), Some(r#"a"\"#)),
            (&["a\tb"], None, None, None),
            (&["a", "caf\u{e9}", "b\r\nx: y"], None, None, None),
        ];
        for (tags, groups, keys, cache_tags) in table {
            let written = [cache_groups_value(tags), surrogate_key_value(tags), cache_tag_value(tags)];
            let expected = [groups, keys, cache_tags].map(|value| value.map(HeaderValue::from_static));
            assert_eq!(written, expected, "{tags:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn written_tags_are_parsed_back(tags in vec("[ -~]{0,12}|[!-~]{1,6}", 1..6)) {
            let value = cache_groups_value(&tags).expect("printable");
            prop_assert_eq!(&cache_groups(&holding(CACHE_GROUPS, value.clone())), &Ok(tags.clone()));
            let invalidated = cache_group_invalidation(&holding(CACHE_GROUP_INVALIDATION, value));
            prop_assert_eq!(&invalidated, &Ok(tags.clone()));
            if let Some(value) = surrogate_key_value(&tags) {
                prop_assert_eq!(&surrogate_keys(&holding(SURROGATE_KEY, value)), &Ok(tags.clone()));
            }
            if let Some(value) = cache_tag_value(&tags) {
                prop_assert_eq!(&cache_tags(&holding(CACHE_TAG, value)), &Ok(tags));
            }
        }

        #[test]
        fn words_without_commas_fit_surrogate_key_and_cache_tag(tags in vec("[!-+\\--~]{1,12}", 1..6)) {
            let keys = surrogate_key_value(&tags).map(|value| surrogate_keys(&holding(SURROGATE_KEY, value)));
            prop_assert_eq!(keys, Some(Ok(tags.clone())));
            let found = cache_tag_value(&tags).map(|value| cache_tags(&holding(CACHE_TAG, value)));
            prop_assert_eq!(found, Some(Ok(tags)));
        }

        #[test]
        fn any_text_is_written_completely_or_not_at_all(tags in vec(any::<String>(), 0..4)) {
            let printable = tags.iter().all(|tag| tag.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(cache_groups_value(&tags).is_some(), printable && !tags.is_empty());
            for value in [surrogate_key_value(&tags), cache_tag_value(&tags)].into_iter().flatten() {
                prop_assert!(printable && value.to_str().is_ok());
            }
        }

        #[test]
        fn any_bytes_of_structured_fields_parse_without_a_panic(
            groups in field("cache-groups"),
            invalidated in field("cache-group-invalidation"),
        ) {
            for tags in [cache_groups(&groups), cache_group_invalidation(&invalidated)].into_iter().flatten() {
                prop_assert!(tags.iter().all(|tag| tag.is_ascii()));
            }
        }

        #[test]
        fn any_surrogate_keys_and_cache_tags_parse_without_a_panic(keys in field("surrogate-key"), tags in field("cache-tag")) {
            for key in surrogate_keys(&keys).into_iter().flatten() {
                prop_assert!(!key.is_empty() && !key.contains([' ', '\t']));
            }
            for tag in cache_tags(&tags).into_iter().flatten() {
                prop_assert!(!tag.is_empty() && !tag.contains(','));
            }
        }
    }
}
