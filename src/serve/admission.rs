//! The one gate before the store: may this response be kept, and for how long?

use super::config::LayerConfig;
use super::inspect::RequestFacts;
use super::lifetime::{came_stale, serves_while_revalidating, until};
use crate::clock::Moment;
use crate::entry::{ExtendOnHost, Generation, Head, Nominated, Scope, headers_for_storage};
use crate::key::{ForwardedField, KeyRef, RequestHead};
use crate::marks::Identified;
use crate::policy::{CacheHints, Sharing, Ttl, sets_only};
use crate::rules::accept;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::client::ClientCacheControl;
use crate::rules::date;
use crate::rules::freshness::{
    ExplicitLifetime, ResponseTime, corrected_initial_age, heuristic_lifetime, stated_lifetime,
};
use crate::rules::preconditions::has_validator;
use crate::rules::stale::{StaleOverrides, Windows};
use crate::rules::storability::{SET_COOKIE2, Storability, declared_length, storable};
use crate::rules::strip::not_stored;
use crate::rules::vary::Vary;
use crate::status::Detail;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY,
    COOKIE, DATE, ORIGIN, RETRY_AFTER, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, StatusCode, request, response};
use http_body::Body;
use std::time::{Duration, SystemTime};

/// What was known of the exchange before the response came.
pub(super) struct Exchange<'a> {
    pub(super) request: &'a HeaderMap,
    /// All of the request's head, where a predicate looks at it.
    pub(super) asked: Option<&'a request::Parts>,
    pub(super) facts: RequestFacts,
    /// Whether there is a word on cookies, so that requests with others did not come so far.
    pub(super) cookies_declared: bool,
    /// The key of the URL.
    pub(super) key: KeyRef<'a>,
    pub(super) request_time: SystemTime,
    pub(super) began: Moment,
    pub(super) generation: Generation,
    /// What names the request's targets, and their hosts.
    pub(super) scopes: &'a [Scope],
    pub(super) hosts: &'a [String],
}

/// A response that is to be kept if its body is complete.
pub(super) struct Admission {
    pub(super) head: Head,
    pub(super) declared: Option<u64>,
    /// The most bytes of body that fit.
    pub(super) limit: u64,
    /// How long it is kept once it is stale.
    pub(super) retained: Duration,
    /// What the client is told, as those are that get it later.
    pub(super) told: ClientCacheControl,
}

/// So long the origin can be asked whether a stale response still stands, if it is not evicted before.
const RETAINED: Duration = Duration::from_secs(24 * 3600);

/// So long there may be clients that want what is stale rather than to wait.
const RETAINED_FOR_MAX_STALE: Duration = Duration::from_secs(600);

/// How many tags a response may have, and how many bytes each.
const MOST_TAGS: usize = 256;
const LONGEST_TAG: usize = 1024;

/// What an entry takes in a store besides head and body, about: its key and its place in a table.
const ENTRY_OVERHEAD: u64 = 1024;

impl LayerConfig {
    /// Decides on the head of a response, with a word for why not.
    pub(super) fn admit(
        &self,
        exchange: &Exchange<'_>,
        response: &response::Parts,
    ) -> Result<Admission, Detail> {
        let directives = ResponseDirectives::for_targets(&response.headers, &self.policy.targets);
        let vary = Vary::from_headers(&response.headers);
        let hints = response.extensions.get::<CacheHints>();
        if hints.is_some_and(|hints| hints.never) {
            return Err(Detail::Hint);
        }
        let facts = exchange.facts;
        if response.extensions.get::<Identified>().is_some() && !facts.personal {
            return Err(Detail::Identified);
        }
        if let Some(issued) = self.policy.issued_credential(&response.headers, &directives) {
            return Err(issued);
        }
        let own_ttl = hints.map_or(Ttl::Default, |hints| hints.ttl);
        let hinted = own_ttl != Ttl::Default;
        let revalidatable = response.status == StatusCode::OK && has_validator(&response.headers);
        let clock = self.cache.clock();
        let now = clock.now();
        let came = ResponseTime::new(clock.wall(), exchange.request_time, now.since(exchange.began));
        let stated = stated_lifetime(&directives, &response.headers, came.latest());
        let by_rfc = self.policy.sharing == Sharing::Rfc9111;
        // It has no meaning on a 200, but to an origin that means a 206.
        if facts.range && response.headers.contains_key(CONTENT_RANGE) {
            return Err(Detail::Partial);
        }
        let explicit = matches!(stated, ExplicitLifetime::For(_));
        let shares_cookies = by_rfc && self.policy.share_set_cookie && explicit && !facts.identified;
        storable(&Storability {
            authorization: facts.authorization,
            personal: facts.personal,
            status: response.status,
            headers: &response.headers,
            directives: &directives,
            vary: &vary,
            revalidatable,
            hinted,
            by_rfc,
            shares_cookies: shares_cookies || self.sets_harmless_cookies(&response.headers),
        })
        .map_err(Detail::from)?;
        let Vary::Fields(mut fields) = vary else { return Err(Detail::VaryAny) };
        fields.extend(hints.iter().flat_map(|hints| hints.vary.iter().cloned()));
        fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        self.could_depend_on(&fields, facts)?;
        let by_origin = fields.contains(&ORIGIN) || self.policy.key.covers(&ORIGIN);
        let is_coded_for_some = self.is_coded_for_some(&response.headers, &fields);
        // It would take the place of one that others get, or be asked for in vain.
        if is_coded_for_some && !accept::offers_codings(exchange.request, &response.headers) {
            return Err(Detail::ContentEncoding);
        }
        // Requests with this key have those in common.
        fields.retain(|field| !self.is_covered(field, exchange));
        // No look-up uses a key of this length.
        if !fields.is_empty() && self.selection().is_too_long(exchange.key, &fields, exchange.request) {
            return Err(Detail::KeyLength);
        }
        if self.policy.sharing == Sharing::App {
            check_single_recipient(&response.headers, by_origin)?;
        }
        let predicates = &self.policy.predicates;
        if exchange.asked.is_some_and(|asked| !predicates.stores(RequestHead::from(asked), response)) {
            return Err(Detail::Predicate);
        }
        let initial_age = corrected_initial_age(&response.headers, came);
        let silent = || heuristic_lifetime(response.status, &directives, &response.headers, came.wall);
        // Nobody has said that others may have what was made for somebody who is known.
        let unsaid = stated == ExplicitLifetime::Silent && facts.identified && !facts.personal;
        let stated = (stated, silent);
        let hinted_windows = hints.map_or_else(StaleOverrides::default, |hints| hints.stale);
        let came_stale = came_stale(stated.0, initial_age, now);
        let fresh_until = match self.fresh_until(stated, response.status, initial_age, now) {
            // The handler's word on its own response outranks the rest (but `no-store`, above).
            _ if hinted && !self.stores_hinted(response.status, hints) => return Err(Detail::Status),
            _ if hinted => until(own_ttl, now)?,
            // RFC 9111 section 5.2.2.4: to be validated before each use.
            _ if directives.no_cache == Qualified::All => now,
            _ if unsaid => return Err(Detail::NoLifetime),
            // Stale by as much as it is: it may have come from another cache.
            Err(Detail::NotFresh) if revalidatable => came_stale,
            // RFC 5861 section 3.
            Err(Detail::NotFresh)
                if self.policy.stores_with_lifetime(response.status)
                    && serves_while_revalidating(came_stale, hinted_windows, &directives, now) =>
            {
                came_stale
            }
            fresh_until => fresh_until?,
        };
        let fresh_until = self.shortened(fresh_until, now);
        // Windows of our own are for pages, not for errors or for what is to be validated before each use.
        let own = match fresh_until > now && !response.status.is_client_error() {
            true if !response.status.is_server_error() => self.policy.stale,
            _ => StaleOverrides::default(),
        };
        let windows = Windows::new(hinted_windows, &directives, own);
        let declared = declared_length(&response.headers).map_err(Detail::from)?;

        let tags = self.tags(&response.headers, hints)?;
        let mut excluded = not_stored(&response.headers, &directives, shares_cookies);
        excluded.extend_from_slice(&self.policy.unstored);
        if response.status == StatusCode::TOO_MANY_REQUESTS {
            // It counts from one client's requests.
            excluded.push(RETRY_AFTER);
        }
        let mut headers = response.headers.clone();
        for name in &excluded {
            headers.remove(name);
        }
        if let Some(fields) = self.policy.tags_told {
            fields.write(&tags, &mut headers);
        }
        // RFC 9110 section 6.6.1: a cache that stores a response without `Date` adds one.
        if !headers.contains_key(DATE) {
            // A header section that is full goes without.
            let _ = date::format(came.wall).map(|date| headers.try_insert(DATE, date));
        }
        let headers = headers_for_storage(&headers, &[]);
        let mut head = Head::new(response.status, headers, exchange.generation, now);
        head.nominated = fields
            .iter()
            .map(|field| Nominated::from_request(field, exchange.request, self.selection()))
            .collect();
        head.scopes = scopes_of(exchange.scopes, exchange.hosts, &tags);
        head.corrected_initial_age = initial_age;
        head.fresh_until = fresh_until;
        head.windows = windows;
        head.hinted_windows = hinted_windows;
        head.cost = now.since(exchange.began);
        head.is_coded_for_some = is_coded_for_some;
        head.hinted = match own_ttl {
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => Some(Duration::MAX),
            Ttl::Default => None,
        };
        let told = self.told(hints, facts);
        head.tell(told, self.emitted());
        let retained = self.retained(&head);

        let fits = self.cache.store().largest_entry().unwrap_or(u64::MAX);
        let fits = fits.saturating_sub(head.weight() + ENTRY_OVERHEAD);
        let limit = self.policy.max_body_bytes.min(fits);
        if fits == 0 || declared.is_some_and(|declared| declared > limit) {
            return Err(Detail::TooLarge);
        }
        Ok(Admission { head, declared, limit, retained, told })
    }

    /// Returns the tags of a response. What has more than can be held, or ones that can't be read, is not
    /// stored: what can't be invalidated must not be kept.
    pub(super) fn tags(
        &self,
        headers: &HeaderMap,
        hints: Option<&CacheHints>,
    ) -> Result<Vec<String>, Detail> {
        let mut tags = self.policy.tags_read.read(headers).map_err(|_| Detail::Tags)?;
        tags.extend(hints.into_iter().flat_map(|hints| hints.tags.iter().cloned()));
        tags.sort_unstable();
        tags.dedup();
        let fit = tags.len() <= MOST_TAGS && tags.iter().all(|tag| tag.len() <= LONGEST_TAG);
        if fit { Ok(tags) } else { Err(Detail::Tags) }
    }

    /// Returns how long a response is kept once it is stale.
    pub(super) fn retained(&self, head: &Head) -> Duration {
        let asked_about = match self.policy.sharing {
            _ if head.is_revalidatable() => RETAINED,
            Sharing::Rfc9111 => RETAINED_FOR_MAX_STALE,
            Sharing::App => Duration::ZERO,
        };
        asked_about.max(head.windows.longest())
    }

    /// Tells whether the handler could see all that it says its response depends on, and the cache, too.
    fn could_depend_on(&self, fields: &[HeaderName], facts: RequestFacts) -> Result<(), Detail> {
        if fields.iter().any(|field| self.policy.key.ignored.contains(field)) {
            return Err(Detail::VaryOnIgnored);
        }
        if self.policy.allowed.is_none() {
            return Ok(());
        }
        if facts.range || facts.conditional {
            return Err(Detail::Unkeyed);
        }
        match fields.iter().all(|field| self.reaches_handler(field, facts)) {
            true => Ok(()),
            false => Err(Detail::VaryOnRemoved),
        }
    }

    /// Tells whether requests with one key were, or would be, sent on with one value of a field.
    fn is_covered(&self, field: &HeaderName, exchange: &Exchange<'_>) -> bool {
        // Only declared cookies come so far, and only keyed ones are sent on.
        let cookies = *field == COOKIE && exchange.cookies_declared && !exchange.facts.personal;
        // The handler sees of it what the key has of it.
        let forwarded = ForwardedField::named(field).is_some();
        cookies || forwarded || self.policy.key.covers(field)
    }

    /// Returns `true` if all cookies that a response sets are declared harmless.
    fn sets_harmless_cookies(&self, headers: &HeaderMap) -> bool {
        sets_only(&self.policy.response_cookies, headers.get_all(SET_COOKIE))
            && !headers.contains_key(SET_COOKIE2)
    }

    /// Returns what clients are to be told of a response that is stored.
    pub(super) fn told(&self, hints: Option<&CacheHints>, facts: RequestFacts) -> ClientCacheControl {
        let hinted = hints.and_then(|hints| hints.client_max_age);
        ClientCacheControl { max_age: hinted.or(self.policy.client_max_age), private: facts.personal }
    }

    /// Tells whether the handler's ttl counts for a status.
    fn stores_hinted(&self, status: StatusCode, hints: Option<&CacheHints>) -> bool {
        self.policy.stores_with_lifetime(status)
            || hints.is_some_and(|hints| hints.statuses.contains(&status))
    }
}

/// Returns all that may name a response in an invalidation.
pub(super) fn scopes_of(target: &[Scope], hosts: &[String], tags: &[String]) -> Box<[Scope]> {
    if tags.is_empty() {
        return target.into();
    }
    let mut scopes: Vec<_> = tags.iter().map(|tag| Scope::tag(tag)).collect();
    scopes.extend_on_hosts(hosts);
    scopes.extend(target);
    scopes.into()
}

/// Refuses what was made for one recipient, though nothing says so.
fn check_single_recipient(headers: &HeaderMap, by_origin: bool) -> Result<(), Detail> {
    if !by_origin && allows_one_origin(headers) {
        return Err(Detail::Cors);
    }
    if has_nonce(headers) {
        return Err(Detail::Nonce);
    }
    Ok(())
}

/// Tells whether the response has a nonce (Content Security Policy Level 3, section 7.1), which is to be
/// another one each time.
fn has_nonce(headers: &HeaderMap) -> bool {
    let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
    let mut lines = policies.iter().flat_map(|name| headers.get_all(name)).map(http::HeaderValue::as_bytes);
    lines.any(|line| line.windows(7).any(|text| text.eq_ignore_ascii_case(b"'nonce-")))
}

/// Tells whether the response was made for scripts of one origin (Fetch, section 3.3.4), which others
/// should not be given; it should have named `Origin` in `Vary`.
fn allows_one_origin(headers: &HeaderMap) -> bool {
    headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().any(|origin| origin != "*")
}

/// Tells whether a body is no more than may be kept, and as long as is declared, as far as it says.
pub(super) fn fits<B: Body>(body: &B, keep: &Admission) -> Result<(), Detail> {
    let said = body.size_hint();
    if said.lower() > keep.limit {
        return Err(Detail::TooLarge);
    }
    match said.exact().zip(keep.declared) {
        Some((said, declared)) if said != declared => Err(Detail::ContentLength),
        _ => Ok(()),
    }
}
