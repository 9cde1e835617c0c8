//! The stale windows: how long a stale response may be used (RFC 5861, RFC 9111 section 4.2.4).

use super::cache_control::{Qualified, ResponseDirectives};
use std::time::Duration;

/// How long a response may be used after its freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Windows {
    /// How long the response may be used while it is revalidated in the background (RFC 5861
    /// section 3).
    pub(crate) while_revalidate: Duration,
    /// How long the response may be used if the origin fails (RFC 5861 section 4).
    pub(crate) if_error: Duration,
}

/// The stale windows from one source: the handler's hints, or the layer's policy. `None` leaves a
/// window to the next source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StaleOverrides {
    pub(crate) while_revalidate: Option<Duration>,
    pub(crate) if_error: Option<Duration>,
}

/// The upper limit of every stale window.
const MAX_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

impl Windows {
    /// Returns the stale windows of a response. Each window comes from the first source that sets
    /// it: the handler's hints (`hinted`), the response's directives, or the layer's policy
    /// (`default`).
    ///
    /// Both windows are zero if the response forbids stale use.
    pub(crate) fn new(
        hinted: StaleOverrides,
        directives: &ResponseDirectives,
        default: StaleOverrides,
    ) -> Self {
        if forbids_stale(directives) {
            return Self::default();
        }
        let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let first = |hinted: Option<Duration>, directive: Option<Duration>, default: Option<Duration>| {
            hinted.or(directive).or(default).unwrap_or_default().min(MAX_WINDOW)
        };
        Self {
            while_revalidate: first(
                hinted.while_revalidate,
                seconds(directives.stale_while_revalidate),
                default.while_revalidate,
            ),
            if_error: first(hinted.if_error, seconds(directives.stale_if_error), default.if_error),
        }
    }

    /// Returns the longer window.
    pub(crate) fn longest(self) -> Duration {
        self.while_revalidate.max(self.if_error)
    }
}

/// Returns `true` if the response must not be used stale (RFC 9111 sections 5.2.2.2, 5.2.2.4,
/// 5.2.2.8 and 5.2.2.10).
///
/// A malformed element forbids stale use, too: it may have been meant as one of these directives.
pub(crate) fn forbids_stale(directives: &ResponseDirectives) -> bool {
    directives.must_revalidate
        || directives.proxy_revalidate
        || directives.s_maxage.is_some()
        || directives.no_cache == Qualified::All
        || directives.malformed
}

#[cfg(test)]
mod tests {
    use super::super::samples::headers;
    use super::{MAX_WINDOW, ResponseDirectives, StaleOverrides, Windows};
    use std::time::Duration;

    fn windows(value: &'static str, hinted: Option<u64>, default: Option<u64>) -> (u64, u64) {
        let wanted = |seconds: Option<u64>| {
            let window = seconds.map(Duration::from_secs);
            StaleOverrides { while_revalidate: window, if_error: window }
        };
        let directives = ResponseDirectives::from_headers(&headers(&[("cache-control", value)]));
        let windows = Windows::new(wanted(hinted), &directives, wanted(default));
        (windows.while_revalidate.as_secs(), windows.if_error.as_secs())
    }

    /// RFC 5861 sections 3 and 4.
    #[test]
    fn first_source_that_sets_a_window_counts() {
        let all = "max-age=1, stale-while-revalidate=20, stale-if-error=30";
        assert_eq!(windows("max-age=1", None, None), (0, 0));
        assert_eq!(windows(all, None, None), (20, 30));
        assert_eq!(windows(all, None, Some(9)), (20, 30));
        assert_eq!(windows(all, Some(5), Some(9)), (5, 5));
        assert_eq!(windows(all, Some(0), Some(9)), (0, 0));
        assert_eq!(windows("stale-if-error=30", None, Some(9)), (9, 30));
        for unread in ["x", "", "-1", "1.5"] {
            let value = format!("max-age=1, stale-while-revalidate={unread}, stale-if-error={unread}");
            assert_eq!(windows(Box::leak(value.into()), None, Some(9)), (0, 0), "{unread}");
        }
        assert_eq!(windows("max-age=1", None, Some(u64::MAX)), (MAX_WINDOW.as_secs(), MAX_WINDOW.as_secs()));
    }

    /// RFC 9111 section 4.2.4.
    #[test]
    fn response_that_forbids_stale_use_has_no_window() {
        for value in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
            let value: &'static str = Box::leak(format!("max-age=1, stale-if-error=30, {value}").into());
            assert_eq!(windows(value, Some(5), Some(9)), (0, 0), "{value}");
        }
        assert_eq!(windows("no-cache=\"x-a\", stale-if-error=3", None, None).1, 3);
    }
}
