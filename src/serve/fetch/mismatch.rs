//! A 304 for another representation than the stored one (RFC 9111 section 4.3.4).

use super::forwarded_request::ForwardedRequest;
use super::plan::{Fetch, StoredEntry};
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, RefreshOutcome};
use crate::entry::Dependencies;
use crate::marks::restrictions;
use crate::status::Detail;
use http::{Extensions, Response, StatusCode};

impl Fetch {
    /// Answers as if the service had failed: with the stored response if
    /// [`stale_on_failure`](Self::stale_on_failure) returns it, otherwise with a 502.
    ///
    /// Later fetches with this stored response are unconditional, except background refreshes: see
    /// [`is_mismatched`](Self::is_mismatched).
    pub(in crate::serve) async fn answer_mismatch<B>(
        mut self,
        validated: &Extensions,
        forwarded: &ForwardedRequest,
        reads: Option<Dependencies>,
    ) -> (Response<ResponseBody<B>>, AnswerDependencies) {
        let usable = self.stale_on_failure(forwarded).await;
        let cache = &self.state.config.cache.clone();
        if let Some(StoredEntry { response, key }) = &self.plan.stored {
            cache.note_mismatch(key.as_ref(), response);
        }
        if self.take_outdated(StatusCode::OK).is_some_and(|outdated| outdated.handle_not_stored(cache)) {
            self.background.iter().for_each(RefreshOutcome::settle);
        }
        let (marks, given) = (restrictions(validated), StatusCode::NOT_MODIFIED);
        if let Some(stale) = usable {
            let inherited = AnswerDependencies::from(&*stale).with(reads);
            return (self.answer_with_stale(stale, forwarded, Some(given), marks), inherited);
        }
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        *response.version_mut() = forwarded.version;
        *response.extensions_mut() = marks;
        self.state.config.note_not_stored(Detail::Mismatch);
        let status = self.status.with_response_code(given).detail(Detail::Mismatch);
        self.end_failed();
        forwarded.outgoing.clone().with_status(status).apply(&mut response);
        (response, AnswerDependencies::none_added().with(reads))
    }

    /// Returns `true` if this request must be unconditional, because an earlier 304 did not match
    /// the stored response.
    pub(in crate::serve) fn is_mismatched(&self) -> bool {
        // A background refresh stays conditional.
        let stored =
            self.plan.stored.as_ref().filter(|_| self.plan.stale.is_some() && self.background.is_none());
        let cache = &self.state.config.cache;
        stored.is_some_and(|StoredEntry { response, key }| cache.is_mismatched(key.as_ref(), response))
    }
}
