//! The rules for requests and stored responses in which the presets [`Policy::app`] and
//! [`Policy::rfc9111`] differ.

use super::{Policy, Sharing};
use crate::rules::cache_control::RequestDirectives;
use http::HeaderMap;
use std::time::Duration;

/// How long a stale response with a validator stays in the store, for revalidation.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long a stale response without a validator stays in the store, for requests with `max-stale`.
const MAX_STALE_RETENTION: Duration = Duration::from_secs(600);

impl Policy {
    /// Returns `true` if `If-Modified-Since` may be compared with `Date` (RFC 9111 section 4.3.2).
    ///
    /// Under [`app`](Self::app), it may not. An application can invalidate a page and produce a new
    /// one within one second. Both have the same `Date`, so the comparison would confirm an old
    /// copy.
    pub(crate) fn compares_dates(&self) -> bool {
        self.sharing == Sharing::Rfc9111
    }

    /// Returns `true` if a date in `If-Range` may be a strong validator (RFC 9110 section 13.1.5).
    ///
    /// In front of an application, an outer layer may compress bodies. Then their bytes change, but
    /// not their `Last-Modified`. `strong_etags` promises that no outer layer changes bodies.
    pub(crate) fn resumes_by_date(&self) -> bool {
        self.strong_etags || self.sharing == Sharing::Rfc9111
    }

    /// Returns `true` if the followers of a fetch receive its response even if the response is
    /// stale on arrival, for example because of `no-cache`.
    ///
    /// Under [`rfc9111`](Self::rfc9111), each follower validates such a response (RFC 9111 section
    /// 5.2.2.4).
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
    ///
    /// `longest_window` is the longer of the response's two stale windows.
    pub(crate) fn retention(&self, is_revalidatable: bool, longest_window: Duration) -> Duration {
        let for_revalidation = match self.sharing {
            _ if is_revalidatable => RETENTION,
            Sharing::Rfc9111 => MAX_STALE_RETENTION,
            Sharing::App => Duration::ZERO,
        };
        for_revalidation.max(longest_window)
    }
}
