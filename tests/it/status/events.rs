//! The events of the feature `tracing`.

use crate::invalidation::failures::{FAULTS, begun, invalidation_causes};
use crate::status::not_stored::{
    not_stored_after_streaming, not_stored_by_its_head, not_stored_for_other_reasons,
    with_untracked_dependencies,
};
use crate::support::faulty::Fault;
use crate::support::stacks::settle;
use crate::support::*;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Mutex, Once};
use std::thread::ThreadId;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Invalidation, Ttl};
use tracing::field::{Field, Visit};
use tracing::span::{Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The fields of all events, each with the thread that recorded it.
static RECORDED_EVENTS: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

struct Log;

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!("{field}={value} ");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_record(&self, _: &Id, fields: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line("SPAN ".to_owned());
        fields.record(&mut line);
        RECORDED_EVENTS.lock().expect("not poisoned").push((std::thread::current().id(), line.0));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let mut line = Line(format!("{level} {target} "));
        event.record(&mut line);
        RECORDED_EVENTS.lock().expect("not poisoned").push((std::thread::current().id(), line.0));
    }
}

/// Clears the recorded events of this thread. The first call also sets the subscriber.
///
/// The subscriber is global: at the first use of an event, `tracing` caches for all threads whether
/// a subscriber wants the event.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Log)).expect("the first");
    });
    let own = std::thread::current().id();
    RECORDED_EVENTS.lock().expect("not poisoned").retain(|(thread, _)| *thread != own);
}

/// Returns the events of this thread.
pub(crate) fn recorded_events() -> Vec<String> {
    let own = std::thread::current().id();
    let all = RECORDED_EVENTS.lock().expect("not poisoned");
    all.iter().filter(|(thread, _)| *thread == own).map(|(_, line)| line.clone()).collect()
}

#[tokio::test]
async fn events_contain_no_query_key_value_or_cookie() {
    listen();
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    let lines = [("cookie", "sid=secret"), ("authorization", "Bearer secret"), ("x-api-key", "secret")];
    let mut requests = vec![get("/?secret"), get("/?secret")];
    requests.extend(lines.iter().map(|line| get_with("/", &[*line])));
    for request in requests {
        send(&stack, request).await;
    }
    cache.set("secret", "secret", Ttl::Forever).await.expect("set");
    assert_eq!(cache.invalidate(Invalidation::uri("/a?secret").soft()).await, Delivery::Delivered);
    let lines = recorded_events();
    let count = |what: &str| lines.iter().filter(|line| line.contains(&format!("message={what}"))).count();
    for (what, times) in [("answered", 5), ("store", 1), ("set a value", 1), ("invalidate", 1)] {
        assert_eq!(count(what), times, "{what}: {lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:#?}");
}

#[tokio::test]
async fn event_for_an_unreadable_value_reveals_nothing() {
    let cache = memory();
    cache.set("secret-key", "secret-value", Ttl::Forever).await.expect("set");
    cache.set_bytes("secret-bytes", "secret-value", Ttl::Forever).await.expect("set");
    listen();
    assert_eq!(cache.get::<u8>("secret-key").await.expect("read"), None);
    assert_eq!(cache.get::<u8>("secret-bytes").await.expect("read"), None);
    assert_eq!(cache.get_many::<u8, _>(["secret-key"]).await.expect("read").len(), 0);
    assert_eq!(cache.get_bytes("secret-key").await.expect("read"), None);
    let lines = recorded_events();
    assert_eq!(lines.iter().filter(|line| line.contains("message=a value can't be read as")).count(), 4);
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:?}");
    listen();
    assert_eq!(cache.get::<String>("secret-key").await.expect("read").as_deref(), Some("secret-value"));
    assert!(recorded_events().is_empty(), "a readable value records no event");
}

#[tokio::test(start_paused = true)]
async fn not_stored_events_have_the_detail_of_cache_status() {
    listen();
    let mut statuses = not_stored_by_its_head().await;
    statuses.extend(not_stored_for_other_reasons().await);
    statuses.extend(with_untracked_dependencies().await);
    statuses.extend(not_stored_after_streaming().await);
    let words = |lines: &[String]| -> BTreeSet<String> {
        let words = lines.iter().filter_map(|line| line.split("detail=").nth(1));
        words.filter_map(|word| word.split([' ', ';']).next()).map(str::to_owned).collect()
    };
    let mut events = recorded_events();
    // A `HEAD` miss is forwarded, and has no event `not stored`.
    events.retain(|line| line.contains("message=not stored") || line.contains("detail=head"));
    assert_eq!(words(&events), words(&statuses));
}

#[tokio::test(start_paused = true)]
async fn a_failed_automatic_invalidation_makes_an_event() {
    for (fault, (name, provoke)) in
        FAULTS.into_iter().flat_map(|fault| invalidation_causes().into_iter().map(move |way| (fault, way)))
    {
        listen();
        provoke(fault).await;
        settle().await;
        let failed =
            |line: &&String| line.starts_with("WARN") && line.contains("message=invalidation failed");
        assert_eq!(
            recorded_events().iter().filter(failed).count(),
            1,
            "{fault:?} {name}: {:#?}",
            recorded_events()
        );
    }
}

#[test]
fn an_invalidation_outside_a_runtime_makes_an_event() {
    listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let write = begun(Fault::CantInvalidate);
    let mut write = Box::pin(write);
    runtime.block_on(async { assert!(futures::poll!(&mut write).is_pending()) });
    drop(runtime);
    drop(write);
    assert!(
        recorded_events().iter().any(|line| line.contains("no tokio runtime")),
        "{:#?}",
        recorded_events()
    );
}
