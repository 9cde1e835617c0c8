//! The freshness lifetime and the age of a response (RFC 9111 sections 4.2.1 to 4.2.3).

use super::cache_control::{ResponseDirectives, delta_seconds};
use super::date::{FieldDate, field_date};
use super::list::field_elements;
use crate::clock::Moment;
use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use std::time::{Duration, SystemTime};

/// The freshness lifetime that a response itself states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExplicitLifetime {
    /// The response states no lifetime.
    Silent,
    /// The response states a lifetime of zero. A lifetime that cannot be parsed counts as zero, and
    /// so does a malformed directive (RFC 9111 section 4.2.1).
    Stale,
    /// The response states this lifetime, which is longer than zero.
    For(Duration),
}

/// The longest lifetime and the highest age (RFC 9111 section 1.2.2). Longer ones are cut to this
/// value.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(1 << 31);

/// Returns the freshness lifetime for a shared cache: `s-maxage`, else `max-age`, else `Expires`
/// (RFC 9111 section 4.2.1).
///
/// `Expires` does not count beside a targeted field (RFC 9213 section 2.2).
pub(crate) fn explicit_lifetime(
    directives: &ResponseDirectives,
    headers: &HeaderMap,
    response_time: SystemTime,
) -> ExplicitLifetime {
    if directives.malformed {
        return ExplicitLifetime::Stale;
    }
    let expires = if directives.targeted { FieldDate::Absent } else { field_date(headers, &EXPIRES) };
    let lifetime = match (directives.s_maxage.or(directives.max_age), expires) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, FieldDate::Absent) => return ExplicitLifetime::Silent,
        (None, FieldDate::Invalid) => Duration::ZERO,
        (None, FieldDate::At(expires)) => {
            let date = date_or_receipt_time(headers, response_time);
            expires.duration_since(date).unwrap_or_default().min(MAX_LIFETIME)
        }
    };
    if lifetime.is_zero() { ExplicitLifetime::Stale } else { ExplicitLifetime::For(lifetime) }
}

/// Returns the heuristic lifetime of a response that states none (RFC 9111 section 4.2.2): a tenth
/// of the time since its `Last-Modified`.
///
/// The response must have a valid `Last-Modified`, and `public` or a heuristically cacheable
/// status. Otherwise returns `None`. Also returns `None` for a lifetime below a second.
pub(crate) fn heuristic_lifetime(
    status: StatusCode,
    directives: &ResponseDirectives,
    headers: &HeaderMap,
    response_time: SystemTime,
) -> Option<Duration> {
    // The statuses of RFC 9110 section 15.1, without 206: a partial response is not stored.
    let by_status =
        matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
    let FieldDate::At(modified) = field_date(headers, &LAST_MODIFIED) else { return None };
    let unchanged = date_or_receipt_time(headers, response_time).duration_since(modified).ok()?;
    let lifetime = Duration::from_secs((unchanged / 10).as_secs());
    ((by_status || directives.public) && !lifetime.is_zero()).then_some(lifetime)
}

/// Returns the moment at which a response becomes stale. If the initial age exceeds the lifetime,
/// the moment is before `response_time`.
pub(crate) fn fresh_until(response_time: Moment, lifetime: Duration, initial_age: Duration) -> Moment {
    match lifetime.checked_sub(initial_age) {
        Some(rest) => response_time.after(rest),
        None => response_time.before(initial_age - lifetime),
    }
}

/// Returns the `Date` of a response, or the time of its receipt if it has no valid `Date` (RFC 9110
/// section 6.6.1).
fn date_or_receipt_time(headers: &HeaderMap, response_time: SystemTime) -> SystemTime {
    match field_date(headers, &DATE) {
        FieldDate::At(date) => date,
        FieldDate::Absent | FieldDate::Invalid => response_time,
    }
}

/// The time at which a response was received. The wall clock may have been set after the request
/// was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseTime {
    /// The time that the wall clock showed when the response was received.
    pub(crate) wall: SystemTime,
    /// The time that the wall clock would show if it had not been set since the request was sent.
    unset: SystemTime,
    /// The time since the request was sent (`response_delay`), by a monotonic clock.
    delay: Duration,
}

impl ResponseTime {
    pub(crate) fn new(wall: SystemTime, request_wall: SystemTime, delay: Duration) -> Self {
        Self { wall, unset: request_wall.checked_add(delay).unwrap_or(wall), delay }
    }

    /// Returns the later of `wall` and `unset`, which leaves less time until `Expires`.
    pub(crate) fn latest(self) -> SystemTime {
        self.wall.max(self.unset)
    }
}

/// Returns `corrected_initial_age` (RFC 9111 section 4.2.3). It is never negative.
///
/// Of the apparent ages by `wall` and by `unset`, the smaller one counts. So a change of the wall
/// clock during the exchange does not change the age.
pub(crate) fn corrected_initial_age(headers: &HeaderMap, response_time: ResponseTime) -> Duration {
    let apparent = |at: SystemTime| at.duration_since(date_or_receipt_time(headers, at)).unwrap_or_default();
    let apparent_age = apparent(response_time.wall).min(apparent(response_time.unset));
    let corrected_age_value = age_value(headers).saturating_add(response_time.delay);
    apparent_age.max(corrected_age_value).min(MAX_LIFETIME)
}

/// Returns the first member of `Age`; zero if it cannot be parsed (RFC 9111 section 5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    let age = field_elements(headers, &AGE).next().and_then(delta_seconds);
    Duration::from_secs(age.unwrap_or(0).into())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{
        ExplicitLifetime, MAX_LIFETIME, ResponseDirectives, ResponseTime, corrected_initial_age,
        explicit_lifetime, heuristic_lifetime,
    };
    use http::StatusCode;
    use proptest::prelude::{any, prop_assert, proptest};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    type Lines = [(&'static str, &'static str)];

    const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
    const FAR: &str = "Fri, 31 Dec 9999 23:59:59 GMT";

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// RFC 9111 section 4.2.2 ("a typical setting of this fraction might be 10 %"), RFC 9110
    /// section 15.1.
    #[test]
    fn heuristic_lifetime_is_a_tenth_of_the_unmodified_time() {
        const DAY_BEFORE: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
        let of = |status: u16, lines: &Lines| {
            let headers = headers(lines);
            let directives = ResponseDirectives::from_headers(&headers);
            let status = StatusCode::from_u16(status).expect("a status");
            heuristic_lifetime(status, &directives, &headers, now())
        };
        let (modified, date) = (("last-modified", DAY_BEFORE), ("date", NOW));
        let public = ("cache-control", "public");
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(of(status, &[modified, date]), Some(seconds(8640)), "{status}");
            assert_eq!(of(status, &[modified]), Some(seconds(8640)), "{status}");
            assert_eq!(of(status, &[date]), None, "{status}");
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599] {
            assert_eq!(of(status, &[modified, date]), None, "{status}");
            assert_eq!(of(status, &[modified, date, public]), Some(seconds(8640)), "{status}");
        }
        let table = [(EARLIER, Some(seconds(6))), (NOW, None), (LATER, None), ("yesterday", None)];
        for (modified, expected) in table {
            assert_eq!(of(200, &[("last-modified", modified), date]), expected, "{modified}");
        }
    }

    /// RFC 9111 section 4.2.1, and section 5.3 on `Expires`.
    #[test]
    fn first_source_that_states_a_lifetime_counts() {
        let minute = ExplicitLifetime::For(seconds(60));
        let cases: [(&Lines, ExplicitLifetime); 16] = [
            (&[], ExplicitLifetime::Silent),
            (&[("cache-control", "public"), ("date", NOW)], ExplicitLifetime::Silent),
            (&[("cache-control", "max-age=60")], minute),
            (&[("cache-control", "max-age=9, s-maxage=60")], minute),
            (&[("cache-control", "max-age=60"), ("expires", "0")], minute),
            (&[("cache-control", "max-age=60, s-maxage=0")], ExplicitLifetime::Stale),
            (&[("cache-control", "max-age=x"), ("expires", LATER)], ExplicitLifetime::Stale),
            (&[("cache-control", "max-age=9999999999")], ExplicitLifetime::For(MAX_LIFETIME)),
            (&[("expires", LATER), ("date", NOW)], minute),
            (&[("expires", NOW), ("date", EARLIER)], minute),
            (&[("expires", LATER)], minute),
            (&[("expires", LATER), ("date", "soon")], minute),
            (&[("expires", EARLIER), ("date", NOW)], ExplicitLifetime::Stale),
            (&[("expires", NOW), ("date", NOW)], ExplicitLifetime::Stale),
            (&[("expires", LATER), ("expires", FAR), ("date", NOW)], ExplicitLifetime::Stale),
            (&[("expires", FAR), ("date", NOW)], ExplicitLifetime::For(MAX_LIFETIME)),
        ];
        for (lines, expected) in cases {
            let headers = headers(lines);
            let directives = ResponseDirectives::from_headers(&headers);
            assert_eq!(explicit_lifetime(&directives, &headers, now()), expected, "{lines:?}");
        }
        for value in ["0", "", "-1", "tomorrow"] {
            let headers = headers(&[("expires", value)]);
            let stated = explicit_lifetime(&ResponseDirectives::default(), &headers, now());
            assert_eq!(stated, ExplicitLifetime::Stale, "{value:?}");
        }
    }

    /// RFC 9111 section 4.2.3, and section 5.1 on `Age`.
    #[test]
    fn initial_age_is_the_larger_of_apparent_and_received_age() {
        let cases: [(&Lines, u64, u64); 14] = [
            (&[], 0, 0),
            (&[], 3, 3),
            (&[("date", EARLIER)], 3, 60),
            (&[("date", EARLIER), ("age", "100")], 3, 103),
            (&[("date", EARLIER), ("age", "20")], 3, 60),
            (&[("date", LATER)], 3, 3),
            (&[("date", "soon"), ("age", "5")], 0, 5),
            (&[("age", "5, 100")], 0, 5),
            (&[("age", "5"), ("age", "100")], 0, 5),
            (&[("age", "x, 100")], 1, 1),
            (&[("age", "-5")], 0, 0),
            (&[("age", "1.5")], 0, 0),
            (&[("age", "")], 0, 0),
            (&[("age", "99999999999999999999")], 3, 1 << 31),
        ];
        for (lines, delay, expected) in cases {
            let response_time = ResponseTime::new(now(), now() - seconds(delay), seconds(delay));
            let age = corrected_initial_age(&headers(lines), response_time);
            assert_eq!(age, seconds(expected), "{lines:?} after {delay}");
        }
    }

    /// The wall clock is set by a minute in either direction. The origin reads the same clock
    /// before or after this change.
    #[test]
    fn step_of_the_wall_clock_changes_neither_age_nor_lifetime() {
        for (request_wall, read_before) in [(now() + seconds(57), LATER), (now() - seconds(63), EARLIER)] {
            let response_time = ResponseTime::new(now(), request_wall, seconds(3));
            let table: [(&Lines, u64); 4] =
                [(&[], 3), (&[("age", "5")], 8), (&[("date", read_before)], 3), (&[("date", NOW)], 3)];
            for (lines, expected) in table {
                assert_eq!(
                    corrected_initial_age(&headers(lines), response_time),
                    seconds(expected),
                    "{lines:?}"
                );
            }
            for expires in [read_before, NOW] {
                let headers = headers(&[("expires", expires)]);
                let stated =
                    explicit_lifetime(&ResponseDirectives::default(), &headers, response_time.latest());
                assert_eq!(stated, ExplicitLifetime::Stale, "{expires}");
            }
        }
    }

    #[test]
    fn extreme_clocks_do_not_overflow() {
        let far = seconds(i64::MAX as u64 - 1);
        let ends = [UNIX_EPOCH.checked_sub(far), UNIX_EPOCH.checked_add(far), Some(UNIX_EPOCH)];
        let headers = headers(&[("age", "2147483648"), ("date", NOW), ("expires", FAR)]);
        for from in ends.into_iter().flatten() {
            for to in ends.into_iter().flatten() {
                assert!(corrected_initial_age(&headers, ResponseTime::new(to, from, far)) <= MAX_LIFETIME);
                let _ = explicit_lifetime(&ResponseDirectives::default(), &headers, to);
            }
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_fields_give_ages_and_lifetimes_in_range(
            age in field("age"),
            date in field("date"),
            expires in field("expires"),
            delay in any::<u32>(),
        ) {
            let mut headers = age;
            headers.extend(date);
            headers.extend(expires);
            let response_time = now() + seconds(delay.into());
            for (from, to) in [(now(), response_time), (response_time, now())] {
                let response_time = ResponseTime::new(to, from, seconds(delay.into()));
                prop_assert!(corrected_initial_age(&headers, response_time) <= MAX_LIFETIME);
            }
            let directives = ResponseDirectives::from_headers(&headers);
            if let ExplicitLifetime::For(lifetime) = explicit_lifetime(&directives, &headers, response_time) {
                prop_assert!(!lifetime.is_zero() && lifetime <= MAX_LIFETIME);
            }
        }
    }
}
