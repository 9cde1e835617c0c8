//! What the two presets decide differently about a request or a stored response.

use super::{Policy, Sharing};
use crate::rules::cache_control::RequestDirectives;
use http::HeaderMap;
use std::time::Duration;

/// How long a stale response with a validator stays in the store, for revalidation.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long a stale response without a validator stays, for requests with `max-stale`.
const MAX_STALE_RETENTION: Duration = Duration::from_secs(600);

impl Policy {
    /// Returns `true` if `If-Modified-Since` may be compared with `Date` (RFC 9111 section 4.3.2).
    ///
    /// An application's page may be invalidated and fetched again within one second, with the same
    /// `Date`.
    pub(crate) fn compares_dates(&self) -> bool {
        self.sharing == Sharing::Rfc9111
    }

    /// Returns `true` if a date in `If-Range` may be a strong validator (RFC 9110 section 13.1.5).
    ///
    /// In front of an application, an outer layer may have compressed the client's copy, unless
    /// `strong_etags` promises that none does.
    pub(crate) fn resumes_by_date(&self) -> bool {
        self.strong_etags || self.sharing == Sharing::Rfc9111
    }

    /// Returns `true` if followers accept a response that must be validated before each use.
    pub(crate) fn followers_accept_stale(&self) -> bool {
        self.sharing == Sharing::App
    }

    /// Returns `true` if a HEAD response updates the stored response (RFC 9111 section 4.3.5).
    pub(crate) fn updates_from_head(&self) -> bool {
        self.sharing == Sharing::Rfc9111
    }

    /// Returns `true` if a request has `only-if-cached` and the preset honors it (RFC 9111 section
    /// 5.2.1.7).
    pub(crate) fn wants_only_if_cached(&self, request: &HeaderMap) -> bool {
        self.sharing == Sharing::Rfc9111 && RequestDirectives::from_headers(request).only_if_cached
    }

    /// Returns `true` if a request has `no-store` and the preset honors it (RFC 9111 section
    /// 5.2.1.5).
    pub(crate) fn forbids_storing(&self, request: &HeaderMap) -> bool {
        self.sharing == Sharing::Rfc9111 && RequestDirectives::from_headers(request).no_store
    }

    /// Returns how long a response stays in the store after it became stale.
    pub(crate) fn retention(&self, is_revalidatable: bool, longest_window: Duration) -> Duration {
        let for_revalidation = match self.sharing {
            _ if is_revalidatable => RETENTION,
            Sharing::Rfc9111 => MAX_STALE_RETENTION,
            Sharing::App => Duration::ZERO,
        };
        for_revalidation.max(longest_window)
    }
}
