//! Background refresh: fetches a new response while clients get the stale one (RFC 5861 section 3).

use super::forwarded_request::head_of;
use super::plan::{Fetch, FetchPlan, StoredEntry};
use crate::body::empty;
use crate::cache::{Cache, RefreshEnd, RefreshOutcome, UnkeyedFieldsDigest, UnstoredAction};
use crate::error::BoxError;
use crate::flight::{Chain, WorkPermit};
use crate::key::CacheKey;
use crate::serve::lookup::may_refresh;
use crate::serve::request::{
    CarriedFields, RequestFacts, RequestState, anonymize, nominated, nominated_fields, unkeyed_fields,
};
use crate::serve::span::in_span;
use crate::status::ForwardReason;
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tower::Service;

/// A permit to refresh one stored response, and the outcome of the refresh. Dropping this value
/// ends the refresh, and reports the outcome to the cache.
pub(in crate::serve) struct Refresh {
    cache: Cache,
    key: CacheKey,
    /// The root of a chain, since the refresh outlives the request that started it.
    chain: Arc<Chain>,
    outcome: RefreshOutcome,
    /// `true` if the next refresh of the key is to send keyed fields only.
    retries_keyed_only: bool,
    _permit: WorkPermit,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        let end = match self.outcome.is_settled() {
            true => RefreshEnd::Succeeded,
            false if self.retries_keyed_only => RefreshEnd::RetryKeyedOnly,
            false => RefreshEnd::Failed,
        };
        self.cache.end_refresh(self.key.as_ref(), end);
    }
}

/// The time limit of a refresh: all its attempts, with their bodies.
const MAX_DURATION: Duration = Duration::from_secs(60);

impl Refresh {
    pub(in crate::serve) fn new(cache: &Cache, key: CacheKey, permit: WorkPermit, chain: Arc<Chain>) -> Self {
        cache.begin_refresh();
        let outcome = RefreshOutcome::default();
        Self { cache: cache.clone(), key, chain, outcome, retries_keyed_only: false, _permit: permit }
    }

    /// Fetches in its own task, and reads the response body to the end. If unkeyed fields may have
    /// caused a failure, fetches once more without them.
    pub(in crate::serve) fn start<S, ReqBody, B>(
        self,
        state: RequestState,
        plan: FetchPlan,
        inner: S,
        request: Request<ReqBody>,
        carries: CarriedFields,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        tokio::spawn(in_span(async move {
            // Owned by the task, so that `Drop` reports the end of the refresh however the task
            // ends.
            let mut refresh = self;
            let work = refresh.run(state, plan, inner, request, carries);
            let _ = tokio::time::timeout(MAX_DURATION, work).await;
        }));
    }

    async fn run<S, ReqBody, B>(
        &mut self,
        state: RequestState,
        plan: FetchPlan,
        inner: S,
        request: Request<ReqBody>,
        carries: CarriedFields,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
        ReqBody: 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let facts = RequestFacts { forwarded: state.facts.forwarded, ..RequestFacts::default() };
        let state = RequestState { facts, chain: Arc::clone(&self.chain), ..state };
        let stored = plan.stored.clone();
        let plan = match plan.generation {
            Some(_) => plan,
            None => FetchPlan::without_flight(&state, ForwardReason::Stale.into(), stored.clone()).await,
        };
        let nominated = nominated_fields(&state, stored.as_ref().map(|stored| &*stored.response)).await;
        let (mut first, body) = request.into_parts();
        let bare_next = self.cache.is_keyed_only_next(self.key.as_ref());
        let carries = if bare_next { CarriedFields::KeyedOnly } else { carries };
        if !anonymize(&state.config.policy, &mut first, &state.parts, &nominated, carries) {
            return;
        }
        let mut bare = first.clone();
        let is_bare = carries == CarriedFields::KeyedOnly;
        if !is_bare
            && !anonymize(&state.config.policy, &mut bare, &state.parts, &nominated, CarriedFields::KeyedOnly)
        {
            return;
        }
        if bare.headers == first.headers {
            self.attempt(state, plan, inner, first, body, UnstoredAction::Remove).await;
            return;
        }
        // Reset after the second attempt. If the refresh fails earlier, or exceeds its time limit,
        // the next refresh sends keyed fields only.
        self.retries_keyed_only = true;
        self.attempt(state.clone(), plan, inner.clone(), first, body, UnstoredAction::Keep).await;
        if self.outcome.is_settled() {
            return;
        }
        // The first attempt has consumed the request body. If `empty` cannot create another one,
        // the next refresh makes the second attempt.
        let Some(body) = empty::<ReqBody>() else { return };
        let plan = FetchPlan::without_flight(&state, ForwardReason::Stale.into(), stored).await;
        self.attempt(state, plan, inner, bare, body, UnstoredAction::Remove).await;
        self.retries_keyed_only = false;
    }

    async fn attempt<S, ReqBody, B>(
        &self,
        state: RequestState,
        plan: FetchPlan,
        inner: S,
        mut parts: Parts,
        body: ReqBody,
        action: UnstoredAction,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let outcome = self.outcome.clone();
        let call = async move {
            // The hooks run in this future: if one panics, only the refresh fails.
            let policy = &state.config.policy;
            policy.predicates.apply_refresh_hooks(&mut parts);
            // If a hook has changed an input of the key parts, the response would not belong under
            // this key.
            if policy.key.parts((&parts).into()) != state.parts {
                return;
            }
            let fetch = Fetch::new(state, plan).with_action(action).in_background(outcome);
            if let (Ok(response), _) = fetch.run(inner, Request::from_parts(parts, body)).await {
                response.into_body().drain().await;
            }
        };
        // A panic counts as a failure, like a timeout.
        let _ = AssertUnwindSafe(call).catch_unwind().await;
    }
}

/// Returns the action on the stored response if the response to a visitor's request is not stored.
///
/// - If the request has only keyed fields, the stored response is removed.
/// - Otherwise, a background request with only keyed fields is sent if a permit is available. If
///   the response to that request is not stored either, the stored response is removed.
/// - If the cache cannot repeat the request in the background, the stored response is removed once
///   a response to a second visitor is not stored either.
///
/// Calls no function of the user.
pub(in crate::serve) fn unstored_action<S, ReqBody, B>(
    state: &RequestState,
    plan: &FetchPlan,
    inner: &S,
    request: &Request<ReqBody>,
) -> UnstoredAction
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Some(StoredEntry { response: stored, key }) = plan.stored.clone() else {
        return UnstoredAction::Remove;
    };
    let nominated = nominated(&stored);
    let mut unkeyed = unkeyed_fields(&state.config.policy, request.headers(), &nominated).peekable();
    if unkeyed.peek().is_none() {
        return UnstoredAction::Remove;
    }
    let may_ask = may_refresh(&state.config.policy, state.facts, request.headers(), &stored)
        && state.config.cache.allows_refreshes();
    let fields = UnkeyedFieldsDigest::of(unkeyed);
    let Some(body) = empty::<ReqBody>().filter(|_| may_ask) else {
        return UnstoredAction::AwaitAnother(fields);
    };
    let parts = head_of(request);
    let (state, inner) = (state.clone(), inner.clone());
    UnstoredAction::confirm(fields, move || {
        let cache = state.config.cache.clone();
        let has_runtime = tokio::runtime::Handle::try_current().is_ok();
        let Some(permit) = cache.confirmation_permit(key.as_ref()).filter(|_| has_runtime) else { return };
        let chain = Chain::root(state.key.clone());
        let refresh = Refresh::new(&cache, key.clone(), permit, chain);
        let request = Request::from_parts(parts, body);
        let stored = StoredEntry { response: stored, key };
        let plan = FetchPlan::new(None, ForwardReason::Stale.into(), Some(stored));
        refresh.start(state, plan, inner, request, CarriedFields::KeyedOnly);
    })
}
