//! Leaders: which concurrent requests collapse into one call of the handler, and which do not.

use crate::support::collapse::{all, page, settle, slow, start, start_many, status};
use crate::support::*;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Policy, SiteCacheLayer};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn five_hundred_requests_on_a_cold_key_make_one_call() {
    let (service, calls, cache) = slow(|call, _| async move {
        sleep(50 * MS).await;
        Ok(page(call))
    });
    let begun = Instant::now();
    let answers = all(start_many(&service, 500).await).await;
    assert!(answers.iter().all(|answer| answer.as_ref().expect("ok").text() == "1"));
    let collapsed = answers
        .iter()
        .flatten()
        .filter(|a| a.header("cache-status").expect("the field is set").contains("collapsed"));
    assert_eq!((collapsed.count(), calls.count(), cache.flights()), (499, 1, 0));
    assert!(begun.elapsed() < 100 * MS, "no follower waits for a second call");
}

#[tokio::test(start_paused = true)]
async fn with_collapse_off_every_request_is_forwarded() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(50 * MS).await;
            Ok::<_, io::Error>(page(call))
        }
    });
    let service = SiteCacheLayer::new(&memory())
        .policy(policy().collapse(false).build().expect("a policy"))
        .layer(inner);
    all(start_many(&service, 5).await).await;
    assert_eq!(calls.count(), 5);
}

tokio::task_local! {
    static VISITOR: &'static str;
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_only_in_the_task_of_its_request() {
    let (service, calls, _) = slow(|_, request| async move {
        let mine = request.headers()["x-visitor"].to_str().expect("text").to_owned();
        for _ in 0..5 {
            assert_eq!(VISITOR.get(), mine);
            sleep(10 * MS).await;
        }
        Ok(with_lines(&[("cache-control", "no-store")], mine))
    });
    let visit = |visitor: &'static str| {
        let call = service.clone().oneshot(get_with("/", &[("x-visitor", visitor)]));
        tokio::spawn(VISITOR.scope(visitor, async move { Ok(read(call.await?).await) }))
    };
    let leader = visit("alice");
    settle().await;
    let followers = ["bob", "carol", "dave"].map(visit);
    settle().await;
    // After the cancellation of the leader, a follower leads with its own request, in its own task.
    leader.abort();
    let answers = all(followers.into()).await;
    let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().expect("ok").text()).collect();
    assert_eq!((texts, calls.count()), (vec!["bob", "carol", "dave"], 4));
}

#[tokio::test(start_paused = true)]
async fn each_variant_of_a_cold_key_is_fetched_once() {
    let (service, calls, _) = slow(|_, request| async move {
        sleep(50 * MS).await;
        let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
        Ok(with_lines(&[("vary", "accept-language")], language))
    });
    let mut tasks = Vec::new();
    for i in 0..500 {
        let language = format!("l{}", i % 10);
        tasks.push((
            language.clone(),
            start(&service, get_with("/", &[("accept-language", &language)])).await,
        ));
    }
    for (language, task) in tasks {
        let answer = timeout(Duration::from_secs(60), task).await.expect("does not hang").expect("no panic");
        assert_eq!(answer.expect("ok").text(), language);
    }
    assert_eq!(calls.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn conditional_and_plain_requests_collapse_and_get_200() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        Ok(if request.headers().contains_key("if-none-match") { status(304, call) } else { page(call) })
    });
    let returning = || {
        get_with("/", &[("if-none-match", "\"x\""), ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT")])
    };
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(start(&service, returning()).await);
        tasks.push(start(&service, get("/")).await);
    }
    assert!(all(tasks).await.iter().flatten().all(|answer| answer.status == 200));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_cold_key_requests_with_if_match_do_not_collapse() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        Ok(if request.headers().contains_key("if-match") { status(412, call) } else { page(call) })
    });
    let conditional = start(&service, get_with("/", &[("if-match", "\"x\"")])).await;
    let plain = all(start_many(&service, 3).await).await;
    assert!(plain.iter().flatten().all(|answer| answer.status == 200));
    assert_eq!(conditional.await.expect("no panic").expect("ok").status, 412);
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_406_to_one_request_does_not_stop_collapsing() {
    let (service, calls, _) = slow(|call, request| async move {
        sleep(50 * MS).await;
        let lines = [("cache-control", "max-age=60"), ("vary", "accept")];
        let mut response = numbered(&lines, call);
        if request.headers().contains_key("accept") {
            *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        }
        Ok(response)
    });
    start(&service, get_with("/", &[("accept", "odd")])).await.await.expect("runs").expect("answers");
    all(start_many(&service, 100).await).await;
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn under_rfc9111_a_request_with_authorization_never_leads() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(50 * MS).await;
            Ok::<_, io::Error>(numbered(&[("cache-control", "max-age=60")], call))
        }
    });
    let service =
        SiteCacheLayer::new(&cache).policy(Policy::rfc9111().build().expect("a policy")).layer(inner);
    let authorized = start(&service, get_with("/", &[("authorization", "Basic bogus")])).await;
    let others = all(start_many(&service, 100).await).await;
    assert!(others.iter().flatten().all(|answer| answer.text() == "2"));
    authorized.await.expect("runs").expect("answers");
    start(&service, get_with("/x", &[("authorization", "Basic bogus")]))
        .await
        .await
        .expect("runs")
        .expect("answers");
    assert_eq!(cache.invalidate(tower_response_cache::Invalidation::all()).await, Delivery::Delivered);
    all(start_many(&service, 100).await).await;
    assert_eq!(calls.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn tenants_keyed_only_by_an_inner_layer_share_no_flight() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        async move {
            sleep(50 * MS).await;
            let tenant = request.headers()["x-tenant"].to_str().expect("text").to_owned();
            Ok::<_, io::Error>(Response::new(Full::from(tenant)))
        }
    });
    let by_tenant = policy().vary_by("tenant", |request| {
        request.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok()).map(str::to_owned)
    });
    let nested =
        SiteCacheLayer::new(&cache).policy(by_tenant.name("inner").build().expect("a policy")).layer(inner);
    let service = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).build().expect("a policy"))
        .layer(nested);
    for _round in 0..3 {
        let mut tasks = Vec::new();
        for i in 0..40 {
            let tenant = ["red", "blue"][i % 2];
            let call = service.clone().oneshot(get_with("/", &[("x-tenant", tenant)]));
            tasks.push((tenant, tokio::spawn(async move { read(call.await.expect("ok")).await })));
            settle().await;
        }
        for (tenant, task) in tasks {
            let answer =
                timeout(Duration::from_secs(60), task).await.expect("does not hang").expect("no panic");
            assert_eq!(answer.text(), tenant);
        }
    }
    assert_eq!((calls.count(), cache.flights()), (2, 0), "one call for each tenant, and no flight is left");
}
