//! Assertions on how a cache layer handled a request. A failed assertion reports what the layer did
//! instead, and the likely causes.

use super::reported_status::ReportedStatus;
use crate::status::has_meaning;
use http::Response;

/// Asserts that a response is a hit, fresh or stale.
///
/// See the [rules](crate::testing#rules).
///
/// # Panics
/// Panics if the response is not a hit. The message reports how the cache handled the request, and
/// why.
#[track_caller]
pub fn assert_hit<B>(response: &Response<B>) {
    if let Err(message) = check_hit(response) {
        panic!("{message}");
    }
}

/// Asserts that a request was forwarded because no stored response could be used.
///
/// See the [rules](crate::testing#rules).
///
/// # Panics
/// Panics if the response is not a miss. A request that finds an expired or invalidated entry is a
/// miss; a bypassed or collapsed request is not. The message reports how the cache handled the
/// request, and why.
#[track_caller]
pub fn assert_miss<B>(response: &Response<B>) {
    if let Err(message) = check_miss(response) {
        panic!("{message}");
    }
}

/// Asserts that a response is stored.
///
/// See the [rules](crate::testing#rules). The assertion fails for a hit, because an earlier request
/// stored the response.
///
/// # Panics
/// Panics if the response is not stored. The message reports the reason.
#[track_caller]
pub fn assert_stored<B>(response: &Response<B>) {
    if let Err(message) = check_stored(response) {
        panic!("{message}");
    }
}

/// Asserts that a response is not stored, and that the reason is `reason`.
///
/// `reason` is a value from the tables of [`CacheStatus`](crate::status::CacheStatus). For a field
/// that is named like a credential, such as `x-shop-token`, `reason` is the name of the field. See
/// the [rules](crate::testing#rules). The assertion fails for a hit, because a hit comes from the
/// cache.
///
/// # Panics
/// Panics if the response is stored, or is not stored for another reason. The message reports the
/// actual reason.
#[track_caller]
pub fn assert_not_stored<B>(response: &Response<B>, reason: &str) {
    if let Err(message) = check_not_stored(response, reason) {
        panic!("{message}");
    }
}

pub(super) fn check_hit<B>(response: &Response<B>) -> Result<(), String> {
    let status = reported(response, "a hit")?;
    if status.is_hit {
        return Ok(());
    }
    let hint = match status.forward.as_deref() {
        Some("uri-miss" | "vary-miss") if !status.is_collapsed => {
            "\n  likely causes: the earlier response was not stored (`assert_stored`), its body was not read to the end, \
             the store is remote and still being written to (`Cache::wait_idle`), or the requests have different keys"
        }
        _ => "",
    };
    Err(format!("expected a hit, but {status}{hint}"))
}

pub(super) fn check_miss<B>(response: &Response<B>) -> Result<(), String> {
    let status = reported(response, "a miss")?;
    if status.is_miss() && !status.is_collapsed {
        return Ok(());
    }
    let hint = match status.is_hit {
        true => {
            "\n  likely causes: an earlier request has filled the cache, or another test uses the same cache"
        }
        false => "",
    };
    Err(format!("expected a miss, but {status}{hint}"))
}

pub(super) fn check_stored<B>(response: &Response<B>) -> Result<(), String> {
    let status = reported(response, "a stored response")?;
    if status.is_stored {
        return Ok(());
    }
    let hint = match (status.is_hit, status.is_collapsed) {
        (true, _) => "\n  likely cause: an earlier request has filled the cache; `assert_hit` asserts a hit",
        (_, true) => {
            "\n  likely cause: the test sent concurrent requests; only the leader's response has `stored`"
        }
        _ => "",
    };
    Err(format!("expected a stored response, but {status}{hint}"))
}

pub(super) fn check_not_stored<B>(response: &Response<B>, reason: &str) -> Result<(), String> {
    let expected = format!("a response that is not stored for `{reason}`");
    let status = reported(response, &expected)?;
    let is_in_cache = status.is_hit || status.is_stored;
    if !is_in_cache && status.reason() == Some(reason) {
        return Ok(());
    }
    let hint = match (is_in_cache, has_meaning(reason)) {
        (true, _) => "\n  the response is in the cache".to_owned(),
        (false, true) => "\n  it is not stored, for another reason".to_owned(),
        (false, false) => {
            format!(
                "\n  it is not stored, for another reason; `{reason}` is not in the tables of `CacheStatus`"
            )
        }
    };
    Err(format!("expected {expected}, but {status}{hint}"))
}

fn reported<B>(response: &Response<B>, expected: &str) -> Result<ReportedStatus, String> {
    ReportedStatus::of(response).map_err(|none| format!("expected {expected}, but {none}"))
}
