//! What `Cache-Status` says of a response that is being stored.

use super::held;
use super::respond::with_ttl;
use crate::cache::{Cache, LastRecording};
use crate::clock::Moment;
use crate::entry::{Head, Reads, Selection};
use crate::key::CacheKey;
use crate::status::CacheStatus;
use http::{HeaderMap, Response};
use std::sync::Arc;

/// The status of a response that is being stored, as far as is known.
pub(super) struct Forecast {
    /// Of the request alone.
    status: CacheStatus,
    /// The key under which the last recording is remembered.
    key: CacheKey,
    fresh_until: Moment,
    response_time: Moment,
    /// The text of the key that the client is told, if it is.
    shown: Option<Arc<str>>,
}

impl Forecast {
    /// Creates the forecast for a response, which answers a request with these fields.
    pub(super) fn new(
        status: CacheStatus,
        (key, shown): (&CacheKey, Option<Arc<str>>),
        head: &Head,
        request: &HeaderMap,
        selection: &Selection,
    ) -> Self {
        let own = selection.own_key(key.as_ref(), head, request);
        let (fresh_until, response_time) = (head.fresh_until, head.response_time);
        Self { status, key: own.unwrap_or_else(|| key.clone()), fresh_until, response_time, shown }
    }

    /// Returns the status of the response: `stored` with its TTL, unless the last recording of its key was not stored.
    pub(super) fn status(&self, cache: &Cache, reads: Option<&Reads>) -> CacheStatus {
        // No longer than the values that it was made from.
        let mut until = self.fresh_until.min(reads.map_or(Moment::NEVER, Reads::until));
        match cache.last_recordings().get(self.key.as_ref(), cache.clock().now()) {
            Some(LastRecording::NotStored(why)) => return self.status.detail(why),
            Some(LastRecording::Shortened(lifetime)) => until = until.min(self.response_time.after(lifetime)),
            None => {}
        }
        with_ttl(self.status.stored(), until, self.response_time)
    }

    /// Corrects the status of a response whose body was read ahead, which may have ended its recording.
    pub(super) fn correct<B>(
        self,
        response: &mut Response<B>,
        said: CacheStatus,
        cache: &Cache,
        reads: Option<&Reads>,
    ) {
        let code = response.status();
        let (said, now) = (said.answered(code), self.status(cache, reads).answered(code));
        if said == now {
            return;
        }
        held::correct(response, now);
        said.replace(response.headers_mut(), now, self.shown.as_deref());
        if response.extensions().get() == Some(&said) {
            response.extensions_mut().insert(now);
        }
    }
}
