//! The page in a real browser.

use super::chromium::Chromium;
use super::*;
use axum::Router;
use axum::extract::Path;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json as value;
use tower_response_cache::{Policy, SiteCacheLayer};

/// Serves cached pages, and an inspector beside them. Returns the address.
async fn serve(cache: &Cache) -> String {
    let page = async |Path(name): Path<String>| match name.as_str() {
        "account" => ([(CACHE_CONTROL, "private")], "mine").into_response(),
        _ => "a page with text. ".repeat(100).into_response(),
    };
    let policy = Policy::app().default_ttl(MINUTE).cache_status(true).build().expect("a policy");
    let app = Router::new()
        .route("/pages/{name}", get(page))
        .layer(SiteCacheLayer::new(cache).policy(policy))
        .nest_service("/_cache", inspector(cache));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Requests a page of the site in the browser. Returns its `Cache-Status`.
fn request_page(browser: &mut Chromium, path: &str) -> String {
    let fetch = format!(
        "fetch({}).then((response) => response.text().then(() => response.headers.get('cache-status')))",
        value!(path)
    );
    browser.evaluate(&fetch).as_str().expect("a status").to_owned()
}

/// Answers the question of the open dialog.
fn answer_dialog(browser: &mut Chromium, button: &str) {
    browser.wait_for("document.querySelector('#confirm').open");
    browser.click(button);
    browser.wait_for("!document.querySelector('#confirm').open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_works_in_chromium() {
    let cache =
        Cache::builder(memory_store(32 << 20)).namespace("shop").top_paths(20).build().expect("valid");
    let address = serve(&cache).await;
    let visit = move || {
        if let Some(mut browser) = Chromium::start() {
            visit_as_stranger(&mut browser, &address);
            let fields = value!({ "headers": { OPERATOR.0: OPERATOR.1 } });
            browser.call("Network.setExtraHTTPHeaders", &fields);
            browser.problems();
            visit_numbers(&mut browser, &address);
            visit_lookup(&mut browser);
            visit_purge(&mut browser);
            visit_switch(&mut browser, &cache);
            save_picture(&mut browser);
            assert_eq!(browser.problems(), Vec::<Value>::new());
            let urls = browser.requested_urls();
            assert!(urls.iter().all(|url| url.starts_with(&address) || url.starts_with("data:")), "{urls:?}");
            browser.call("Network.setExtraHTTPHeaders", &value!({ "headers": {} }));
            visit_as_stranger(&mut browser, &address);
        }
    };
    tokio::task::spawn_blocking(visit).await.expect("the browser's steps");
}

fn visit_as_stranger(browser: &mut Chromium, address: &str) {
    for path in ["/_cache", "/_cache/", "/_cache/inspector.js", "/_cache/stats.json", "/_cache/token.json"] {
        assert_eq!(browser.open(&format!("{address}{path}")), 404, "{path}");
        assert!(!browser.text("body").contains("shop"), "{path}");
    }
}

fn visit_numbers(browser: &mut Chromium, address: &str) {
    assert_eq!(browser.open(&format!("{address}/_cache")), 200);
    assert_eq!(browser.evaluate("location.pathname"), "/_cache/");
    browser.wait_for("document.querySelector('#namespace').textContent === 'shop'");
    assert_eq!(browser.problems(), Vec::<Value>::new());
    assert_eq!(browser.text("#requests tbody"), "none");
    for path in ["/pages/a", "/pages/a", "/pages/a", "/pages/a", "/pages/account", "/pages/%3Cscript%3E"] {
        request_page(browser, path);
    }
    // The page reads the numbers again at intervals, without a click.
    browser.wait_for("document.querySelector('#requests tbody td:nth-child(3)')?.textContent === '6'");
    let cells = browser
        .evaluate("[...document.querySelectorAll('#requests tbody td')].map((cell) => cell.textContent)");
    assert_eq!(cells, value!(["site", "50.0 %", "6", "3", "0", "0", "3", "0", "0", "0"]));
    assert!(browser.text("#ratios").contains("50.0 %"));
    assert_eq!(browser.text("#not-stored"), "private1");
    assert!(browser.text("#period").contains("since the inspector was created"));
    assert!(browser.text("#paths tbody").contains("/pages/%3Cscript%3E"));
    assert!(browser.text("#store").contains("Circuit breakerclosed"));
}

fn visit_lookup(browser: &mut Chromium) {
    browser.fill("#explain [name=url]", "/pages/a");
    browser.fill("#explain [name=headers]", "Accept-Language: de\n");
    browser.click("#explain [type=submit]");
    browser.wait_for("document.querySelector('#explanation h3')?.textContent === 'site: hit'");
    assert!(browser.text("#explanation").contains("Stored responsestatus 200"));
    browser.fill("#explain [name=headers]", "Cookie: sid=s3cret");
    browser.click("#explain [type=submit]");
    browser.wait_for("document.querySelector('#explanation h3')?.textContent === 'site: no hit'");
    let explanation = browser.text("#explanation");
    assert!(explanation.contains("cookie sid") && !explanation.contains("s3cret"), "{explanation}");
}

fn visit_purge(browser: &mut Chromium) {
    browser.fill("#purge [name=target]", "/pages/a");
    browser.click("#purge [type=submit]");
    answer_dialog(browser, "#no");
    assert!(request_page(browser, "/pages/a").contains("; hit"), "the answer is no");
    browser.click("#purge [type=submit]");
    answer_dialog(browser, "#yes");
    browser.wait_for("document.querySelector('#result').textContent === 'Purged: path /pages/a.'");
    assert!(request_page(browser, "/pages/a").contains("detail=invalidated"));

    let tag = "<img src=x onerror=alert(1)>";
    browser.fill("#purge [name=kind]", "tag");
    browser.fill("#purge [name=target]", tag);
    browser.click("#purge [type=submit]");
    answer_dialog(browser, "#yes");
    browser.wait_for("document.querySelector('#result').textContent.startsWith('Purged: tag')");
    assert!(browser.text("#result").contains(tag));
    assert_eq!(browser.evaluate("document.images.length"), 0);
}

fn visit_switch(browser: &mut Chromium, cache: &Cache) {
    for (question, is_on) in [("#no", true), ("#yes", false), ("#yes", true)] {
        browser.click("#switch");
        answer_dialog(browser, question);
        let state = if is_on { "The cache is on." } else { "The cache is off." };
        browser.wait_for(&format!("document.querySelector('#state').textContent === {}", value!(state)));
        assert_eq!(cache.is_enabled(), is_on);
    }
}

/// Saves the picture of the guide in the file that the environment variable `INSPECTOR_PICTURE`
/// names, encoded with base64.
fn save_picture(browser: &mut Chromium) {
    let Some(file) = std::env::var_os("INSPECTOR_PICTURE") else { return };
    for number in 0..900 {
        let pages = ["vanilla", "mint", "vanilla", "mango", "mint", "vanilla", "mango", "report"];
        let name = if number % 67 == 0 { "account" } else { pages[number % 8] };
        request_page(browser, &format!("/pages/{name}"));
    }
    browser.evaluate("document.cookie = 'sid=31d4; path=/pages'");
    for _ in 0..40 {
        request_page(browser, "/pages/vanilla");
    }
    browser.evaluate("document.cookie = 'sid=; path=/pages; max-age=0'");
    browser.fill("#purge [name=target]", "/pages/mint");
    browser.evaluate("document.querySelector('#purge').elements.kind.value = 'path'");
    browser.fill("#explain [name=url]", "/pages/vanilla");
    browser.fill("#explain [name=headers]", "Accept-Language: de");
    browser.click("#explain [type=submit]");
    browser.wait_for("document.querySelector('#explanation h3')?.textContent === 'site: hit'");
    browser.evaluate("update().then(() => scrollTo(0, 0))");
    for _ in 0..2 {
        // At the new width, the page has another height.
        let height = browser.evaluate("document.body.scrollHeight");
        let size = value!({ "width": 1000, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", &size);
    }
    let picture = browser.call("Page.captureScreenshot", &value!({ "format": "webp", "quality": 35 }));
    std::fs::write(file, picture["data"].as_str().expect("base64")).expect("written");
}
