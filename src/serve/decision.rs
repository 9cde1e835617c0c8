//! The one gate before the store: may this response be kept, and for how long?

use super::inspect::Context;
use super::service::{Level, Shared};
use crate::clock::Moment;
use crate::entry::{Generation, Head, Nominated, Scope, has_validator, headers_for_storage};
use crate::policy::{CacheHints, Sharing, Ttl};
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::date;
use crate::rules::freshness::{Stated, corrected_initial_age, stated_lifetime};
use crate::rules::storability::{Exchange, declared_length, storable};
use crate::rules::strip::not_stored;
use crate::rules::vary::Vary;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, DATE, ORIGIN};
use http::{HeaderMap, Method, StatusCode, response};
use std::time::{Duration, SystemTime};

/// What was known of the exchange before the response came.
pub(super) struct Exchanged<'a> {
    pub(super) request: &'a HeaderMap,
    pub(super) context: Context,
    pub(super) request_time: SystemTime,
    pub(super) generation: Generation,
    pub(super) scope: Scope,
}

/// A response that is to be kept if its body is complete.
pub(super) struct Keep {
    pub(super) head: Head,
    pub(super) declared: Option<u64>,
    /// The most bytes of body that fit.
    pub(super) limit: u64,
    /// How long it is kept once it is stale.
    pub(super) retained: Duration,
}

/// So long the origin can be asked whether a stale response still stands, if it is not evicted before.
const RETAINED: Duration = Duration::from_secs(24 * 3600);

/// What an entry takes in a store besides head and body, about: its key and its place in a table.
const ENTRY_OVERHEAD: u64 = 1024;

impl Shared {
    /// Decides on the head of a response, with a word for why not.
    pub(super) fn keep(
        &self,
        exchanged: &Exchanged<'_>,
        response: &response::Parts,
    ) -> Result<Keep, &'static str> {
        let directives = ResponseDirectives::from_headers(&response.headers);
        let vary = Vary::from_headers(&response.headers);
        let hints = response.extensions.get::<CacheHints>();
        if hints.is_some_and(|hints| hints.never) {
            return Err("hint");
        }
        let own_ttl = hints.map_or(Ttl::Default, |hints| hints.ttl);
        let hinted = own_ttl != Ttl::Default;
        let revalidatable = response.status == StatusCode::OK && has_validator(&response.headers);
        storable(&Exchange {
            method: &Method::GET,
            authorization: exchanged.context.authorization,
            status: response.status,
            headers: &response.headers,
            directives: &directives,
            vary: &vary,
            revalidatable,
            hinted,
        })
        .map_err(|why| why.as_str())?;
        let fields = match vary {
            Vary::Fields(mut fields) => {
                fields.extend(hints.iter().flat_map(|hints| hints.vary.iter().cloned()));
                fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
                fields.dedup();
                fields
            }
            Vary::Any => return Err("vary"),
        };
        if fields.iter().any(|field| self.policy.key.ignored.contains(field)) {
            return Err("vary-on-ignored");
        }
        if self.policy.sharing == Sharing::App
            && !fields.contains(&ORIGIN)
            && allows_one_origin(&response.headers)
        {
            return Err("cors");
        }
        let clock = self.cache.clock();
        let (now, response_time) = (clock.now(), clock.wall());
        let initial_age = corrected_initial_age(&response.headers, exchanged.request_time, response_time);
        let stated = stated_lifetime(&directives, &response.headers, response_time);
        let fresh_until = match self.fresh_until(stated, response.status, initial_age, now) {
            // The handler's word on its own response outranks the rest (but `no-store`, above).
            _ if hinted && !self.policy.stores_with_lifetime(response.status) => return Err("status"),
            _ if hinted => until(own_ttl, now)?,
            // RFC 9111 section 5.2.2.4: to be validated before each use.
            _ if directives.no_cache == Qualified::All => now,
            Err("stale") if revalidatable => now,
            fresh_until => fresh_until?,
        };
        let retained = if revalidatable { RETAINED } else { Duration::ZERO };
        let declared = declared_length(&response.headers).map_err(|why| why.as_str())?;

        let excluded = not_stored(&response.headers, &directives);
        let mut headers = headers_for_storage(&response.headers, &excluded);
        // RFC 9110 section 6.6.1: a cache that stores a response without `Date` adds one.
        if !headers.contains_key(DATE) {
            // A header section that is full goes without.
            let _ = date::format(response_time).map(|date| headers.try_insert(DATE, date));
        }
        let mut head = Head::new(response.status, headers, exchanged.generation, now);
        head.nominated =
            fields.iter().map(|field| Nominated::from_request(field, exchanged.request)).collect();
        head.scopes = Box::new([exchanged.scope]);
        head.corrected_initial_age = initial_age;
        head.fresh_until = fresh_until;
        head.hinted = match own_ttl {
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => Some(Duration::MAX),
            Ttl::Default => None,
        };

        let fits = self.cache.store().largest_entry().unwrap_or(u64::MAX);
        let fits = fits.saturating_sub(head.weight() + ENTRY_OVERHEAD);
        let limit = self.policy.max_body_bytes.min(fits);
        if fits == 0 || declared.is_some_and(|declared| declared > limit) {
            return Err("too-large");
        }
        Ok(Keep { head, declared, limit, retained })
    }

    /// Returns until when a response is fresh here: the whole order of precedence.
    ///
    /// The route's ttl and the default replace or fill in lifetimes; they never make fresh what
    /// says that it is not.
    fn fresh_until(
        &self,
        stated: Stated,
        status: StatusCode,
        initial_age: Duration,
        now: Moment,
    ) -> Result<Moment, &'static str> {
        let plain = status == StatusCode::OK;
        if matches!(stated, Stated::Stale) {
            return Err("stale");
        }
        if let (Level::Route(ttl @ (Ttl::For(_) | Ttl::Forever)), true) = (self.level, plain) {
            return until(ttl, now);
        }
        match stated {
            Stated::For(_) if !self.policy.stores_with_lifetime(status) => Err("status"),
            Stated::For(lifetime) => match lifetime.checked_sub(initial_age) {
                Some(rest) if !rest.is_zero() => Ok(now.after(rest)),
                _ => Err("stale"),
            },
            Stated::Silent if plain => until(self.policy.default_ttl, now),
            Stated::Silent | Stated::Stale => Err("no-lifetime"),
        }
    }
}

/// Tells whether the response was made for scripts of one origin (Fetch, section 3.3.4), which others
/// should not be given; it should have named `Origin` in `Vary`.
fn allows_one_origin(headers: &HeaderMap) -> bool {
    headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().any(|origin| origin != "*")
}

fn until(ttl: Ttl, now: Moment) -> Result<Moment, &'static str> {
    match ttl {
        Ttl::Forever => Ok(Moment::NEVER),
        Ttl::For(ttl) if !ttl.is_zero() => Ok(now.after(ttl)),
        Ttl::For(_) => Err("zero-ttl"),
        Ttl::Default => Err("no-lifetime"),
    }
}
