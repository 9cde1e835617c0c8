//! The options of [`PreconditionLayer`](super::PreconditionLayer).

use super::probe::Probe;
use super::write_locks::{Limits, WriteLocks};
use crate::rules::entity_tag::EntityTag;
use crate::rules::preconditions::Validators;
use http::request::Parts;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type ValidatorFunction<T> = Arc<dyn Fn(Parts) -> BoxedFuture<Option<T>> + Send + Sync>;

#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) etag: Option<ValidatorFunction<EntityTag>>,
    pub(super) last_modified: Option<ValidatorFunction<SystemTime>>,
    pub(super) required: bool,
    pub(super) locks: Arc<WriteLocks>,
    pub(super) limits: Limits,
    pub(super) probe: Arc<Probe>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("required", &self.required).finish_non_exhaustive()
    }
}

impl Options {
    /// Returns the current validators, as the functions of the user find them.
    ///
    /// The resource exists if a function finds a validator.
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
        Validators { etag, last_modified, base: None, exists }
    }
}
