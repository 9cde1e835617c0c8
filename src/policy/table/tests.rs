//! Tests of the format of policy tables.

use super::*;
use crate::policy::{Policy, Ttl};
use std::time::Duration;

fn table(entries: &str) -> Result<PolicyTable, String> {
    serde_json::from_str(&format!(r#"{{ "entries": [{entries}] }}"#)).map_err(|error| error.to_string())
}

fn valid(entries: &str) -> PolicyTable {
    table(entries).expect(entries)
}

#[test]
fn durations_are_seconds_or_have_a_unit() {
    let cases = [
        ("90", Some(90_000)),
        (r#""500ms""#, Some(500)),
        (r#""90s""#, Some(90_000)),
        (r#""10m""#, Some(600_000)),
        (r#""2h""#, Some(7_200_000)),
        (r#""7d""#, Some(604_800_000)),
        ("0", Some(0)),
        (r#""90""#, None),
        (r#""-1s""#, None),
        (r#""+1s""#, None),
        (r#""1 s""#, None),
        (r#""s""#, None),
        (r#""99999999999999999999d""#, None),
        (r#""forever""#, None),
        ("-1", None),
        ("1.5", None),
        ("true", None),
        ("null", None),
        ("[1]", None),
    ];
    for (written, expected) in cases {
        let read = table(&format!(r#"{{ "client_max_age": {written} }}"#));
        match expected {
            None => {
                let message = read.expect_err(written);
                assert!(message.contains("entry 1 (all requests): field `client_max_age`"), "{message}");
            }
            Some(millis) => {
                let read = read.expect(written);
                let mut policy = Policy::app().build().expect("a policy");
                read.entries[0].apply(&mut policy);
                assert_eq!(policy.client_max_age, Some(Duration::from_millis(millis)), "{written}");
            }
        }
    }
    assert_eq!(valid(r#"{ "ttl": "forever" }"#).entries[0].ttl(), Some(Ttl::Forever));
}

#[test]
fn error_names_the_invalid_entry_and_field() {
    let cases = [
        (r#"{ "ttl": 1, "tll": 1 }"#, "entry 1 (all requests): unknown field `tll`"),
        (r#"{ "layer": 7 }"#, "entry 1 (all requests): field `layer`: expected a string"),
        (r#"{ "path": "blog" }"#, r#"entry 1 (path "blog"): field `path`: expected a path that begins"#),
        (r#"{ "path": "/*/x" }"#, "field `path`: `*` is permitted at the end only"),
        (r#"{ "path": "/x?y" }"#, "field `path`: expected a path without query"),
        (r#"{ "enabled": "yes" }"#, "field `enabled`: expected true or false"),
        (r#"{ "ttl": 1, "ttl": 2 }"#, "field `ttl` occurs twice"),
        (r#"{ "layer": "a", "query": "raw" }"#, r#"entry 1 (layer "a"): field `query`: would change keys"#),
        (r#"{ "ttl": 1, "default_ttl": 1 }"#, "field `default_ttl` contradicts `ttl`"),
        (r#"{ "enabled": false, "stale_if_error": 1 }"#, "field `enabled` = false contradicts"),
        (r#"{ "enabled": false, "dry_run": true }"#, "field `dry_run` contradicts `enabled`"),
        (
            r#"{ "path": "/a/*", "ttl": 1 }, { "layer": "l", "path": "/a/b*", "ttl": 2 }"#,
            r#"entry 2 (layer "l", path "/a/b*"): entry 1 applies to all of its requests"#,
        ),
        (
            r#"{ "path": "/caf%C3%A9*", "ttl": 1 }, { "path": "/café/x", "ttl": 2 }"#,
            r#"entry 2 (path "/café/x"): entry 1 applies to all of its requests"#,
        ),
        (r#"{ "ttl": 1 }, { "path": "/", "ttl": 1 }"#, "entry 2 (path \"/\"): entry 1 applies"),
    ];
    for (entries, expected) in cases {
        let message = table(entries).expect_err(entries);
        assert!(message.contains(expected), "{message}");
    }
    let unknown = serde_json::from_str::<PolicyTable>(r#"{ "entries": [], "entry": [] }"#);
    assert!(unknown.expect_err("an unknown field").to_string().contains("unknown field `entry`"));
    let many = vec![r#"{ "ttl": 1 }"#; MAX_ENTRIES + 1].join(",");
    assert!(table(&many).expect_err("too many").contains("at most 1024"));
}

#[test]
fn first_matching_entry_applies() {
    let table = valid(
        r#"{ "path": "/a/b", "ttl": 1 }, { "path": "/a/*", "layer": "blog", "ttl": 2 },
           { "layer": "blog", "ttl": 3 }, { "path": "/a*", "ttl": 4 }"#,
    );
    let cases = [
        ("site", "/a/b", Some(1)),
        ("blog", "/a/b", Some(1)),
        ("blog", "/a/c", Some(2)),
        ("blog", "/a/", Some(2)),
        ("blog", "/a", Some(3)),
        ("site", "/a/c", Some(4)),
        ("site", "/ab", Some(4)),
        ("site", "/", None),
    ];
    for (layer, path, expected) in cases {
        assert_eq!(table.find(layer, path).map(|(number, _)| number), expected, "{layer} {path}");
    }
}

#[test]
fn paths_are_compared_without_percent_encoding() {
    let table = valid(
        r#"{ "path": "/café/*", "ttl": 1 }, { "path": "/checkout/*", "ttl": 2 },
           { "path": "/%7Eann", "ttl": 3 }, { "path": "/a%2A", "ttl": 4 }, { "path": "/50%", "ttl": 5 }"#,
    );
    let cases = [
        ("/caf%C3%A9/menu", Some(1)),
        ("/caf%c3%a9/menu", Some(1)),
        ("/%63heckout/x", Some(2)),
        ("/checkout%2Fx", Some(2)),
        ("/~ann", Some(3)),
        ("/a*", Some(4)),
        ("/ab", None),
        ("/50%", Some(5)),
        ("/cafe/menu", None),
    ];
    for (path, expected) in cases {
        assert_eq!(table.find("site", path).map(|(number, _)| number), expected, "{path}");
    }
}

#[test]
fn applied_entry_keeps_options_that_it_does_not_set() {
    let mut policy = Policy::app()
        .default_ttl(Duration::from_secs(60))
        .stale_if_error(Duration::from_secs(5))
        .build()
        .expect("a policy");
    valid(r#"{ "client_max_age": 7, "stale_while_revalidate": 8 }"#).entries[0].apply(&mut policy);
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
    assert_eq!(policy.default_ttl, Ttl::For(Duration::from_secs(60)));
    assert_eq!(seconds(policy.client_max_age), Some(7));
    assert_eq!((seconds(policy.stale.while_revalidate), seconds(policy.stale.if_error)), (Some(8), Some(5)));
}
