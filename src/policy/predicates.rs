//! Functions of the user that decide about single requests and responses.

use crate::key::RequestHead;
use http::{Extensions, HeaderName, request, response};
use std::fmt;
use std::sync::Arc;

type BypassPredicate = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
type StorePredicate = dyn Fn(RequestHead<'_>, &response::Parts) -> bool + Send + Sync;
type IdentityFunction = dyn Fn(RequestHead<'_>) -> Option<String> + Send + Sync;
type RefreshHook = dyn Fn(&mut request::Parts) + Send + Sync;
/// A function that returns `true` if a response counts as a failure of the service.
type FailurePredicate = dyn Fn(&response::Parts) -> bool + Send + Sync;
type ReportFunction = dyn Fn(&HeaderName) + Send + Sync;

/// The functions of one policy.
#[derive(Clone, Default)]
pub(crate) struct Predicates {
    pub(super) bypass: Vec<Arc<BypassPredicate>>,
    pub(super) store: Vec<Arc<StorePredicate>>,
    /// One function for each extension type that identifies a visitor: returns `true` if a request
    /// has such an extension.
    pub(super) extensions: Vec<fn(&Extensions) -> bool>,
    /// The name of the kind of ID, and the function that derives a visitor's ID.
    pub(super) identity: Option<(String, Arc<IdentityFunction>)>,
    pub(super) report: Option<Arc<ReportFunction>>,
    pub(super) failed: Option<Arc<FailurePredicate>>,
    pub(super) refresh: Vec<Arc<RefreshHook>>,
}

impl Predicates {
    /// Returns `true` if a request bypasses the cache.
    #[inline]
    pub(crate) fn bypasses(&self, request: RequestHead<'_>) -> bool {
        self.bypass.iter().any(|bypasses| bypasses(request))
    }

    /// Returns `true` if an extension of a request identifies the visitor.
    #[inline]
    pub(crate) fn extension_identifies(&self, request: &Extensions) -> bool {
        self.extensions.iter().any(|is_there| is_there(request))
    }

    /// Returns the number of extension types that identify a visitor.
    pub(crate) fn extension_count(&self) -> usize {
        self.extensions.len()
    }

    /// Returns `true` if [`admit`](Self::admit) needs the head of the request. The layer then keeps
    /// a copy of the head.
    pub(crate) fn need_request_head(&self) -> bool {
        !self.store.is_empty()
    }

    pub(crate) fn admit(&self, request: RequestHead<'_>, response: &response::Parts) -> bool {
        self.store.iter().all(|store| store(request, response))
    }

    /// Returns the name of the kind of ID by which the cache is partitioned.
    pub(crate) fn identity_name(&self) -> Option<&str> {
        self.identity.as_ref().map(|(name, _)| name.as_str())
    }

    #[inline]
    pub(crate) fn identity(&self, request: RequestHead<'_>) -> Option<String> {
        // An empty ID counts as none. Otherwise, all visitors with an empty ID would share entries.
        let (_, identity) = self.identity.as_ref()?;
        identity(request).filter(|identity| !identity.is_empty())
    }

    /// Returns `true` if the policy has functions that change background requests.
    pub(crate) fn has_refresh_hooks(&self) -> bool {
        !self.refresh.is_empty()
    }

    /// Calls the functions that change background requests.
    pub(crate) fn apply_refresh_hooks(&self, request: &mut request::Parts) {
        self.refresh.iter().for_each(|change| change(request));
    }

    pub(crate) fn has_report_function(&self) -> bool {
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
            .field("bypass", &self.bypass.len())
            .field("store", &self.store.len())
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}
