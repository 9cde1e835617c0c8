//! The site that a request to the example proxy selects. No request reads or fills an entry of
//! another site.

use crate::support::proxy::{Origin, Proxy, ReceivedAnswer};

const EVIL: &str = "evil.example";
const SHOP: &str = "shop.example";

async fn request_target(proxy: &Proxy, target: &str, lines: &str) -> ReceivedAnswer {
    proxy.send(format!("GET {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).await
}

/// Starts a proxy that has stored a page of each site.
async fn filled() -> (Proxy, Origin) {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    assert_eq!(proxy.get_from(SHOP, "/").await.text(), "page 1");
    assert_eq!(proxy.get_from(EVIL, "/").await.text(), "page 2");
    (proxy, origin)
}

/// Asserts that both sites still have their stored pages.
async fn assert_pages_unchanged(proxy: &Proxy, why: &str) {
    for (host, text) in [(SHOP, "page 1"), (EVIL, "page 2")] {
        let got = proxy.get_from(host, "/").await;
        assert_eq!((got.text(), got.is_hit()), (text, true), "{host} after {why}");
    }
}

#[tokio::test]
async fn each_site_has_its_own_entries() {
    let (proxy, origin) = filled().await;
    assert_pages_unchanged(&proxy, "nothing").await;
    let hosts: Vec<_> = origin.seen().iter().map(|seen| seen.all("host").concat()).collect();
    assert_eq!(hosts, [SHOP, EVIL]);
}

#[tokio::test]
async fn the_host_of_an_absolute_target_outranks_the_host_field() {
    let (proxy, _origin) = filled().await;
    let got = request_target(&proxy, "http://evil.example/", "Host: shop.example\r\n").await;
    assert_eq!((got.text(), got.is_hit()), ("page 2", true));
    let got = request_target(&proxy, "http://shop.example/", "Host: evil.example\r\n").await;
    assert_eq!((got.text(), got.is_hit()), ("page 1", true));
    assert_pages_unchanged(&proxy, "absolute targets").await;
}

#[tokio::test]
async fn an_absolute_target_fills_only_the_entry_of_its_host() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    assert_eq!(
        request_target(&proxy, "http://evil.example/", "Host: shop.example\r\n").await.text(),
        "page 1"
    );
    assert_eq!(
        request_target(&proxy, "http://shop.example/", "Host: evil.example\r\n").await.text(),
        "page 2"
    );
    let seen = origin.seen();
    assert_eq!((seen[0].line(), seen[0].all("host")), ("GET / HTTP/1.1", vec![EVIL]));
    assert_eq!((seen[1].line(), seen[1].all("host")), ("GET / HTTP/1.1", vec![SHOP]));
    assert_eq!(proxy.get_from(SHOP, "/").await.text(), "page 2");
    assert_eq!(proxy.get_from(EVIL, "/").await.text(), "page 1");
}

#[tokio::test]
async fn a_missing_repeated_or_invalid_host_is_refused() {
    let (proxy, origin) = filled().await;
    for lines in [
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: shop.example\r\nHost: shop.example\r\n",
        "Host: shop.example\r\nHost: evil.example\r\n",
        "Host: shop.example\r\nhost: evil.example\r\n",
        "Host: shop.example, evil.example\r\n",
        "Host: shop.example evil.example\r\n",
        "Host: evil.example@shop.example\r\n",
        "Host: shop.example@evil.example\r\n",
        "Host: shop.example@\r\n",
        "Host: shop.example:80@evil.example:80\r\n",
        "Host: shop.example/evil\r\n",
        "Host: shop.example?\r\n",
        "Host: shop.example#\r\n",
        "Host: shop.example\\evil\r\n",
        "Host: http://shop.example\r\n",
        "Host: shop.example:8x\r\n",
        "Host: shop.example:-1\r\n",
        "Host: shop.example:80:80\r\n",
        "Host: :80\r\n",
        "Host: [::1\r\n",
        "Host: sh\u{f6}p.example\r\n",
    ] {
        for target in ["/", "http://shop.example/"] {
            let got = request_target(&proxy, target, lines).await;
            assert_eq!((got.status(), got.text()), (400, ""), "{target} {lines:?}");
        }
    }
    assert_pages_unchanged(&proxy, "bad hosts").await;
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn targets_with_bad_authorities_are_refused() {
    let (proxy, origin) = filled().await;
    for target in ["http://", "http:///", "http://:80/", "http://@/", "http://shop.example:8x/", "//"] {
        let got = request_target(&proxy, target, "Host: evil.example\r\n").await;
        let is_own =
            got.status() == 200 && origin.seen().last().is_some_and(|seen| seen.all("host") == [EVIL]);
        assert!(got.status() == 400 || is_own, "{target}: {got:?}");
    }
    assert_pages_unchanged(&proxy, "bad targets").await;
}

/// RFC 9112 section 3.2.4: only OPTIONS has `*` as its target. The proxy accepts no schemes other
/// than `http` and `https`.
#[tokio::test]
async fn asterisk_and_foreign_scheme_targets_are_refused() {
    let (proxy, _origin) = filled().await;
    for target in ["*", "ftp://shop.example/", "ws://shop.example/"] {
        assert_eq!(request_target(&proxy, target, "Host: shop.example\r\n").await.status(), 400, "{target}");
    }
    assert_pages_unchanged(&proxy, "other targets").await;
}

#[tokio::test]
async fn userinfo_in_a_target_is_not_part_of_the_host() {
    let (proxy, origin) = filled().await;
    for target in ["http://shop.example@evil.example/", "http://shop.example:80@evil.example/"] {
        let got = request_target(&proxy, target, "Host: shop.example\r\n").await;
        assert_eq!((got.status(), got.text()), (200, "page 2"), "{target}");
    }
    let got = request_target(&proxy, "http://evil.example@shop.example/new", "Host: evil.example\r\n").await;
    assert_eq!(got.text(), "page 3");
    assert_eq!(origin.seen()[2].all("host"), [SHOP]);
    assert_pages_unchanged(&proxy, "user information").await;
    assert_eq!(proxy.get_from(SHOP, "/new").await.text(), "page 3");
    assert_eq!(proxy.get_from(EVIL, "/new").await.text(), "page 4");
}

#[tokio::test]
async fn other_spellings_of_a_host_are_forwarded_and_not_stored() {
    let (proxy, origin) = filled().await;
    for host in ["Shop.Example", "shop.example.", "shop.example:"] {
        for target in ["/".to_owned(), format!("http://{host}/")] {
            let got = request_target(&proxy, &target, &format!("Host: {host}\r\n")).await;
            assert_eq!(got.text(), format!("page {}", origin.count()), "{target} {host}");
            assert_eq!(got.cache(), "fwd=bypass; fwd-status=200; detail=host", "{host}");
            assert_eq!(origin.seen().last().map(|seen| seen.all("host") == [host]), Some(true), "{host}");
        }
    }
    assert_pages_unchanged(&proxy, "other spellings").await;
}

#[tokio::test]
async fn a_host_with_another_port_has_its_own_entries() {
    let (proxy, _origin) = filled().await;
    let shop = proxy.get_from("shop.example:8080", "/").await;
    assert_eq!((shop.text(), shop.is_hit()), ("page 3", false));
    for _ in 0..2 {
        assert!(["page 3", "page 4"].contains(&proxy.get_from("shop.example:80", "/").await.text()));
    }
    assert_pages_unchanged(&proxy, "ports").await;
    assert_eq!(proxy.get_from("shop.example:8080", "/").await.text(), "page 3");
}

#[tokio::test]
async fn fields_that_claim_another_host_select_other_entries() {
    let (proxy, _origin) = filled().await;
    for line in ["X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Original-URL: /evil"] {
        let got = request_target(&proxy, "/", &format!("Host: shop.example\r\n{line}\r\n")).await;
        assert!(!["page 1", "page 2"].contains(&got.text()), "{line}");
        assert_pages_unchanged(&proxy, line).await;
    }
}

#[tokio::test]
async fn a_target_that_looks_like_another_host_is_a_path() {
    let (proxy, origin) = filled().await;
    for target in ["//evil.example/", "/http://evil.example/", "/..//evil.example/", "/%2f%2fevil.example/"] {
        let got = request_target(&proxy, target, "Host: shop.example\r\n").await;
        assert_eq!(got.text(), format!("page {}", origin.count()), "{target}");
        let seen = origin.seen().pop().expect("one");
        assert_eq!((seen.line(), seen.all("host")), (&*format!("GET {target} HTTP/1.1"), vec![SHOP]));
    }
    assert_pages_unchanged(&proxy, "paths").await;
}

#[tokio::test]
async fn options_asterisk_is_forwarded() {
    let origin = Origin::start([]).await;
    let proxy = Proxy::over(&origin).await;
    let got = proxy.send("OPTIONS * HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(got.status(), 200);
    assert_eq!(origin.seen()[0].line(), "OPTIONS * HTTP/1.1");
}
