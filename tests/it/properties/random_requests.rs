//! Random sequences of requests to an origin without faults. Each hit is checked by its own fields:
//! it is fresh, has the variant and the validators of its body, is newer than the last
//! invalidation, and belongs to no other visitor.

use crate::support::rfc9111::{SECOND, date, field, proxy, with_status};
use crate::support::*;
use http::{Request, Response};
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Invalidation, SiteCacheLayer};

#[derive(Debug, Clone, Copy)]
struct Origin {
    control: usize,
    cdn: usize,
    tag: u8,
    dated: bool,
    modified: bool,
    varies: u8,
    status: u8,
    length: bool,
    personal: bool,
    age: u8,
    cookie: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Ask {
        method: u8,
        a: Option<u8>,
        directives: usize,
        visitor: Option<u8>,
        field: u8,
        own: u8,
        origin: Origin,
    },
    Advance(u16),
    Invalidate(bool),
    Change,
    /// Sends the next two requests concurrently. The second call of the service takes longer than
    /// the first if the value is `true`, and the first takes longer otherwise.
    Both(bool),
}

const CONTROLS: [&str; 16] = [
    "",
    "max-age=60",
    "max-age=10",
    "s-maxage=30, max-age=5",
    "max-age=0",
    "no-cache",
    "no-store",
    "private, max-age=60",
    "max-age=60, must-revalidate",
    "max-age=20, stale-while-revalidate=20",
    "max-age=20, stale-if-error=40",
    "public",
    "max-age=60, private=\"x-p\"",
    "max-age=60, no-store, must-understand",
    "max-age=60, no-cache=\"x-p\"",
    "max-age=x",
];
const CDN: [&str; 6] = ["", "", "max-age=15", "no-store", "max-age=100, must-revalidate", "max-age=\"1\""];
const DIRECTIVES: [&str; 11] = [
    "",
    "",
    "",
    "no-cache",
    "max-age=10",
    "min-fresh=5",
    "max-stale=20",
    "max-stale",
    "only-if-cached",
    "only-if-cached, max-stale=5",
    "no-store",
];

fn origins() -> impl Strategy<Value = Origin> {
    let one = (0..CONTROLS.len(), 0..CDN.len(), 0..3_u8, any::<bool>(), any::<bool>(), 0..3_u8);
    let two = (prop_oneof![6 => Just(0_u8), 1 => 1..4_u8], any::<bool>(), prop::bool::weighted(0.2));
    let three = (prop_oneof![4 => Just(0_u8), 1 => 1..5_u8], prop::bool::weighted(0.1));
    (one, two, three).prop_map(
        |((control, cdn, tag, dated, modified, varies), (status, length, personal), (age, cookie))| Origin {
            control,
            cdn,
            tag,
            dated,
            modified,
            varies,
            status,
            length,
            personal,
            age,
            cookie,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (
        prop_oneof![8 => Just(0_u8), 3 => Just(1_u8), 1 => Just(2_u8), 1 => Just(3_u8)],
        prop_oneof![Just(None), (0..2_u8).prop_map(Some)],
        0..DIRECTIVES.len(),
        prop_oneof![3 => Just(None), 1 => (0..2_u8).prop_map(Some)],
        0..3_u8,
        prop_oneof![5 => Just(0_u8), 1 => 1..4_u8],
        origins(),
    );
    let ask = ask.prop_map(|(method, a, directives, visitor, field, own, origin)| Step::Ask {
        method,
        a,
        directives,
        visitor,
        field,
        own,
        origin,
    });
    let step = prop_oneof![
        12 => ask,
        5 => (1..40_u16).prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Invalidate),
        2 => Just(Step::Change),
        4 => any::<bool>().prop_map(Step::Both),
    ];
    proptest::collection::vec(step, 1..25)
}

#[derive(Debug, Clone, Copy)]
struct World {
    origin: Origin,
    version: u64,
    now: i64,
    call: usize,
}

fn body(version: u64, a: &str, visitor: &str) -> String {
    format!("v={version} a={a} visitor={visitor} {}", "x".repeat(version as usize))
}

fn modified(label: &str) -> String {
    let parts: Vec<_> = label.split('/').collect();
    let version: i64 = parts[0].parse().expect("a version");
    let of = |names: [&str; 4], part: &str| names.iter().position(|n| *n == part).expect("known") as i64;
    date(
        -20_000
            + 100 * version
            + of(["-", "none", "0", "1"], parts[1])
            + 10 * of(["-", "u0", "u1", ""], parts[2]),
    )
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/").trim_matches('"')
}

fn answer(world: World, request: &Request<Body>) -> Response<Body> {
    let World { origin, version, now, call } = world;
    let a = if origin.varies == 0 {
        "-"
    } else {
        request.headers().get("x-a").map_or("none", |a| a.to_str().expect("text"))
    };
    let user =
        ["cookie", "authorization", "x-api-key"].iter().map(|n| field(request, n)).find(|v| !v.is_empty());
    let visitor = user.filter(|_| origin.personal).unwrap_or("-");
    let text = body(version, a, visitor);
    let label = format!("{version}/{a}/{visitor}");
    let mut lines: Vec<(&str, String)> = vec![("x-call", call.to_string()), ("x-p", "secret".into())];
    // A personal response has no directive that permits sharing.
    let control = match visitor {
        "-" => CONTROLS[origin.control],
        _ => ["", "private, max-age=60", "no-store"][origin.control % 3],
    };
    if !control.is_empty() {
        lines.push(("cache-control", control.into()));
    }
    if !CDN[origin.cdn].is_empty() && visitor == "-" {
        lines.push(("cdn-cache-control", CDN[origin.cdn].into()));
    }
    match origin.tag {
        1 => lines.push(("etag", format!("\"{label}\""))),
        2 => lines.push(("etag", format!("W/\"{label}\""))),
        _ => {}
    }
    if origin.modified {
        lines.push(("last-modified", modified(&label)));
    }
    if origin.dated {
        lines.push(("date", date(now)));
    }
    if origin.age > 0 {
        lines.push(("age", origin.age.to_string()));
    }
    if origin.cookie {
        lines.push(("set-cookie", "a=1".into()));
    }
    match origin.varies {
        1 => lines.push(("vary", "x-a".into())),
        2 => lines.push(("vary", "X-A, accept-language".into())),
        _ => {}
    }
    let is_head = request.method() == "HEAD";
    if origin.length {
        lines.push(("content-length", text.len().to_string()));
    }
    if request.method() == "POST" && origin.status == 0 {
        lines.push(("content-location", "/p".into()));
    }
    let status = match origin.status {
        1 => 404,
        2 => 503,
        3 => 410,
        _ => 200,
    };
    let reads = request.method() == "GET" || is_head;
    let tag_given = field(request, "if-none-match");
    let since = field(request, "if-modified-since");
    let has_it = match tag_given {
        "" => {
            !since.is_empty()
                && origin.modified
                && httpdate::parse_http_date(&modified(&label)).expect("a date")
                    <= httpdate::parse_http_date(since).expect("a date")
        }
        given => origin.tag > 0 && opaque(given) == label,
    };
    if status != 200 {
        lines.retain(|(name, _)| !matches!(*name, "etag" | "last-modified"));
    }
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if reads && status == 200 && has_it {
        let lines: Vec<_> = lines.into_iter().filter(|(name, _)| *name != "content-length").collect();
        return with_status(304, with_lines(&lines, ""));
    }
    let response = with_lines(&lines, if is_head { String::new() } else { text });
    with_status(status, response)
}

/// Returns the lifetime of a response in seconds, explicit or heuristic, and its directives.
fn lifetime(answer: &Answer) -> (Option<i64>, String) {
    let cdn = answer.header("cdn-cache-control").filter(|cdn| !cdn.is_empty());
    let control = cdn.or(answer.header("cache-control")).unwrap_or_default().to_owned();
    let seconds = |name: &str| {
        control.split(", ").find_map(|d| d.strip_prefix(name)).map(|value| value.parse::<i64>().unwrap_or(0))
    };
    let explicit = seconds("s-maxage=").or_else(|| seconds("max-age="));
    let guessed = answer.header("last-modified").map(|modified| {
        let at = |value: &str| httpdate::parse_http_date(value).expect("a date");
        let date = at(answer.header("date").expect("a date"));
        date.duration_since(at(modified)).unwrap_or_default().as_secs() as i64 / 10
    });
    (explicit.or(guessed), control)
}

fn check(
    answer: &Answer,
    sent: &str,
    method: u8,
    a: Option<u8>,
    visitor: Option<&str>,
    gone: usize,
    own: i64,
) -> Result<(), String> {
    let status = answer.header("cache-status").unwrap_or_default().to_owned();
    let collapsed = status.contains("; collapsed;");
    let hit = status.contains("; hit") || collapsed;
    let complete = matches!(answer.status.as_u16(), 200 | 203);
    let partial = answer.status == 206;
    let fail = |what: &str| Err(format!("{what}: {answer:?}"));
    if complete && method == 0 {
        let text = answer.text();
        let part = |name: &str| text.split(' ').find_map(|p| p.strip_prefix(name)).unwrap_or_default();
        let label = format!("{}/{}/{}", part("v="), part("a="), part("visitor="));
        if let Some(tag) = answer.header("etag")
            && opaque(tag).contains('/')
            && opaque(tag) != label
        {
            return fail("the `ETag` of another body");
        }
        part("v=").parse::<u64>().map_err(|_| format!("no page: {answer:?}"))?;
        if let Some(lm) = answer.header("last-modified")
            && lm != modified(&label)
        {
            return fail("the `Last-Modified` of another body");
        }
        let own = part("visitor=");
        if own != "-" && visitor != Some(own) {
            return fail("another visitor's page");
        }
        let sent = a.map_or("none".to_owned(), |a| a.to_string());
        if answer.header("vary").is_some() && part("a=") != "-" && part("a=") != sent {
            return fail("another variant");
        }
        if let Some(length) = answer.header("content-length")
            && length != text.len().to_string()
        {
            return fail("a wrong `Content-Length`");
        }
    }
    if method == 1
        && hit
        && complete
        && let Some(tag) = answer.header("etag").filter(|tag| opaque(tag).contains('/'))
    {
        let parts: Vec<_> = opaque(tag).split('/').collect();
        let text = body(parts[0].parse().expect("a version"), parts[1], parts[2]);
        if answer.header("content-length").is_some_and(|length| length != text.len().to_string()) {
            return fail("the `Content-Length` of another body");
        }
    }
    if hit && answer.headers.contains_key("set-cookie") {
        return fail("a hit with `Set-Cookie`");
    }
    if hit && (complete || partial) {
        let stale = status.contains("detail=stale");
        let age: i64 = answer.header("age").ok_or("no `Age`")?.parse().map_err(|_| "not a number")?;
        let (life, control) = lifetime(answer);
        let has = |name: &str| control.split(", ").any(|d| d == name);
        let seconds = |text: &str, name: &str| {
            text.split(", ").find_map(|d| d.strip_prefix(name)).and_then(|v| v.parse::<i64>().ok())
        };
        // A follower may get its leader's response even if the response is `no-cache` or already
        // stale.
        if collapsed && (has("no-cache") || life.is_some_and(|life| age >= life)) {
            return Ok(());
        }
        let Some(life) = life else { return fail("a hit without a lifetime") };
        if has("no-cache") || has("private") || (has("no-store") && !has("must-understand")) {
            return fail("a hit that must not be reused");
        }
        if control.contains("=\"x-p\"") && answer.headers.contains_key("x-p") {
            return fail("a hit with a field that is private or `no-cache`");
        }
        if age >= life {
            let window = seconds(&control, "stale-while-revalidate=").unwrap_or(own);
            let taken = match sent {
                "max-stale" => i64::MAX,
                sent => seconds(sent, "max-stale=").unwrap_or(-1),
            };
            let strict = has("must-revalidate") || control.contains("s-maxage");
            if !stale || strict || (age - life > taken && age - life >= window) {
                return fail("stale without permission");
            }
        }
        if (!collapsed && sent.contains("no-cache"))
            || seconds(sent, "max-age=").is_some_and(|most| age > most)
        {
            return fail("older than the request permits");
        }
        if seconds(sent, "min-fresh=").is_some_and(|least| life - age < least) {
            return fail("not fresh for `min-fresh`");
        }
        if !stale {
            let call: usize =
                answer.header("x-call").ok_or("no `X-Call`")?.parse().map_err(|_| "not a number")?;
            if call <= gone {
                return fail("older than an invalidation");
            }
        }
    }
    Ok(())
}

struct SentRequest {
    request: Request<Body>,
    method: u8,
    a: Option<u8>,
    directives: usize,
    user: Option<String>,
    origin: Origin,
}

async fn walk(policy: PolicyBuilder, own_window: i64, varies: u8, steps: Vec<Step>) -> Result<(), String> {
    let origin = Origin {
        control: 0,
        cdn: 0,
        tag: 0,
        dated: false,
        modified: false,
        varies: 0,
        status: 0,
        length: false,
        personal: false,
        age: 0,
        cookie: false,
    };
    let world = Arc::new(Mutex::new(World { origin, version: 1, now: 0, call: 0 }));
    let (cache, manual) = timed();
    let theirs = Arc::clone(&world);
    let calls = Calls::default();
    let inner = service_fn(move |request: Request<Body>| {
        let mut world = theirs.lock().expect("no panic");
        world.call = calls.next();
        let own = request.extensions().get::<(Origin, u64)>().copied();
        let (origin, delay) = own.unwrap_or((world.origin, 0));
        let response = answer(World { origin, ..*world }, &request);
        async move {
            if delay > 0 {
                tokio::time::sleep(SECOND * delay as u32).await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    let mut both: Option<bool> = None;
    let mut first: Option<SentRequest> = None;
    let mut gone = 0;
    for step in steps {
        match step {
            Step::Advance(by) => {
                manual.advance(SECOND * u32::from(by));
                world.lock().expect("no panic").now += i64::from(by);
            }
            Step::Invalidate(soft) => {
                let what = Invalidation::path("/p");
                let what = if soft { what.soft() } else { what };
                assert_eq!(cache.invalidate(what).await, Delivery::Delivered);
                gone = world.lock().expect("no panic").call;
            }
            Step::Change => world.lock().expect("no panic").version += 1,
            Step::Both(swapped) => both = Some(swapped),
            Step::Ask { method, a, directives, visitor, field, own, origin } => {
                let origin = Origin { varies, ..origin };
                let before = {
                    let mut world = world.lock().expect("no panic");
                    if method > 1 && both.is_none() {
                        world.version += 1;
                    }
                    *world
                };
                let mut lines: Vec<(&str, String)> = Vec::new();
                if let Some(a) = a {
                    lines.push(("x-a", a.to_string()));
                }
                if !DIRECTIVES[directives].is_empty() {
                    lines.push(("cache-control", DIRECTIVES[directives].into()));
                }
                let name = ["cookie", "authorization", "x-api-key"][usize::from(field)];
                let user = visitor.map(|visitor| format!("u{visitor}"));
                if let Some(user) = &user {
                    lines.push((name, user.clone()));
                }
                match own {
                    1 => lines.push(("if-none-match", format!("\"{}/-/-\"", before.version))),
                    2 => lines.push(("range", "bytes=0-3".into())),
                    3 => lines.push(("if-modified-since", modified(&format!("{}/-/-", before.version)))),
                    _ => {}
                }
                let lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let name = ["GET", "HEAD", "POST", "PUT"][usize::from(method)];
                let request = request(name, "/p", &lines);
                let sent = SentRequest { request, method, a, directives, user, origin };
                let together = match (both, first.take()) {
                    (Some(_), None) if method < 2 => {
                        first = Some(sent);
                        continue;
                    }
                    (_, Some(other)) => vec![other, sent],
                    (_, None) => vec![sent],
                };
                let two = together.len() == 2;
                let swapped = both.take().unwrap_or_default();
                let answers = together.iter().enumerate().map(|(at, sent)| {
                    let mut request = Request::new(Body::default());
                    *request.method_mut() = sent.request.method().clone();
                    *request.uri_mut() = sent.request.uri().clone();
                    *request.headers_mut() = sent.request.headers().clone();
                    let delay: u64 = if two { if (at == 0) != swapped { 2 } else { 1 } } else { 0 };
                    request.extensions_mut().insert((sent.origin, delay));
                    send(&stack, request)
                });
                let answers = futures::future::join_all(answers).await;
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                for (sent, answer) in together.iter().zip(&answers) {
                    let SentRequest { method, a, directives, user, .. } = sent;
                    if *method < 2 {
                        check(
                            answer,
                            DIRECTIVES[*directives],
                            *method,
                            *a,
                            user.as_deref(),
                            gone,
                            own_window,
                        )?;
                        let after = world.lock().expect("no panic").call;
                        if !two
                            && DIRECTIVES[*directives].starts_with("only")
                            && after != before.call
                            && !answer.header("cache-status").unwrap_or_default().contains("; hit")
                        {
                            return Err(format!("forwarded despite `only-if-cached`: {answer:?}"));
                        }
                    } else if answer.status.is_success() {
                        // The response to the write may be stored, and the write does not invalidate
                        // it. Only the responses of earlier calls are invalid.
                        gone = before.call;
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::support::cases(200))]
    #[test]
    fn hits_are_valid_by_their_own_fields(varies in 0..3_u8, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let walked = runtime.block_on(walk(proxy(), 0, varies, steps));
        prop_assert_eq!(walked, Ok(()));
    }

    #[test]
    fn hits_are_valid_by_their_own_fields_with_options_on(at in 0..4_usize, varies in 0..3_u8, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let (policy, window) = match at {
            0 => (proxy().etags(true), 0),
            1 => (proxy().stale_while_revalidate(15 * SECOND).stale_if_error(15 * SECOND), 15),
            2 => (proxy().collapse(false).early_refresh(5.0), 0),
            _ => (proxy().complete_after_disconnect(30 * SECOND).origin_timeout(20 * SECOND), 0),
        };
        let walked = runtime.block_on(walk(policy, window, varies, steps));
        prop_assert_eq!(walked, Ok(()));
    }
}
