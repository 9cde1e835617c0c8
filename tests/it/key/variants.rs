//! Variants: the nominated fields are compared over all their lines, and a URL can have several
//! variants.

use crate::support::rfc9111::{proxy, standing};
use crate::support::*;
use tower::{Layer, ServiceExt};
use tower_response_cache::{Policy, SiteCacheLayer};

fn by(vary: &'static [(&'static str, &'static str)]) -> (Stack, Calls) {
    site(policy(), move |_, call| numbered(vary, call))
}

#[tokio::test]
async fn a_url_can_have_several_variants() {
    let (stack, calls) = by(&[("vary", "Accept-Language")]);
    let languages = ["de", "en", "fr"];
    for _ in 0..3 {
        for (i, language) in languages.iter().enumerate() {
            let answer = send(&stack, get_with("/", &[("accept-language", language)])).await;
            assert_eq!(answer.text(), (i + 1).to_string());
        }
    }
    assert_eq!(calls.count(), 3);
}

type Lines = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn requests_that_differ_in_a_nominated_field_never_share() {
    let vary = &[("vary", "accept-language, X-A"), ("vary", "x-b")];
    // Pairs of requests that must not share.
    let table: &[(Lines, Lines)] = &[
        (&[], &[("x-a", "")]),
        (&[("x-a", "1")], &[]),
        (&[("x-a", "-,")], &[]),
        (&[("x-a", "x"), ("x-b", "yz")], &[("x-a", "xy"), ("x-b", "z")]),
        (&[("x-a", "1")], &[("x-b", "1")]),
        (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "1")]),
        (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")]),
        (&[("accept-language", "de, en")], &[("accept-language", "en, de")]),
        (&[("x-a", "de")], &[("x-a", "DE")]),
    ];
    for (first, second) in table {
        let (stack, _) = by(vary);
        assert!(!shares(&stack, get_with("/", first), get_with("/", second)).await, "{first:?} {second:?}");
        assert!(send(&stack, get_with("/", first)).await.is_hit(), "{first:?}");
        assert!(send(&stack, get_with("/", second)).await.is_hit(), "{second:?}");
    }
}

#[tokio::test]
async fn equivalent_languages_share_a_variant_under_rfc9111_only() {
    let lines: Lines = &[("vary", "accept-language"), ("cache-control", "max-age=60")];
    for (policy, shared) in [(Policy::rfc9111(), true), (Policy::app(), false)] {
        let (stack, _) = site(policy.cache_status(true), move |_, call| numbered(lines, call));
        let one = get_with("/", &[("accept-language", "de-AT, en;q=0.5")]);
        let other = get_with("/", &[("accept-language", " DE-at"), ("accept-language", "EN ;q=0.5,")]);
        assert_eq!(shares(&stack, one, other).await, shared);
    }
}

#[tokio::test]
async fn list_lines_are_joined_and_whitespace_is_ignored() {
    let (stack, _) = by(&[("vary", "x-a")]);
    let split = get_with("/", &[("x-a", "1"), ("x-a", " 2 ")]);
    assert!(shares(&stack, split, get_with("/", &[("x-a", "1, 2")])).await);
}

#[tokio::test]
async fn cookie_crumbs_of_http_2_are_compared_in_full() {
    let (cache, _) = timed();
    let (inner, _) = origin(|_, call| numbered(&[("vary", "cookie"), ("cache-control", "max-age=60")], call));
    let policy = tower_response_cache::Policy::rfc9111().cache_status(true);
    let stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    let alice = || get_with("/", &[("cookie", "lang=de"), ("cookie", "sid=alice")]);
    let bob = || get_with("/", &[("cookie", "lang=de"), ("cookie", "sid=bob")]);
    assert!(!shares(&stack, alice(), bob()).await);
    assert!(shares(&stack, alice(), get_with("/", &[("cookie", "lang=de; sid=alice")])).await);
}

#[tokio::test]
async fn a_response_without_vary_keeps_the_nominated_fields() {
    // Only the responses to requests with `x-name` have `Vary`.
    let (stack, _) = site(policy(), |request, call| {
        if request.headers().contains_key("x-name") {
            numbered(&[("vary", "x-name")], call)
        } else {
            numbered(&[], call)
        }
    });
    let user = |name| get_with("/", &[("x-name", name)]);
    assert_eq!(send(&stack, user("alice")).await.text(), "1");
    assert_eq!(send(&stack, get("/")).await.text(), "2");
    assert_eq!(send(&stack, user("alice")).await.text(), "1");
    assert_eq!(send(&stack, user("bob")).await.text(), "3");
    assert_eq!(send(&stack, get("/")).await.text(), "2");
}

#[tokio::test]
async fn fields_nominated_by_different_responses_are_all_compared() {
    // Only the responses to requests with `x-b` nominate `x-b`.
    let (stack, _) = site(policy(), |request, call| {
        let vary = if request.headers().contains_key("x-b") { "x-a, x-b" } else { "x-a" };
        numbered(&[("vary", vary)], call)
    });
    let visit = async |lines: &[(&str, &str)]| send(&stack, get_with("/", lines)).await.text().to_owned();
    assert_eq!(visit(&[("x-a", "1")]).await, "1");
    assert_eq!(visit(&[("x-a", "2"), ("x-b", "1")]).await, "2");
    assert_eq!(visit(&[("x-a", "2"), ("x-b", "2")]).await, "3");
    assert_eq!(visit(&[("x-a", "2"), ("x-b", "1")]).await, "2");
    assert_eq!(visit(&[("x-a", "2"), ("x-b", "2")]).await, "3");
}

#[tokio::test]
async fn variants_of_a_url_are_bounded_and_the_newest_stay() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[("vary", "x-a")], call));
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().max_variants(4).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    for i in 0..100 {
        send(&stack, get_with("/", &[("x-a", &i.to_string())])).await;
    }
    for i in 96..100 {
        assert!(send(&stack, get_with("/", &[("x-a", &i.to_string())])).await.is_hit(), "{i}");
    }
    assert_eq!(calls.count(), 100);
    assert!(!send(&stack, get_with("/", &[("x-a", "95")])).await.is_hit());
}

#[tokio::test]
async fn absent_empty_and_repeated_nominated_fields_are_compared() {
    type Lines = &'static [(&'static str, &'static str)];
    let table: [(&str, Lines, Lines, bool); 13] = [
        ("accept-language", &[], &[("accept-language", "")], false),
        ("accept-language", &[("accept-language", "")], &[("accept-language", ",")], true),
        (
            "accept-language",
            &[("accept-language", "de"), ("accept-language", "en")],
            &[("accept-language", "DE,en")],
            true,
        ),
        ("accept-language", &[("accept-language", "de, en")], &[("accept-language", "en, de")], false),
        ("accept-language", &[("accept-language", "de;q=0.5")], &[("accept-language", "de; q=0.5")], true),
        ("accept-language", &[("accept-language", "de;q=0.5")], &[("accept-language", "de;q=0.50")], false),
        ("accept-encoding", &[("accept-encoding", "gzip;q=0")], &[("accept-encoding", "gzip")], false),
        ("accept-encoding", &[("accept-encoding", "\"gzip")], &[("accept-encoding", "\"GZIP")], false),
        ("x-a, X-B", &[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], true),
        ("x-a, X-B", &[("x-a", "1")], &[("x-b", "1")], false),
        ("x-a", &[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")], false),
        ("x-a, *", &[], &[], false),
        ("x-a\u{20}x-b", &[], &[], false),
    ];
    for (vary, one, other, shared) in table {
        let (stack, ..) = standing(proxy(), move |_, call| {
            numbered(&[("cache-control", "max-age=60"), ("vary", vary)], call)
        });
        assert_eq!(
            shares(&stack, get_with("/", one), get_with("/", other)).await,
            shared,
            "{vary} {one:?} {other:?}"
        );
        assert_eq!(
            shares(&stack, get_with("/", other), get_with("/", other)).await,
            !vary.contains(['*', '\u{20}']) || vary == "x-a, X-B"
        );
    }
}
