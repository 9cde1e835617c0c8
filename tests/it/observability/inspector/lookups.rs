//! Look-ups of one URL: `explain.json`.

use super::*;

async fn explain(service: &InspectorService, query: &str) -> Value {
    let answer = operator_get(service, &format!("/explain.json?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    json(&answer)
}

fn site_of(cache: &Cache) -> Stack {
    site_over(cache, origin(|_, call| numbered(&[("vary", "accept-language")], call)).0)
}

#[tokio::test]
async fn lookup_shows_the_decision_and_the_stored_response() {
    let cache = memory();
    let (service, stack) = (inspector(&cache), site_of(&cache));
    let before = explain(&service, "url=/a").await;
    assert_eq!((before["method"].as_str(), before["uri"].as_str()), (Some("GET"), Some("/a")));
    let layer = &before["layers"][0];
    assert_eq!((layer["layer"].as_str(), layer["is_hit"].as_bool()), (Some("site"), Some(false)));
    assert!(layer["stored"].is_null());
    for language in ["de", "en"] {
        send(&stack, get_with("/a", &[("host", "shop.example"), ("accept-language", language)])).await;
    }
    let after = explain(&service, "url=/a&header=Accept-Language:+de").await;
    let layer = &after["layers"][0];
    assert_eq!((layer["is_hit"].as_bool(), layer["variants"].as_u64()), (Some(true), Some(2)));
    assert_eq!(layer["variant_fields"], serde_json::json!(["accept-language"]));
    assert_eq!(
        (layer["stored"]["status"].as_u64(), layer["stored"]["body_bytes"].as_u64()),
        (Some(200), Some(1))
    );
    let selected = |at: usize| layer["stored_variants"][at]["selected_by"][0]["value"].as_str();
    assert_eq!((selected(0), selected(1), selected(2)), (Some("en"), Some("de"), None), "the newest first");
    assert_eq!(explain(&service, "url=/a&header=Accept-Language:+fr").await["layers"][0]["is_hit"], false);
    assert_eq!(explain(&service, "url=/a&header=Host:+blog.example").await["layers"][0]["variants"], 0);
    let url = "url=http://shop.example/a&header=Accept-Language:de";
    assert_eq!(explain(&service, url).await["layers"][0]["is_hit"], true);
}

#[tokio::test]
async fn lookup_by_post_is_the_same_and_needs_the_token() {
    let cache = memory();
    let (service, _stack) = (inspector(&cache), site_of(&cache));
    let got = explain(&service, "url=/a&header=Cookie:+sid%3D31d4").await;
    let posted = post(&service, "/explain.json", "url=/a&header=Cookie:+sid%3D31d4").await;
    assert_eq!(json(&posted), got);
    let without = operator_request("POST", "/explain.json", &[FORM], "url=/a");
    assert_eq!(send(&service, without).await.status, 403);
}

#[tokio::test]
async fn lookup_repeats_no_value_of_a_credential() {
    let cache = memory();
    let policy = policy().vary_on_cookies(["theme"]).credential_headers(["x-shop"]);
    let stack = crate::support::stacks::layered(&cache, policy, origin(|_, call| numbered(&[], call)).0);
    send(&stack, get("/a")).await;
    let service = inspector(&cache);
    for line in [
        "Cookie:+sid%3Ds3cret",
        "Cookie:+s3cret",
        "Cookie:+theme%3Ds3cret",
        "Authorization:+Bearer+s3cret",
        "X-Api-Key:+s3cret",
        "X-Shop:+s3cret",
        "X-Unknown:+s3cret",
    ] {
        let query = format!("url=/a&header={line}");
        let answers = [
            operator_get(&service, &format!("/explain.json?{query}")).await,
            post(&service, "/explain.json", &query).await,
        ];
        for answer in answers {
            assert_eq!(answer.status, 200);
            assert!(!answer.text().contains("s3cret"), "{line}: {}", answer.text());
            assert!(
                answer
                    .headers
                    .values()
                    .all(|value| !value.as_bytes().windows(6).any(|part| part == b"s3cret"))
            );
        }
    }
}

#[tokio::test]
async fn invalid_lookup_gets_a_400_that_repeats_nothing() {
    let service = inspector(&memory());
    for query in
        ["", "url=evil", "url=/a%0Ab", "url=/a&header=evil%0Ab:c", "url=/a&evil=1", "url=/&header=evil"]
    {
        let answer = operator_get(&service, &format!("/explain.json?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(!answer.text().contains("evil") && answer.header("evil").is_none(), "{query}");
    }
}

#[tokio::test]
async fn lookup_changes_nothing() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let (service, stack) = (inspector(&cache), site_over(&cache, inner));
    send(&stack, get_with("/a", &[("host", "shop.example")])).await;
    for method in ["GET", "HEAD", "POST", "DELETE", "PURGE"] {
        explain(&service, &format!("url=/a&method={method}")).await;
    }
    assert!(send(&stack, get_with("/a", &[("host", "shop.example")])).await.is_hit());
    assert_eq!(calls.count(), 1);
}
