//! What listeners are told, with feature `tracing`.

use crate::support::*;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use tower_response_cache::{Invalidation, Ttl};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Writes all fields of all events of one thread down.
#[derive(Clone)]
struct Log(ThreadId, Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if std::thread::current().id() != self.0 {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.1.lock().expect("not poisoned").push(line.0);
    }
}

/// Row M10.
#[tokio::test]
async fn events_tell_what_the_cache_does_and_nothing_of_whom() {
    let log = Log(std::thread::current().id(), Arc::default());
    // For all threads: whether anybody listens to an event is settled where it is met first.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log.clone()))
        .expect("the first");
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    for request in [get("/secret"), get("/secret"), get_with("/secret", &[("cookie", "sid=secret")])] {
        send(&stack, request).await;
    }
    cache.set("secret", "secret", Ttl::Forever).await.expect("set");
    cache.invalidate(Invalidation::tag("secret").keep_stale()).await.expect("the store answers");
    let lines = log.1.lock().expect("not poisoned").clone();
    let told = |what: &str| lines.iter().filter(|line| line.contains(&format!("message={what}"))).count();
    for what in ["miss", "store", "hit", "forward", "set a value", "invalidate"] {
        assert_eq!(told(what), 1, "{what}: {lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:#?}");
}
