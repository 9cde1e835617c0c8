//! Tests of reading and canonicalizing forwarded fields.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

fn headers(name: &str, lines: &[&[u8]]) -> HeaderMap {
    let name: HeaderName = name.parse().expect("a name");
    let line = |line: &&[u8]| HeaderValue::from_bytes(line).expect("a value");
    lines.iter().map(|value| (name.clone(), line(value))).collect()
}

fn of(name: &str, lines: &[&str]) -> Result<Option<String>, KeyError> {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let headers = headers(name, &lines);
    let field = ForwardedField::from_name(headers.keys().next().expect("a line")).expect("a field");
    field.canonical(&headers, &QueryKey::raw()).map(|value| value.map(Cow::into_owned))
}

#[test]
fn all_lists_each_field_at_its_number() {
    for (at, field) in ForwardedField::ALL.into_iter().enumerate() {
        assert_eq!((field as usize, ForwardedField::from_name(field.name())), (at, Some(field)));
    }
}

/// RFC 7239 section 4.
#[test]
fn only_protocol_and_host_of_forwarded_enter_the_key() {
    let table: &[(&[&str], Option<&str>)] = &[
        (&["for=192.0.2.1;proto=https"], Some("proto=https")),
        (&["For=\"[2001:db8::1]:4711\" ; Proto=HTTPS;by=203.0.113.43;"], Some("proto=https")),
        (&["for=192.0.2.1:80;proto=https;secret=x"], Some("proto=https")),
        (&["for=192.0.2.1"], None),
        (&["for=a", "for=b;by=c, for=\"a, b;c\""], None),
        (&["host=Shop.Example.:443;proto=https"], Some("proto=https;host=shop.example")),
        (&["host=\"shop.example:443\";proto=http"], Some("proto=http;host=\"shop.example:443\"")),
        (&["host=\"shop\\.example\""], Some("host=shop.example")),
        (&["host=\"[::0001]:81\""], Some("host=\"[::1]:81\"")),
        (&["for=a, for=b;proto=https", "host=b"], Some("proto=https, host=b")),
        (&["for=a,,for=b;proto=https;host=a"], Some("proto=https;host=a")),
        (&["host=a, for=b, for=c;host=d"], Some("host=a, for=unknown, host=d")),
    ];
    for (lines, expected) in table {
        assert_eq!(of("forwarded", lines).expect("read").as_deref(), *expected, "{lines:?}");
    }
}

#[test]
fn elements_of_all_lines_are_joined_in_order() {
    let table: &[(&str, &[&str], &str)] = &[
        ("x-forwarded-proto", &["HTTPS"], "https"),
        ("x-forwarded-proto", &["https , HTTP"], "https, http"),
        ("x-forwarded-proto", &["https", "", "http"], "https, http"),
        ("x-forwarded-scheme", &["Https"], "https"),
        ("x-forwarded-host", &["SHOP.example., b:08080"], "shop.example, b:8080"),
        ("x-forwarded-host", &["a", "b"], "a, b"),
        ("x-host", &["A:"], "a"),
        ("x-forwarded-port", &["0443"], "443"),
        ("x-forwarded-port", &["80", "8443"], "80, 8443"),
        ("x-forwarded-prefix", &["shop/"], "/shop"),
        ("x-forwarded-prefix", &["//a", "/b/c/, /"], "/a, /b/c"),
    ];
    for (name, lines, expected) in table {
        assert_eq!(of(name, lines).expect("read").as_deref(), Some(*expected), "{name}: {lines:?}");
    }
    assert_eq!(of("x-forwarded-prefix", &["/"]), Ok(None), "no prefix");
}

#[test]
fn a_default_port_is_left_out_if_the_scheme_is_known() {
    for (scheme, host, expected) in
        [("https", "a:443, b:80", "a, b:80"), ("HTTP", "a:80", "a"), ("https, http", "a:443", "a:443")]
    {
        let mut all = headers("x-forwarded-host", &[host.as_bytes()]);
        all.extend(headers("x-forwarded-proto", &[scheme.as_bytes()]));
        let canonical = ForwardedField::XForwardedHost.canonical(&all, &QueryKey::raw());
        assert_eq!(canonical.expect("read").as_deref(), Some(expected), "{scheme}");
    }
}

#[test]
fn a_url_is_canonical_with_the_query_of_the_key() {
    let table = [
        ("/a?b=1", "/a?b=1"),
        ("/A%2f", "/A%2f"),
        ("HTTPS://Shop.Example:443/a?x", "https://shop.example/a?x"),
        ("https://shop.example", "https://shop.example/"),
        ("/a?#b", "/a?"),
    ];
    for (value, expected) in table {
        assert_eq!(of("x-original-url", &[value]).expect("read").as_deref(), Some(expected), "{value}");
    }
    let tracked = headers("x-rewrite-url", &[b"/a?utm_source=x&b=1"]);
    let canonical = ForwardedField::XRewriteUrl.canonical(&tracked, &QueryKey::without_tracking());
    assert_eq!(canonical.expect("read").as_deref(), Some("/a?b=1"));
}

#[test]
fn an_element_that_cannot_be_read_is_an_error() {
    let table: &[(&str, &[&[&str]])] = &[
        (
            "forwarded",
            &[
                &[""],
                &["shop.example"],
                &["proto"],
                &["proto="],
                &["=https"],
                &["proto = https"],
                &["proto=https;proto=http"],
                &["proto=\"https"],
                &["proto=\"https\"x"],
                &["proto=ht tps"],
                &["host=a b"],
                &["host=me@a"],
                &["host=\"a/b\""],
                &["for=a", "host="],
            ],
        ),
        (
            "x-forwarded-host",
            &[&[""], &[" , "], &["a b"], &["me@a"], &["a/b"], &["a", "b:x"], &["caf\u{e9}"]],
        ),
        ("x-host", &[&[""], &["a?b"]]),
        ("x-forwarded-proto", &[&[""], &["https://"], &["1"], &["https", "a b"]]),
        ("x-forwarded-scheme", &[&[""], &["a/b"]]),
        ("x-forwarded-port", &[&[""], &["0"], &["65536"], &["-1"], &["+80"], &["80", "x"]]),
        ("x-forwarded-prefix", &[&[""], &["/a?b"], &["/a#b"], &["/a b"], &["/\""], &["/\\a"]]),
        (
            "x-original-url",
            &[&[""], &["a/b"], &["shop.example"], &["/a b"], &["/a", "/a"], &["http://me@a/"], &["*"]],
        ),
        ("x-rewrite-url", &[&[""], &["http://"], &["mailto:a"]]),
    ];
    for (name, values) in table {
        for lines in *values {
            assert_eq!(of(name, lines), Err(KeyError::Forwarded), "{name}: {lines:?}");
        }
    }
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let part = prop::sample::select(vec![
        "for=a",
        "proto=https",
        "HTTPS",
        "host=",
        "Shop.Example",
        "a",
        ":443",
        ":081",
        "\"",
        "\\",
        ";",
        ",",
        " ",
        "/",
        "?",
        "[::1]",
        "http://",
        "by=_x",
        "=",
        ".",
    ]);
    let line = prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat());
    prop::collection::vec(line, 1..3)
}

proptest! {
    #![proptest_config(crate::cases::cases())]

    /// An inner cache layer reads the canonical value that an outer one has written.
    #[test]
    fn canonicalization_is_idempotent(lines in texts(), at in 0..ForwardedField::ALL.len()) {
        let field = ForwardedField::ALL[at];
        let name = field.name().as_str();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        if let Ok(Some(canonical)) = of(name, &lines) {
            prop_assert_eq!(of(name, &[&canonical]), Ok(Some(canonical)));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        line in any::<Vec<u8>>(),
        at in 0..ForwardedField::ALL.len(),
    ) {
        let field = ForwardedField::ALL[at];
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            let headers: HeaderMap = [(field.name().clone(), value)].into_iter().collect();
            let _ = (field.canonical(&headers, &QueryKey::sorted()), field.hosts(&headers));
        }
    }
}
