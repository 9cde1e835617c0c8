//! Tests of the `Cache-Status` field, of the methods, and of the tables in `details.md`.

use super::{CACHE_STATUS, CacheStatus, Detail, ForwardReason, Reason};
use http::{HeaderMap, StatusCode};
use proptest::prelude::{any, prop_assert_eq, proptest};
use sfv::{BareItem, List, ListEntry, Parser};
use std::time::Duration;

fn written(status: CacheStatus, key: Option<&str>) -> String {
    status.to_value(key).to_str().expect("text").to_owned()
}

/// RFC 9211 section 2.
#[test]
fn members_contain_all_known_parameters() {
    let hit = CacheStatus::hit(Duration::from_secs(30));
    let stale = CacheStatus::stale_hit(Duration::from_secs(7));
    let miss = CacheStatus::forward(ForwardReason::UriMiss);
    let minute = Duration::from_secs(60);
    let revalidated = CacheStatus::forward(ForwardReason::Stale).with_response_code(StatusCode::NOT_MODIFIED);
    let table = [
        (hit, "hit; ttl=30"),
        (stale, "hit; ttl=-7; detail=stale"),
        (CacheStatus::hit(Duration::from_secs(u64::MAX)), "hit; ttl=999999999999999"),
        (miss.stored().ttl(minute), "fwd=uri-miss; stored; ttl=60"),
        (miss.collapsed(true).ttl(minute), "fwd=uri-miss; collapsed; ttl=60"),
        (miss.collapsed(false).detail(Detail::Private), "fwd=uri-miss; collapsed=?0; detail=private"),
        (
            revalidated.stored().ttl(minute).detail(Detail::Revalidated),
            "fwd=stale; fwd-status=304; stored; ttl=60; detail=revalidated",
        ),
        (
            CacheStatus::forward(Reason::bypass(Detail::Credential("x-api-key"))),
            "fwd=bypass; detail=x-api-key",
        ),
        (CacheStatus::refused(Detail::OnlyIfCached), "detail=only-if-cached"),
    ];
    for (status, parameters) in table {
        assert_eq!(written(status, None), format!("tower-response-cache; {parameters}"));
    }
}

#[test]
fn methods_return_the_parts_of_a_status() {
    let collapsed = CacheStatus::forward(ForwardReason::VaryMiss).collapsed(true).ttl(Duration::from_secs(9));
    assert!(!collapsed.is_hit() && collapsed.is_collapsed() && !collapsed.is_stored());
    assert_eq!(
        (collapsed.forward_reason(), collapsed.ttl_seconds()),
        (Some(ForwardReason::VaryMiss), Some(9))
    );
    let failed = CacheStatus::forward(ForwardReason::Stale)
        .with_response_code(StatusCode::SERVICE_UNAVAILABLE)
        .detail(Detail::StaleIfError);
    assert_eq!(failed.forward_status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(failed.detail_word(), Some("stale-if-error"));
    let refused = CacheStatus::refused(Detail::OnlyIfCached);
    assert_eq!((refused.is_hit(), refused.forward_reason()), (false, None));
}

/// RFC 9211 section 2, RFC 9651 section 4.2.
#[test]
fn status_follows_inner_members_unless_they_are_malformed() {
    let ours = "tower-response-cache; hit; ttl=1";
    let table: [(&[&str], &[&str]); 5] = [
        (&[], &[ours]),
        (&["Inner; hit"], &["Inner; hit", ours]),
        (
            &["Inner; fwd=miss, \"Next one\"; hit", "third"],
            &["Inner; fwd=miss, \"Next one\"; hit", "third", ours],
        ),
        (&["Inner; ; hit"], &[ours]),
        (&["Inner; hit", "HIT from cache 1 (x"], &[ours]),
    ];
    for (before, after) in table {
        let mut headers = HeaderMap::new();
        for line in before {
            headers.append(CACHE_STATUS, line.parse().expect("a value"));
        }
        CacheStatus::hit(Duration::from_secs(1)).write(&mut headers, None);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(lines, after, "{before:?}");
    }
}

/// Returns every value of `detail`, except [`Detail::Field`], whose name is not static.
///
/// The `match` has no wildcard. So a new variant does not compile until it is added to the `match`.
pub(super) fn all() -> Vec<Detail> {
    use Detail::*;
    let all = vec![
        Authorization,
        Body,
        Cookie,
        Credential("x-api-key"),
        Credentials,
        Expect,
        Forwarded,
        HandledByInner,
        Host,
        Identified,
        KeyLength,
        Loop,
        MethodOverride,
        SameName,
        Disabled,
        DryRun,
        Skipped,
        StoreFailed,
        UnknownHost,
        Upgrade,
        Invalidated,
        OnlyIfCached,
        Precondition,
        RequestMaxAge,
        RequestMinFresh,
        RequestNoCache,
        RequestNoStore,
        EncodedBr,
        EncodedDeflate,
        EncodedGzip,
        EncodedZstd,
        InvalidationQueued,
        OriginTimeout,
        Revalidated,
        Stale,
        StaleIfError,
        ContentEncoding,
        ContentLength,
        Cors,
        CutShort,
        Dependencies,
        EventStream,
        Head,
        Hint,
        HitForMiss,
        Mismatch,
        MustUnderstand,
        NoCache,
        NoLifetime,
        NoStore,
        Nonce,
        NotFresh,
        NoRoom,
        NotAdmitted,
        Partial,
        Predicate,
        Private,
        SetCookie,
        Status,
        Superseded,
        Tags,
        TooLarge,
        Trailers,
        Unkeyed,
        Variants,
        VaryAny,
        VaryOnCredential,
        VaryOnIgnored,
        VaryOnRemoved,
        ZeroTtl,
    ];
    assert!(all.iter().all(|detail| match detail {
        Authorization | Body | Cookie | Credential(_) | Credentials | Field(_) | Expect | Forwarded
        | HandledByInner | Host | Identified | KeyLength | Loop | MethodOverride | Disabled | DryRun
        | SameName | Skipped | StoreFailed | UnknownHost | Upgrade | Invalidated | OnlyIfCached
        | Precondition | RequestMaxAge | RequestMinFresh | RequestNoCache | RequestNoStore | EncodedBr
        | EncodedDeflate | EncodedGzip | EncodedZstd | InvalidationQueued | OriginTimeout | Revalidated
        | Stale | StaleIfError | ContentEncoding | ContentLength | Cors | CutShort | Dependencies
        | EventStream | Head | Hint | HitForMiss | Mismatch | MustUnderstand | NoCache | NoLifetime
        | NoStore | Nonce | NotFresh | NoRoom | NotAdmitted | Partial | Predicate | Private | SetCookie
        | Status | Superseded | Tags | TooLarge | Trailers | Unkeyed | Variants | VaryAny
        | VaryOnCredential | VaryOnIgnored | VaryOnRemoved | ZeroTtl => true,
    }));
    all
}

#[test]
fn every_detail_has_a_unique_word_and_a_table_row() {
    let mut words: Vec<_> = all().into_iter().map(Detail::as_str).collect();
    let table = include_str!("details.md");
    for word in &words {
        assert!(word.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()), "{word}");
        assert!(table.contains(&format!("`{word}`")), "{word} is not explained");
    }
    let count = words.len();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), count);
}

proptest! {
    #![proptest_config(crate::cases::cases())]

    /// RFC 9211 section 2, RFC 9651 section 3.1.
    #[test]
    fn written_status_parses_as_a_structured_field(
        key in any::<Option<String>>(), ttl: u64, stale: bool, which: usize, code in 100..1000_u16,
    ) {
        let ttl = Duration::from_secs(ttl);
        let status = CacheStatus::forward(ForwardReason::Stale).with_response_code(StatusCode::from_u16(code).expect("valid"));
        let status = if stale { status.stale_for(ttl) } else { status.ttl(ttl) };
        let detail = all()[which % all().len()];
        let text = written(status.stored().collapsed(stale).detail(detail), key.as_deref());
        let list: List = Parser::new(&text).parse().expect("a list");
        let [ListEntry::Item(item)] = &list[..] else { panic!("one member: {text}") };
        let parameter = |name: &str| item.params.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value);
        prop_assert_eq!(item.bare_item.as_token().map(|token| token.as_str()), Some("tower-response-cache"));
        prop_assert_eq!(parameter("stored"), Some(&BareItem::Boolean(true)));
        prop_assert_eq!(parameter("fwd-status").and_then(|status| status.as_integer()), Some(code.into()));
        prop_assert_eq!(parameter("detail").and_then(|word| Some(word.as_token()?.as_str())), Some(detail.as_str()));
        let key_length = parameter("key").and_then(|key| Some(key.as_string()?.as_str().chars().count()));
        prop_assert_eq!(key_length, key.map(|key| key.chars().count()));
    }
}
