//! The tags of a response, and its scopes.

use crate::entry::{ExtendOnHost, Scope};
use crate::policy::{CacheHints, Policy};
use crate::status::Detail;
use http::HeaderMap;

/// The maximum number of tags of a response.
const MAX_TAGS: usize = 256;
/// The maximum length of a tag, in bytes.
const MAX_TAG_LENGTH: usize = 1024;

/// Returns the tags of a response from its fields and hints, sorted and without duplicates.
///
/// # Errors
/// Returns `Tags` if the tags are too many, too long or malformed. Such a response is not stored,
/// because an invalidation could miss it.
pub(in crate::serve) fn tags(
    policy: &Policy,
    headers: &HeaderMap,
    hints: Option<&CacheHints>,
) -> Result<Vec<String>, Detail> {
    let mut tags = policy.tag_fields_read.read(headers).map_err(|_| Detail::Tags)?;
    tags.extend(hints.into_iter().flat_map(|hints| hints.tags.iter().cloned()));
    tags.sort_unstable();
    tags.dedup();
    let fit = tags.len() <= MAX_TAGS && tags.iter().all(|tag| tag.len() <= MAX_TAG_LENGTH);
    if fit { Ok(tags) } else { Err(Detail::Tags) }
}

/// Returns the scopes of a response: the scopes of its target, and for each tag one scope on all
/// hosts and one on each of `hosts`.
pub(in crate::serve) fn scopes_of(target: &[Scope], hosts: &[String], tags: &[String]) -> Box<[Scope]> {
    if tags.is_empty() {
        return target.into();
    }
    let mut scopes: Vec<_> = tags.iter().map(|tag| Scope::tag(tag)).collect();
    scopes.extend_on_hosts(hosts);
    scopes.extend(target);
    scopes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::groups::TagField;

    /// RFC 9875 section 2: `Cache-Groups` is a list of strings.
    #[test]
    fn tags_are_merged_and_unusable_tags_are_refused() {
        let many = |count: usize| (0..count).map(|at| format!("t{at:03}")).collect::<Vec<_>>();
        let long = |length: usize| vec!["a".repeat(length)];
        type Found = Result<Vec<String>, Detail>;
        let table: [(&str, Vec<String>, Found); 9] = [
            ("", vec![], Ok(vec![])),
            ("\"b\", \"a\"", vec![], Ok(vec!["a".into(), "b".into()])),
            ("\"b\"", vec!["a".into(), "b".into()], Ok(vec!["a".into(), "b".into()])),
            ("b", vec![], Err(Detail::Tags)),
            ("?", vec!["a".into()], Err(Detail::Tags)),
            ("", many(256), Ok(many(256))),
            ("\"other\"", many(256), Err(Detail::Tags)),
            ("", long(1024), Ok(long(1024))),
            ("", long(1025), Err(Detail::Tags)),
        ];
        for (value, hinted, expected) in table {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert("cache-groups", value.parse().expect("a value"));
            }
            let hints = CacheHints::new().tags(hinted);
            assert_eq!(tags(&Policy::default(), &headers, Some(&hints)), expected, "{value}");
        }
    }

    #[test]
    fn tags_are_read_from_the_chosen_fields_only() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-groups", "\"a\"".parse().expect("a value"));
        headers.insert("surrogate-key", "b c".parse().expect("a value"));
        let table: [(&[TagField], &[&str]); 3] = [
            (&[], &[]),
            (&[TagField::SurrogateKey], &["b", "c"]),
            (&[TagField::SurrogateKey, TagField::CacheGroups], &["a", "b", "c"]),
        ];
        for (fields, expected) in table {
            let policy = Policy::app().read_tags_from(fields.iter().copied());
            let found = tags(&policy.build().expect("a policy"), &headers, None).expect("tags");
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn each_tag_has_a_scope_on_all_hosts_and_on_each_host() {
        let target = [Scope::of_target("/", None, None)[0]];
        let hosts = ["a.example".to_owned(), "b.example".to_owned()];
        for (tags, count) in [(&[][..], 0), (&["a".to_owned()], 3), (&["a".to_owned(), "b".to_owned()], 6)] {
            let scopes = scopes_of(&target, &hosts, tags);
            let distinct: std::collections::HashSet<_> = scopes.iter().collect();
            assert_eq!((scopes.len(), distinct.len()), (count + 1, count + 1), "{tags:?}");
            assert!(scopes.contains(&target[0]) && tags.iter().all(|tag| scopes.contains(&Scope::tag(tag))));
        }
    }
}
