//! Functions of the user that decide about single requests and responses.

use crate::key::RequestHead;
use http::{Extensions, HeaderName, request, response};
use std::fmt;
use std::sync::Arc;

type Skip = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
type StorePredicate = dyn Fn(RequestHead<'_>, &response::Parts) -> bool + Send + Sync;
type Identity = dyn Fn(RequestHead<'_>) -> Option<String> + Send + Sync;
type RefreshHook = dyn Fn(&mut request::Parts) + Send + Sync;
/// Returns `true` if a response counts as a failure of the service.
type Failed = dyn Fn(&response::Parts) -> bool + Send + Sync;
type Report = dyn Fn(&HeaderName) + Send + Sync;

/// The functions of one policy.
#[derive(Clone, Default)]
pub(crate) struct Predicates {
    pub(super) skip: Vec<Arc<Skip>>,
    pub(super) store: Vec<Arc<StorePredicate>>,
    /// Return `true` if an outer layer has left an extension that identifies the visitor.
    pub(super) extensions: Vec<fn(&Extensions) -> bool>,
    /// The name of the identity, and the function that derives it.
    pub(super) identity: Option<(String, Arc<Identity>)>,
    pub(super) report: Option<Arc<Report>>,
    pub(super) failed: Option<Arc<Failed>>,
    pub(super) refresh: Vec<Arc<RefreshHook>>,
}

impl Predicates {
    /// Returns `true` if a request bypasses the cache.
    #[inline]
    pub(crate) fn skips(&self, request: RequestHead<'_>) -> bool {
        self.skip.iter().any(|skip| skip(request))
    }

    /// Returns `true` if an extension of a request identifies the visitor.
    #[inline]
    pub(crate) fn identify(&self, request: &Extensions) -> bool {
        self.extensions.iter().any(|is_there| is_there(request))
    }

    /// Returns the number of extension types that identify a visitor.
    pub(crate) fn extensions(&self) -> usize {
        self.extensions.len()
    }

    /// Returns `true` if a predicate needs the request when its response arrives.
    pub(crate) fn look_at_responses(&self) -> bool {
        !self.store.is_empty()
    }

    pub(crate) fn stores(&self, request: RequestHead<'_>, response: &response::Parts) -> bool {
        self.store.iter().all(|store| store(request, response))
    }

    /// Returns the name of the identity by which the cache is partitioned.
    pub(crate) fn identity_name(&self) -> Option<&str> {
        self.identity.as_ref().map(|(name, _)| name.as_str())
    }

    #[inline]
    pub(crate) fn identity(&self, request: RequestHead<'_>) -> Option<String> {
        // An empty identity would be shared by many visitors.
        let (_, identity) = self.identity.as_ref()?;
        identity(request).filter(|identity| !identity.is_empty())
    }

    /// Returns `true` if the user changes background requests.
    pub(crate) fn prepare_refreshes(&self) -> bool {
        !self.refresh.is_empty()
    }

    /// Applies the user's changes to a background request.
    pub(crate) fn prepare_refresh(&self, request: &mut request::Parts) {
        self.refresh.iter().for_each(|change| change(request));
    }

    pub(crate) fn reports(&self) -> bool {
        self.report.is_some()
    }

    pub(crate) fn report(&self, name: &HeaderName) {
        if let Some(report) = &self.report {
            report(name);
        }
    }
}

impl fmt::Debug for Predicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predicates")
            .field("skip", &self.skip.len())
            .field("store", &self.store.len())
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}
