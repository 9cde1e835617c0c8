//! How long a response is fresh, and how old it is (RFC 9111 sections 4.2.1 to 4.2.3).

use super::cache_control::{ResponseDirectives, delta_seconds};
use super::date::{FieldDate, field_date};
use super::list::field_elements;
use http::HeaderMap;
use http::header::{AGE, DATE, EXPIRES};
use std::time::{Duration, SystemTime};

/// What a response says of its own freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stated {
    /// Nothing.
    Silent,
    /// That it is not fresh, or something that can't be read, which counts as the same.
    Stale,
    For(Duration),
}

const LONGEST: Duration = Duration::from_secs(1 << 31);

/// Returns the freshness lifetime for a shared cache: `s-maxage`, else `max-age`, else `Expires`
/// (RFC 9111 section 4.2.1).
pub(crate) fn stated_lifetime(
    directives: &ResponseDirectives,
    headers: &HeaderMap,
    response_time: SystemTime,
) -> Stated {
    let lifetime = match (directives.s_maxage.or(directives.max_age), field_date(headers, &EXPIRES)) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, FieldDate::Absent) => return Stated::Silent,
        (None, FieldDate::Invalid) => Duration::ZERO,
        (None, FieldDate::At(expires)) => {
            let date = date_or(headers, response_time);
            expires.duration_since(date).unwrap_or_default().min(LONGEST)
        }
    };
    if lifetime.is_zero() { Stated::Stale } else { Stated::For(lifetime) }
}

fn date_or(headers: &HeaderMap, response_time: SystemTime) -> SystemTime {
    match field_date(headers, &DATE) {
        FieldDate::At(date) => date,
        FieldDate::Absent | FieldDate::Invalid => response_time,
    }
}

/// Returns `corrected_initial_age` (RFC 9111 section 4.2.3); never negative, whatever the clocks say.
pub(crate) fn corrected_initial_age(
    headers: &HeaderMap,
    request_time: SystemTime,
    response_time: SystemTime,
) -> Duration {
    let date_value = date_or(headers, response_time);
    let apparent_age = response_time.duration_since(date_value).unwrap_or_default();
    let response_delay = response_time.duration_since(request_time).unwrap_or_default();
    let corrected_age_value = age_value(headers) + response_delay;
    apparent_age.max(corrected_age_value).min(LONGEST)
}

/// Reads `Age`: the first member counts, what can't be read is ignored (RFC 9111 section 5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    let age = field_elements(headers, &AGE).next().and_then(delta_seconds);
    Duration::from_secs(age.unwrap_or(0).into())
}
