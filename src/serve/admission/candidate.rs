//! The steps of the admission of one response.

use super::exchange::{Admission, Exchange};
use super::freshness::{
    fresh_by_policy_until, fresh_until_ttl, serves_while_revalidating, shortened, stale_since,
};
use super::recipient::check_single_recipient;
use super::tags::{scopes_of, tags};
use crate::clock::Moment;
use crate::entry::{Head, NominatedField, StoredResponse, headers_for_storage_with};
use crate::key::{ForwardedField, RequestHead};
use crate::marks::Identified;
use crate::policy::{CacheHints, Sharing, Ttl, sets_only};
use crate::rules::accept;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::date;
use crate::rules::freshness::{
    ExplicitLifetime, ResponseTime, corrected_initial_age, explicit_lifetime, heuristic_lifetime,
};
use crate::rules::preconditions::has_validator;
use crate::rules::stale::{StaleOverrides, Windows};
use crate::rules::storability::{SET_COOKIE2, Storability, declared_length, storable};
use crate::rules::strip::fields_not_stored;
use crate::rules::vary::Vary;
use crate::serve::config::LayerConfig;
use crate::serve::encode::is_encodable;
use crate::serve::lookup::{requires_coding, retention};
use crate::serve::request::reaches_handler;
use crate::serve::respond::client_cache_control;
use crate::status::Detail;
use bytes::Bytes;
use http::header::{CONTENT_RANGE, COOKIE, DATE, ORIGIN, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode, response};
use std::time::Duration;

/// The approximate bytes of an entry besides its head and body: its key and its slot in a table.
const ENTRY_OVERHEAD: u64 = 1024;

/// A response under admission, with the inputs shared by all steps.
pub(super) struct Candidate<'a> {
    config: &'a LayerConfig,
    exchange: &'a Exchange<'a>,
    response: &'a response::Parts,
    directives: ResponseDirectives,
    vary: Vary,
    hints: Option<&'a CacheHints>,
    received: ResponseTime,
    now: Moment,
    lifetime: ExplicitLifetime,
    /// `true` if the response is a 200 with a validator.
    is_revalidatable: bool,
    /// `true` if the response may be stored with its `Set-Cookie` fields.
    shares_cookies: bool,
}

/// The nominated fields that select a response among the variants of its URL
/// (RFC 9111 section 4.1).
struct Selecting {
    fields: Vec<HeaderName>,
    /// `true` if only clients that accept the content coding may get the response.
    requires_coding: bool,
}

/// How long a response is fresh, and its stale windows.
struct Freshness {
    initial_age: Duration,
    until: Moment,
    windows: Windows,
    hinted_windows: StaleOverrides,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(
        config: &'a LayerConfig,
        exchange: &'a Exchange<'a>,
        response: &'a response::Parts,
    ) -> Self {
        let directives = ResponseDirectives::for_targets(&response.headers, &config.policy.targets);
        let hints = response.extensions.get::<CacheHints>();
        let clock = config.cache.clock();
        let now = clock.now();
        let received = ResponseTime::new(clock.wall(), exchange.request_time, now.since(exchange.began));
        let lifetime = explicit_lifetime(&directives, &response.headers, received.latest());
        let is_revalidatable = response.status == StatusCode::OK && has_validator(&response.headers);
        let is_explicit = matches!(lifetime, ExplicitLifetime::For(_));
        let shares_cookies = config.policy.sharing == Sharing::Rfc9111
            && config.policy.share_set_cookie
            && is_explicit
            && !exchange.facts.identified;
        Self {
            config,
            exchange,
            response,
            directives,
            vary: Vary::from_headers(&response.headers),
            hints,
            received,
            now,
            lifetime,
            is_revalidatable,
            shares_cookies,
        }
    }

    /// Runs all steps. The first step that fails gives the reason why the response is not stored.
    pub(super) fn admit(self) -> Result<Admission, Detail> {
        self.check_marks()?;
        self.check_storable()?;
        let selecting = self.selecting_fields()?;
        self.check_predicate()?;
        let freshness = self.freshness()?;
        let declared = declared_length(&self.response.headers).map_err(Detail::from)?;
        let tags = tags(&self.config.policy, &self.response.headers, self.hints)?;
        let mut head = self.head(self.stored_headers(&tags), &selecting, &freshness, &tags);
        head.is_encodable = is_encodable(self.config, self.exchange.facts, self.response, declared);
        let client_control = client_cache_control(&self.config.policy, self.hints, self.exchange.facts);
        head.rewrite_for_clients(client_control, self.config.emitted(head.is_encodable));
        let retention = retention(&self.config.policy, &head);
        let stored = StoredResponse::new(head, Bytes::new());
        let limit = self.limit(&stored, declared)?;
        Ok(Admission { stored, declared, limit, retention, client_control })
    }

    /// Refuses a response that the handler or an inner layer has marked (`CacheHints::never`,
    /// `Identified`), or that issues a credential. `Identified` is permitted if the visitor's
    /// identity is part of the key.
    fn check_marks(&self) -> Result<(), Detail> {
        if self.hints.is_some_and(|hints| hints.never) {
            return Err(Detail::Hint);
        }
        let is_identified = self.response.extensions.get::<Identified>().is_some();
        if is_identified && !self.exchange.facts.personal {
            return Err(Detail::Identified);
        }
        let issued = self.config.policy.issued_credential(&self.response.headers, &self.directives);
        issued.map_or(Ok(()), Err)
    }

    /// Checks the rules of RFC 9111 section 3.
    fn check_storable(&self) -> Result<(), Detail> {
        let (response, facts) = (self.response, self.exchange.facts);
        // RFC 9110 section 14.4: `Content-Range` has no meaning in a 200. In the response to a
        // range request, the body may be a part that the service sent as a 200 by mistake.
        if facts.range && response.headers.contains_key(CONTENT_RANGE) {
            return Err(Detail::Partial);
        }
        storable(&Storability {
            authorization: facts.authorization,
            personal: facts.personal,
            status: response.status,
            headers: &response.headers,
            directives: &self.directives,
            vary: &self.vary,
            revalidatable: self.is_revalidatable,
            hinted: self.handler_ttl() != Ttl::Default,
            is_rfc9111: self.config.policy.sharing == Sharing::Rfc9111,
            shares_cookies: self.shares_cookies || self.sets_harmless_cookies(),
        })
        .map_err(Detail::from)
    }

    /// Returns the TTL that the handler sets.
    fn handler_ttl(&self) -> Ttl {
        self.hints.map_or(Ttl::Default, |hints| hints.ttl)
    }

    /// Returns `true` if all cookies that the response sets are declared harmless.
    fn sets_harmless_cookies(&self) -> bool {
        let headers = &self.response.headers;
        sets_only(&self.config.policy.response_cookies, headers.get_all(SET_COOKIE))
            && !headers.contains_key(SET_COOKIE2)
    }

    /// Returns the nominated fields that the key does not cover (RFC 9111 section 4.1). Refuses a
    /// response that no look-up could select safely, or that is for a single recipient.
    fn selecting_fields(&self) -> Result<Selecting, Detail> {
        let (config, exchange, headers) = (self.config, self.exchange, &self.response.headers);
        let Vary::Fields(mut fields) = self.vary.clone() else { return Err(Detail::VaryAny) };
        fields.extend(self.hints.iter().flat_map(|hints| hints.vary.iter().cloned()));
        fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        self.could_depend_on(&fields)?;
        let by_origin = fields.contains(&ORIGIN) || config.policy.key.covers(&ORIGIN);
        let requires_coding = requires_coding(&config.policy, headers, &fields);
        // Only a request that offers the coding could select the stored response. This request does
        // not, so a repetition of it would be a miss.
        if requires_coding && !accept::offers_codings(exchange.request, headers) {
            return Err(Detail::ContentEncoding);
        }
        // All requests with this key are forwarded with the same values of covered fields, so these
        // fields select no variant.
        fields.retain(|field| !self.is_covered(field));
        // A request with a variant key of this length bypasses the cache, so no look-up would find
        // the response.
        if !fields.is_empty() && config.selection().is_too_long(exchange.key, &fields, exchange.request) {
            return Err(Detail::KeyLength);
        }
        if config.policy.sharing == Sharing::App {
            check_single_recipient(headers, by_origin)?;
        }
        Ok(Selecting { fields, requires_coding })
    }

    /// Checks that the handler saw every nominated field, and that the policy ignores none of them.
    fn could_depend_on(&self, fields: &[HeaderName]) -> Result<(), Detail> {
        let (policy, facts) = (&self.config.policy, self.exchange.facts);
        if fields.iter().any(|field| policy.key.ignored.contains(field)) {
            return Err(Detail::VaryOnIgnored);
        }
        if !policy.strips_unkeyed {
            return Ok(());
        }
        // The handler saw the range or the precondition, which no key covers.
        if facts.range || facts.conditional {
            return Err(Detail::Unkeyed);
        }
        match fields.iter().all(|field| reaches_handler(policy, field, facts)) {
            true => Ok(()),
            false => Err(Detail::VaryOnRemoved),
        }
    }

    /// Returns `true` if all requests with one key are forwarded with the same value of a field.
    fn is_covered(&self, field: &HeaderName) -> bool {
        let exchange = self.exchange;
        // If cookies are declared, the handler sees only cookies in the key. A request with an
        // undeclared cookie bypasses the cache, and other unkeyed cookies are stripped.
        let is_cookie = *field == COOKIE && exchange.cookies_declared && !exchange.facts.personal;
        // The handler sees a forwarded field only in the form that enters the key.
        let is_forwarded = ForwardedField::from_name(field).is_some();
        is_cookie || is_forwarded || self.config.policy.key.covers(field)
    }

    fn check_predicate(&self) -> Result<(), Detail> {
        let predicates = &self.config.policy.predicates;
        let stores = |request_head| predicates.admit(RequestHead::from(request_head), self.response);
        if self.exchange.request_head.is_none_or(stores) { Ok(()) } else { Err(Detail::Predicate) }
    }

    /// Returns the end of freshness (RFC 9111 section 4.2) and the stale windows (RFC 5861).
    fn freshness(&self) -> Result<Freshness, Detail> {
        let initial_age = corrected_initial_age(&self.response.headers, self.received);
        let hinted_windows = self.hints.map_or_else(StaleOverrides::default, |hints| hints.stale);
        let until = shortened(self.config, self.fresh_until(initial_age, hinted_windows)?, self.now);
        // The policy's stale windows do not apply to responses with an error status, or to
        // responses that are stale on arrival.
        let status = self.response.status;
        let own = match until > self.now && !status.is_client_error() && !status.is_server_error() {
            true => self.config.policy.stale,
            false => StaleOverrides::default(),
        };
        let windows = Windows::new(hinted_windows, &self.directives, own);
        Ok(Freshness { initial_age, until, windows, hinted_windows })
    }

    fn fresh_until(&self, initial_age: Duration, windows: StaleOverrides) -> Result<Moment, Detail> {
        let (config, directives, now) = (self.config, &self.directives, self.now);
        let (status, facts, handler_ttl) = (self.response.status, self.exchange.facts, self.handler_ttl());
        // The handler's TTL outranks all other lifetimes. `check_storable` has refused `no-store`.
        if handler_ttl != Ttl::Default {
            return if self.stores_hinted() {
                fresh_until_ttl(handler_ttl, now)
            } else {
                Err(Detail::Status)
            };
        }
        // RFC 9111 section 5.2.2.4: a response with `no-cache` is validated before each use, so it
        // counts as stale at once.
        if directives.no_cache == Qualified::All {
            return Ok(now);
        }
        // A response to an identified request needs an explicit lifetime to be shared.
        if self.lifetime == ExplicitLifetime::Silent && facts.identified && !facts.personal {
            return Err(Detail::NoLifetime);
        }
        let headers = &self.response.headers;
        let heuristic = || heuristic_lifetime(status, directives, headers, self.received.wall);
        let stale_since = stale_since(self.lifetime, initial_age, now);
        match fresh_by_policy_until(config, (self.lifetime, heuristic), status, initial_age, now) {
            // The response is stored to be revalidated.
            Err(Detail::NotFresh) if self.is_revalidatable => Ok(stale_since),
            // RFC 5861 section 3: the response may be served within its stale window.
            Err(Detail::NotFresh)
                if config.policy.stores_with_lifetime(status)
                    && serves_while_revalidating(stale_since, windows, directives, now) =>
            {
                Ok(stale_since)
            }
            fresh_until => fresh_until,
        }
    }

    /// Returns `true` if the handler's TTL applies to the status of this response.
    fn stores_hinted(&self) -> bool {
        let status = self.response.status;
        self.config.policy.stores_with_lifetime(status)
            || self.hints.is_some_and(|hints| hints.statuses.contains(&status))
    }

    /// Returns the fields to store (RFC 9111 section 3.1).
    fn stored_headers(&self, tags: &[String]) -> HeaderMap {
        let (policy, response) = (&self.config.policy, self.response);
        let mut excluded = fields_not_stored(&response.headers, &self.directives, self.shares_cookies);
        excluded.extend_from_slice(&policy.unstored_headers);
        if response.status == StatusCode::TOO_MANY_REQUESTS {
            // The `Retry-After` of a 429 is for the one client that sent too many requests (RFC
            // 6585 section 4).
            excluded.push(RETRY_AFTER);
        }
        let Some(fields) = policy.tag_fields_emitted else {
            return self.with_date(&response.headers, &excluded);
        };
        let mut headers = response.headers.clone();
        for name in &excluded {
            headers.remove(name);
        }
        fields.write(tags, &mut headers);
        self.with_date(&headers, &[])
    }

    /// Copies the fields for storage. RFC 9110 section 6.6.1: a cache that stores a response without
    /// `Date` adds one.
    fn with_date(&self, headers: &HeaderMap, excluded: &[HeaderName]) -> HeaderMap {
        let lacks_date = !headers.contains_key(DATE) || excluded.contains(&DATE);
        let date = lacks_date.then(|| date::format(self.received.wall)).flatten();
        headers_for_storage_with(headers, excluded, date.as_ref().map(|date| (&DATE, date)))
    }

    fn head(
        &self,
        headers: HeaderMap,
        selecting: &Selecting,
        freshness: &Freshness,
        tags: &[String],
    ) -> Head {
        let (exchange, selection) = (self.exchange, self.config.selection());
        let nominate = |field: &HeaderName| NominatedField::from_request(field, exchange.request, selection);
        let mut head = Head::new(self.response.status, headers, exchange.generation, self.now);
        head.nominated = selecting.fields.iter().map(nominate).collect();
        head.scopes = scopes_of(&exchange.target.scopes, &exchange.target.hosts, tags);
        head.corrected_initial_age = freshness.initial_age;
        head.fresh_until = freshness.until;
        head.windows = freshness.windows;
        head.hinted_windows = freshness.hinted_windows;
        head.cost = self.now.since(exchange.began);
        head.requires_coding = selecting.requires_coding;
        head.hinted_ttl = match self.handler_ttl() {
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => Some(Duration::MAX),
            Ttl::Default => None,
        };
        head
    }

    /// Returns the maximum number of body bytes that the store and the policy allow.
    fn limit(&self, stored: &StoredResponse, declared: Option<u64>) -> Result<u64, Detail> {
        let largest = self.config.cache.store().largest_entry().unwrap_or(u64::MAX);
        let fits = largest.saturating_sub(stored.weight() + ENTRY_OVERHEAD);
        let limit = self.config.policy.max_body_bytes.min(fits);
        if fits == 0 || declared.is_some_and(|declared| declared > limit) {
            return Err(Detail::TooLarge);
        }
        Ok(limit)
    }
}

#[cfg(test)]
mod tests;
