//! A response that is made anew in the background, while others are answered with the stale one.

use super::action::{Action, FetchPlan};
use super::anonymize::{Carries, nominated};
use super::collapse::bypass;
use super::config::LayerConfig;
use super::fetch::Fetch;
use super::forwarded_request::head_of;
use super::inspect::RequestFacts;
use super::lookup::Lookup;
use super::request_state::RequestState;
use super::span::in_span;
use crate::body::empty;
use crate::cache::{Cache, RefreshEnd, RefreshOutcome, UnkeyedFields, UnstoredAction};
use crate::entry::StoredResponse;
use crate::error::BoxError;
use crate::flight::Chain;
use crate::flight::Role;
use crate::key::CacheKey;
use crate::status::{Detail, ForwardReason};
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

/// Leave to make one response anew. Dropped before that has come to anything, it counts as a failure.
pub(super) struct Refresh {
    cache: Cache,
    key: CacheKey,
    /// Without a parent: it outlives the request that led to it.
    chain: Arc<Chain>,
    settled: RefreshOutcome,
    /// The next refresh of the key carries keyed fields alone.
    retries_bare: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        let end = match self.settled.is_settled() {
            true => RefreshEnd::Answered,
            false if self.retries_bare => RefreshEnd::RetriesBare,
            false => RefreshEnd::Failed,
        };
        self.cache.refreshed(self.key.as_ref(), end);
    }
}

/// The longest time that a refresh takes: all that it tries, bodies included.
const LONGEST: Duration = Duration::from_secs(60);

impl LayerConfig {
    /// Tells whether a request may be answered with a response that is made anew behind its back: the
    /// new one is made without the request's credentials, so they must not matter.
    pub(super) fn may_refresh(
        &self,
        facts: RequestFacts,
        request: &HeaderMap,
        stored: &StoredResponse,
    ) -> bool {
        // Nor may what the page varies by, or is keyed by. What a cookie means to layers further out is still in the
        // request's extensions when it is taken off, so who has one waits.
        let nominated = stored.head().nominated.iter().map(|field| field.name());
        let varies = nominated.chain(&self.policy.key.headers).any(|name| self.is_personal(name));
        let counts = facts.personal
            || facts.authorization
            || facts.identified
            // Nobody would judge what a layer in between makes of the answer.
            || facts.is_extended
            || varies
            || self.policy.identifies_by_field(request);
        // There is a runtime to make it on.
        !counts && tokio::runtime::Handle::try_current().is_ok()
    }

    /// Returns leave to make a response anew, if not too many are.
    pub(super) fn leave_to_refresh(&self, key: &CacheKey) -> Option<OwnedSemaphorePermit> {
        self.cache.refresh_permit(key.as_ref())
    }
}

impl RequestState {
    /// Answers with what is stale, and has a new one made, unless somebody does that already.
    pub(super) async fn stale(
        &self,
        request: &HeaderMap,
        stored: Arc<StoredResponse>,
        variant: Option<CacheKey>,
    ) -> Action {
        let key = variant.unwrap_or_else(|| self.key.clone());
        let Some(leave) = self.config.leave_to_refresh(&key) else {
            return Action::Answer(stored, None);
        };
        let chain = Chain::root(self.key.clone());
        let leader = match self.join(&key, None, 0, &chain).await {
            Ok(Role::Leader(leader)) => leader,
            Ok(Role::Follower(_) | Role::Alone) => return Action::Answer(stored, None),
            Err(()) => return bypass(Detail::StoreFailed),
        };
        // Somebody may have made it between the look-up and the joining.
        let known = match self.look(request).await {
            Lookup::Hit(newer) if newer.head().fresh_until > stored.head().fresh_until => {
                leader.stored(Arc::clone(&newer));
                return Action::Answer(newer, None);
            }
            Lookup::Hit(known) => Some((known, key.clone())),
            Lookup::Stale { stored: known, variant } => self.place(Some(known), variant),
            // What was invalidated meanwhile is not asked about.
            Lookup::Miss { .. } | Lookup::Bypass(_) => None,
        };
        let call = FetchPlan::new(Some(leader.generation()), ForwardReason::Stale.into(), known);
        let call = FetchPlan { leader: Some(leader), ..call };
        Action::Refresh(stored, call, Refresh::new(&self.config.cache, key, leave, chain))
    }
}

impl Refresh {
    pub(super) fn new(cache: &Cache, key: CacheKey, permit: OwnedSemaphorePermit, chain: Arc<Chain>) -> Self {
        cache.begin_refresh();
        let settled = RefreshOutcome::default();
        Self { cache: cache.clone(), key, chain, settled, retries_bare: false, _permit: permit }
    }

    /// Calls the service in a task of its own, and reads the body of its response to the end. Where unkeyed fields may
    /// be to blame for a failure, it is called once more without them.
    pub(super) fn start<S, ReqBody, B>(
        self,
        state: RequestState,
        call: FetchPlan,
        inner: S,
        request: Request<ReqBody>,
        carries: Carries,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        tokio::spawn(in_span(async move {
            // Dropped with the task, however that ends.
            let mut refresh = self;
            let work = refresh.run(state, call, inner, request, carries);
            let _ = tokio::time::timeout(LONGEST, work).await;
        }));
    }

    async fn run<S, ReqBody, B>(
        &mut self,
        state: RequestState,
        call: FetchPlan,
        inner: S,
        request: Request<ReqBody>,
        carries: Carries,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
        ReqBody: 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let facts = RequestFacts { forwarded: state.facts.forwarded, ..RequestFacts::default() };
        let state = RequestState { facts, chain: Arc::clone(&self.chain), ..state };
        let stored = call.stored.clone();
        let call = match call.generation {
            Some(_) => call,
            None => state.call_alone(ForwardReason::Stale.into(), stored.clone()).await,
        };
        let nominated = state.nominated(stored.as_ref().map(|(stored, _)| &**stored)).await;
        let (mut first, body) = request.into_parts();
        let bare_next = self.cache.is_bare_next(self.key.as_ref());
        let carries = if bare_next { Carries::Keyed } else { carries };
        if !state.config.anonymize(&mut first, &state.parts, &nominated, carries) {
            return;
        }
        let mut bare = first.clone();
        let is_bare = carries == Carries::Keyed;
        if !is_bare && !state.config.anonymize(&mut bare, &state.parts, &nominated, Carries::Keyed) {
            return;
        }
        if bare.headers == first.headers {
            self.attempt(state, call, inner, first, body, UnstoredAction::Forget).await;
            return;
        }
        // If the time limit ends it, the next refresh begins with the bare request.
        self.retries_bare = true;
        self.attempt(state.clone(), call, inner.clone(), first, body, UnstoredAction::Keep).await;
        if self.settled.is_settled() {
            return;
        }
        // Else the body of the next request will do.
        let Some(body) = empty::<ReqBody>() else { return };
        let call = state.call_alone(ForwardReason::Stale.into(), stored).await;
        self.attempt(state, call, inner, bare, body, UnstoredAction::Forget).await;
        self.retries_bare = false;
    }

    async fn attempt<S, ReqBody, B>(
        &self,
        state: RequestState,
        call: FetchPlan,
        inner: S,
        mut parts: Parts,
        body: ReqBody,
        action: UnstoredAction,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let settled = self.settled.clone();
        let call = async move {
            // Here, so that a hook that panics costs no visitor an answer.
            let policy = &state.config.policy;
            policy.predicates.prepare_refresh(&mut parts);
            // The answer would be stored for other requests than those that get it.
            if policy.key.parts((&parts).into()) != state.parts {
                return;
            }
            let fetch = Fetch::new(state, call).with_action(action).in_background(settled);
            if let (Ok(response), _) = fetch.run(inner, Request::from_parts(parts, body)).await {
                response.into_body().drain().await;
            }
        };
        // What panics has failed, like what takes too long.
        let _ = AssertUnwindSafe(call).catch_unwind().await;
    }
}

/// Returns what becomes of the stored response if the answer to a visitor's request is not stored: a request that has no
/// more than keyed fields decides; any other leaves that to one that has no more, made in the background. If none can be
/// made, two visitors decide. Calls no function of the user.
pub(super) fn action<S, ReqBody, B>(
    state: &RequestState,
    call: &FetchPlan,
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
    let Some((stored, key)) = call.stored.clone() else { return UnstoredAction::Forget };
    let nominated = nominated(&stored);
    let mut unkeyed = state.config.unkeyed(request.headers(), &nominated).peekable();
    if unkeyed.peek().is_none() {
        return UnstoredAction::Forget;
    }
    let may_ask = state.config.may_refresh(state.facts, request.headers(), &stored)
        && state.config.cache.allows_refreshes();
    let fields = UnkeyedFields::of(unkeyed);
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
        let call = FetchPlan::new(None, ForwardReason::Stale.into(), Some((stored, key)));
        refresh.start(state, call, inner, request, Carries::Keyed);
    })
}
