//! The options of `ConditionLayer`, and its time limits.

use super::condition::ConditionLayer;
use super::probe::Probe;
use super::write_locks::WriteLocks;
use crate::rules::entity_tag::EntityTag;
use crate::rules::preconditions::Validators;
use http::request::Parts;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Finds<T> = Arc<dyn Fn(Parts) -> BoxedFuture<Option<T>> + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) etag: Option<Finds<EntityTag>>,
    pub(super) last_modified: Option<Finds<SystemTime>>,
    pub(super) required: bool,
    pub(super) turns: Arc<WriteLocks>,
    pub(super) limits: Limits,
    pub(super) probe: Arc<Probe>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("required", &self.required).finish_non_exhaustive()
    }
}

impl Options {
    /// Returns the validators that the functions find.
    pub(super) async fn find(&self, parts: &Parts) -> Validators {
        let etag = match &self.etag {
            Some(find) => find(parts.clone()).await,
            None => None,
        };
        let last_modified = match &self.last_modified {
            Some(find) => find(parts.clone()).await,
            None => None,
        };
        let exists = etag.is_some() || last_modified.is_some();
        Validators { etag, last_modified, exists }
    }
}

/// The time limits of turns; `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) wait: Option<Duration>,
    pub(super) hold: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wait: Some(Duration::from_secs(10)), hold: Some(Duration::from_secs(30)) }
    }
}

impl<V> ConditionLayer<V> {
    /// Sets how long a write waits for earlier writes to the same path, 10 seconds by default. Then it is answered with
    /// 503 (Service Unavailable) and `Retry-After`, without the handler. `None` is no limit.
    ///
    /// At most 100 requests wait for one path; others are answered with 503 at once. Outside a tokio runtime there is no
    /// limit in time.
    pub fn wait_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.wait = limit.into();
        self
    }

    /// Sets how long a write may keep others waiting, 30 seconds by default, counted from the evaluation of its
    /// precondition. A write that takes longer *while another one waits* is answered with 408 (Request Timeout), and its
    /// handler's future is dropped before the next write begins. `None` is no limit.
    ///
    /// Work that the handler has detached (`tokio::spawn`, `spawn_blocking`) is not stopped: it may still commit, and the
    /// next write does not see it. Compare the version there too. Cache layers around this one take a 408 for a write
    /// whose outcome is unknown, and invalidate its path.
    ///
    /// A write that keeps nobody waiting is not limited: for that, use a time limit inside this layer. Outside a tokio
    /// runtime there is no limit.
    pub fn hold_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.hold = limit.into();
        self
    }
}
